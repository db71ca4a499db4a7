// report.md and results.csv.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "compare/report.h"
#include "compare/report_parts.h"
#include "compare/results_read.h"

namespace graft {
namespace {

// Text inside a table cell or a paragraph: nothing of it may act as Markdown or HTML, and it stays on one line.
std::string md(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (std::string_view("\\`*_[]|#~").find(c) != std::string_view::npos)
      out += '\\', out += c;
    else if (c == '<')
      out += "&lt;";
    else if (c == '&')
      out += "&amp;";
    else
      out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out;
}

std::string row(const std::vector<std::string>& cells) {
  std::string line = "|";
  for (const std::string& cell : cells) line += " " + md(cell) + " |";
  return line + "\n";
}

std::string table(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows, size_t text_columns) {
  std::string out = row(head) + "|";
  for (size_t i = 0; i < head.size(); ++i) out += i < text_columns ? "---|" : "---:|";
  out += "\n";
  for (const auto& cells : rows) out += row(cells);
  return out + "\n";
}

std::string sentences(const Json& list) {
  std::string out;
  for (const Json& sentence : list)
    if (sentence.is_string()) out += "- " + md(sentence.get<std::string>()) + "\n";
  return out + "\n";
}

std::string ranking(const ReportView& view) {
  std::vector<std::string> head = {"rank", "method"};
  for (const MetricView& metric : view.metrics) head.push_back(metric.title());
  head.insert(head.end(),
              {"95 % interval", "trained (of base)", "learning rate", "time per step", "peak memory", "forgetting", "runs"});
  std::vector<std::vector<std::string>> rows;
  for (const MethodView& m : view.methods) {
    const Json& costs = part_at(*m.json, "costs");
    std::vector<std::string> cells = {rank_text(view, m), m.name};
    for (const MetricView& metric : view.metrics) cells.push_back(mean_sd_text(metric, view.entry(m, metric)));
    cells.insert(cells.end(),
                 {interval_text(view.primary(), view.entry(m, view.primary())), parameters_text(view, costs), final_lr_text(m),
                  cost_text(costs, "seconds_per_step"), cost_text(costs, "peak_memory"), forgetting_text(m), runs_text(m)});
    rows.push_back(std::move(cells));
  }
  return table(head, rows, 2);
}

std::string pairs(const ReportView& view) {
  std::vector<std::vector<std::string>> rows;
  for (const Json& p : view.results["pairs"]) {
    if (p["metric"] != view.primary().name) continue;
    const Json& ci = part_at(p, "ci95");
    const bool has = ci.is_array() && ci.size() == 2 && ci[0].is_number() && ci[1].is_number();
    const double adjusted = number_at(p, "p_holm").value_or(1);
    rows.push_back(
        {text_at(p, "a"), text_at(p, "b"), view.primary().difference(number_at(p, "difference").value_or(0)),
         has ? fmt::format("[{}, {}]", view.primary().number(ci[0].get<double>()), view.primary().number(ci[1].get<double>()))
             : "n/a",
         p_text(number_at(p, "p").value_or(1)), p_text(adjusted), adjusted < 0.05 ? "told apart" : "tied"});
  }
  if (rows.empty()) return "There is no pair to compare.\n\n";
  return table({"a", "b", "a − b", "95 % interval", "p", "p (Holm)", "verdict"}, rows, 2);
}

std::string csv_cell(std::string text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}

std::string csv_value(const Json& object, const std::string& key) {
  if (!object.is_object()) return "";
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return "";
  return csv_cell(it->is_string() ? it->get<std::string>() : it->dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace

std::string report_markdown(const Json& results) {
  const ReportView view(results);
  const Json& advice = results["recommendation"];
  std::string out = "# " + md(text_at(results["setup"], "title", "Comparison of fine-tuning methods")) + "\n\n**" +
                    md(headline_of(view)) + "**\n\n";
  out += sentences(part_at(advice, "reasons"));
  if (!part_at(advice, "uncertainty").empty()) out += "How sure is that?\n\n" + sentences(part_at(advice, "uncertainty"));
  out += "## Ranking\n\nMean ± standard deviation over seeds.\n\n" + ranking(view) + "## Pairs by " + md(view.primary().title()) +
         "\n\n" + pairs(view);
  out += "## Quality against cost\n\nNo other method is both as good and as cheap as these:\n\n";
  for (const auto& [kind, names] : part_at(results, "pareto").items()) {
    std::vector<std::string> list;
    for (const Json& name : names) list.push_back(name.get<std::string>());
    out += fmt::format("- {}: {}\n", md(kind), list.empty() ? "not measured" : md(list_text(list)));
  }
  out += "\n## Failed and unfinished runs\n\n";
  const std::vector<const Json*> lost = lost_runs(view);
  if (lost.empty()) out += "None failed.\n\n";
  if (!lost.empty()) {
    std::vector<std::vector<std::string>> rows;
    for (const Json* run : lost)
      rows.push_back({text_at(*run, "folder"), text_at(*run, "label"), text_at(*run, "stage"), text_at(*run, "status"),
                      text_at(*run, "reason")});
    out += table({"folder", "method", "stage", "status", "reason"}, rows, 5);
  }
  if (!results["problems"].empty()) out += "Problems found in the run folders:\n\n" + sentences(results["problems"]);
  out += "## How this was made\n\n";
  for (const std::string& sentence : protocol_of(view)) out += md(sentence) + "\n\n";
  for (const auto& [name, value] : facts_of(view)) out += "- " + md(name) + ": " + md(value) + "\n";
  return out;
}

std::string report_csv(const Json& results) {
  static const std::vector<std::string> plain = {"label", "method", "stage", "seed", "lr", "status", "reason", "rung"};
  std::set<std::string> costs;
  std::vector<std::string> metrics;
  for (const Json& metric : results["metrics"]) metrics.push_back(text_at(metric, "name"));
  for (const Json& run : results["runs"])
    for (const auto& [key, value] : run["costs"].items()) costs.insert(key);
  std::string out;
  const auto add_row = [&](const auto& cell) {
    std::string line;
    for (const std::string& key : plain) line += cell("", key) + ",";
    for (const char* split : {"dev", "test"})
      for (const std::string& metric : metrics) line += cell(split, metric) + ",";
    for (const std::string& key : costs) line += cell("costs", key) + ",";
    out += line + cell("", "forgetting_loss") + "," + cell("", "hash") + "," + cell("", "folder") + "\r\n";
  };
  add_row([](const std::string& part, const std::string& key) {
    return csv_cell(part.empty() || part == "costs" ? key : part + "_" + key);
  });
  for (const Json& run : results["runs"])
    add_row(
        [&](const std::string& part, const std::string& key) { return csv_value(part.empty() ? run : part_at(run, part), key); });
  return out;
}

}  // namespace graft
