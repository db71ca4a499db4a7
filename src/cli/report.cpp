#include "compare/report.h"

#include "cli/commands.h"

namespace graft {

void add_report(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("report", "rebuilds report.html, report.md, results.csv and results.json from a comparison's run folders");
  auto folder = std::make_shared<std::string>();
  sub->add_option("folder", *folder, "the comparison's folder")->required();
  sub->callback([=] {
    write_report(*folder);
    fmt::print("{}/report.html\n", *folder);
  });
}

}  // namespace graft
