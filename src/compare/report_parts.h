// Sections of report.html, and the sentences and look-ups that HTML and Markdown share.
#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "compare/report_text.h"
#include "core/json.h"

namespace graft {

// One method of results.json as the tables and charts show it.
struct MethodView {
  const Json* json = nullptr;
  std::string name;
  size_t index = 0;
};

struct ReportView {
  explicit ReportView(const Json& r);
  const Json& results;
  std::vector<MetricView> metrics;
  std::vector<MethodView> methods;  // best first
  std::optional<double> base_parameters;

  const MetricView& primary() const { return metrics[0]; }
  const Json& entry(const MethodView& method, const MetricView& metric) const;
  const Json* pair(const std::string& a, const std::string& b) const;  // of the primary metric
  bool ranked(const MethodView& method) const;                         // has a result by the primary metric
};

std::string mean_sd_text(const MetricView& metric, const Json& entry);              // "62.41 ± 0.31", "62.41", "n/a"
std::string interval_text(const MetricView& metric, const Json& entry);             // "[61.2, 63.5]" or ""
std::string rank_text(const ReportView& view, const MethodView& method);            // "1", "2 tied", "n/a"
std::string parameters_text(const ReportView& view, const Json& costs);             // "4.88 M (3.6 %)"
std::string cost_text(const Json& costs, const std::string& key);                   // "n/a" where not measured
std::string forgetting_text(const MethodView& method);                              // "+0.06"
std::string runs_text(const MethodView& method);                                    // "3 of 3"
std::string final_lr_text(const MethodView& method);                                // "2e-4"
std::vector<std::pair<std::string, std::string>> facts_of(const ReportView& view);  // how it was made: name and value
std::vector<std::string> protocol_of(const ReportView& view);                       // sentences
std::string headline_of(const ReportView& view);

// "Failed" runs: all that neither finished nor were cut by the search.
std::vector<const Json*> lost_runs(const ReportView& view);

// Sections of the page, each one HTML text.
std::string ranking_section(const ReportView& view);
std::string intervals_section(const ReportView& view);
std::string pareto_section(const ReportView& view);
std::string pairs_section(const ReportView& view);
std::string rates_section(const ReportView& view);
std::string losses_section(const ReportView& view);
std::string costs_section(const ReportView& view);
std::string forgetting_section(const ReportView& view);
std::string failures_section(const ReportView& view);
std::string samples_section(const ReportView& view);
std::string protocol_section(const ReportView& view);

extern const char* const kReportStyle;  // the style sheet

}  // namespace graft
