#include "compare/report.h"

#include "compare/results.h"
#include "core/files.h"

namespace graft {

void write_report(const std::filesystem::path& out) {
  const Json results = collect_results(out);
  write_json(out / "results.json", results);
  write_file(out / "report.html", report_html(results));
  write_file(out / "report.md", report_markdown(results));
  write_file(out / "results.csv", report_csv(results));
}

}  // namespace graft
