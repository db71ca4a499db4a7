#include "cli/pages.h"

#include "core/check.h"

namespace graft {

std::string help_page(const CLI::App& app, const CLI::App* sub) {
  if (sub) return sub->help(app.get_name());
  return app.get_formatter()->make_help(&app, app.get_name(), CLI::AppFormatMode::Normal);  // app.help() is a chosen sub-command's
}

std::string pages_source(CLI::App& app, const std::string& version) {
  std::vector<Page> pages = table_pages();
  pages.push_back({{"--version"}, version});
  pages.push_back({{"help", "--help", "-h"}, help_page(app, nullptr)});
  for (CLI::App* sub : app.get_subcommands([](CLI::App*) { return true; })) {
    const std::string name = sub->get_name();
    pages.push_back({{"help " + name, name + " --help", name + " -h"}, help_page(app, sub)});
  }
  // Compilers promise 65536 characters for one literal; parts of it are joined.
  const std::string open = "R\"~page~(", close = ")~page~\"\n";
  std::string source;
  for (auto& page : pages) {
    const std::string text = fmt::format("\x1e\n{}\n\x1f{}", fmt::join(page.asked, "\n"), page.text);
    CHECK_THAT(text.find(")~page~\"") == std::string::npos, "a page about '{}' cannot be quoted", page.asked[0]);
    source += open + text + close;
  }
  return source;
}

}  // namespace graft
