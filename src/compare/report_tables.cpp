// The sections of the page that are tables and text.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "compare/report_charts.h"
#include "compare/report_parts.h"
#include "compare/results_read.h"
#include "compare/svg.h"

namespace graft {
namespace {

constexpr size_t kMatrixWithNumbers = 12;  // more methods than this: the matrix shows signs only
constexpr size_t kSampleMethods = 8;       // predictions shown at once; the others unfold
constexpr size_t kSampleLength = 400;      // characters

// Numbers with a true minus sign, escaped.
std::string number_html(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool minus = text[i] == '-' && i + 1 < text.size() && text[i + 1] >= '0' && text[i + 1] <= '9' &&
                       (i == 0 || text[i - 1] == ' ' || text[i - 1] == '[');
    out += minus ? "−" : escape_html(text.substr(i, 1));
  }
  return out;
}
std::string cell(const std::string& text) {
  return "<td>" + number_html(text) + "</td>";
}

std::string method_cell(const MethodView& m) {
  return "<th scope=\"row\">" + method_mark(m.index) + "<span>" + escape_html(m.name) + "</span></th>";
}

// A long name may break after "_" and "-" only.
std::string breakable(const std::string& name) {
  std::string out;
  for (const char c : name) {
    out += escape_html(std::string(1, c));
    if (c == '_' || c == '-') out += "<wbr>";
  }
  return out;
}

std::string head_row(const std::vector<std::string>& names) {
  std::string html = "<thead><tr>";
  for (const std::string& name : names) html += "<th scope=\"col\">" + escape_html(name) + "</th>";
  return html + "</tr></thead>";
}

bool any_cost(const ReportView& view, const std::string& key) {
  return std::any_of(view.methods.begin(), view.methods.end(),
                     [&](const MethodView& m) { return part_at(*m.json, "costs").contains(key); });
}
bool any_forgetting(const ReportView& view) {
  return std::any_of(view.methods.begin(), view.methods.end(),
                     [](const MethodView& m) { return number_at(part_at(*m.json, "forgetting"), "mean").has_value(); });
}

}  // namespace

std::string ranking_section(const ReportView& view) {
  const bool forgetting = any_forgetting(view);
  std::vector<std::string> head = {"Method", "Rank"};
  for (const MetricView& metric : view.metrics) head.push_back(metric.title());
  head.insert(head.end(), {"Trained (of base)", "Learning rate", "Time/step", "Peak memory"});
  if (forgetting) head.push_back("Forgetting");
  head.push_back("Runs");
  std::string html =
      "<section id=\"ranking\"><h2>Ranking</h2><div class=\"scroll\"><table class=\"ranking\">" + head_row(head) + "<tbody>";
  double rank_before = -1;
  const std::string pick = text_at(view.results["recommendation"], "pick");
  for (const MethodView& m : view.methods) {
    const Json& costs = part_at(*m.json, "costs");
    const double rank = number_at(view.entry(m, view.primary()), "rank").value_or(0);
    std::string css = rank_before >= 0 && rank != rank_before ? "group" : "";
    if (m.name == pick) css += css.empty() ? "pick" : " pick";
    html += css.empty() ? "<tr>" : "<tr class=\"" + css + "\">";
    rank_before = rank;
    html += method_cell(m);
    const std::string text = rank_text(view, m);
    const size_t space = text.find(' ');
    html += space == std::string::npos
                ? cell(text)
                : fmt::format("<td>{} <small>{}</small></td>", text.substr(0, space), text.substr(space + 1));
    for (const MetricView& metric : view.metrics) {
      const Json& e = view.entry(m, metric);
      const std::string interval = interval_text(metric, e);
      html += fmt::format("<td{}>{}{}</td>", &metric == &view.metrics[0] ? " class=\"primary\"" : "",
                          number_html(mean_sd_text(metric, e)),
                          interval.empty() ? "" : "<small>" + number_html(interval) + "</small>");
    }
    html += cell(parameters_text(view, costs)) + cell(final_lr_text(m)) + cell(cost_text(costs, "seconds_per_step")) +
            cell(cost_text(costs, "peak_memory"));
    if (forgetting) html += cell(forgetting_text(m));
    const bool lost = !part_at(part_at(*m.json, "final"), "lost").empty();
    html += fmt::format("<td{}>{}</td></tr>", lost ? " class=\"warn\"" : "", runs_text(m));
  }
  html +=
      "</tbody></table></div><p class=\"note\">Mean ± standard deviation over seeds, [95 % interval] below it. Methods of one "
      "rank are tied: the tests cannot tell them "
      "apart.";
  if (forgetting) html += " Forgetting: rise of the loss on a text that the base knows, nats per token.";
  return html + "</p></section>";
}

std::string pairs_section(const ReportView& view) {
  std::vector<const MethodView*> shown;
  for (const MethodView& m : view.methods)
    if (view.ranked(m)) shown.push_back(&m);
  std::string html = "<section id=\"pairs\"><h2>Every pair, by " + escape_html(view.primary().title()) + "</h2>";
  if (shown.size() < 2) return html + "<p>There is no pair to compare.</p></section>";
  const bool small = shown.size() <= kMatrixWithNumbers;
  html += fmt::format("<div class=\"scroll\"><table class=\"matrix{}\"><thead><tr><td></td>", small ? "" : " dense");
  for (size_t i = 0; i < shown.size(); ++i)
    html += small ? fmt::format("<th scope=\"col\">{}</th>", breakable(shown[i]->name))
                  : fmt::format("<th scope=\"col\" title=\"{}\">{}</th>", escape_html(shown[i]->name), i + 1);
  html += "</tr></thead><tbody>";
  for (size_t i = 0; i < shown.size(); ++i) {
    html += "<tr><th scope=\"row\">" + (small ? "" : fmt::format("<i>{}</i>", i + 1)) + method_mark(shown[i]->index) + "<span>" +
            escape_html(shown[i]->name) + "</span></th>";
    for (size_t j = 0; j < shown.size(); ++j) {
      const Json* p = i == j ? nullptr : view.pair(shown[i]->name, shown[j]->name);
      if (!p) {
        html += i == j ? "<td class=\"self\"></td>" : "<td class=\"tied\">n/a</td>";
        continue;
      }
      const double sign = (*p)["a"] == shown[i]->name ? 1 : -1;
      const double d = sign * number_at(*p, "difference").value_or(0), adjusted = number_at(*p, "p_holm").value_or(1);
      const bool apart = adjusted < 0.05, better = view.primary().better(d, 0);
      const char* css = !apart ? "tied" : better ? "better" : "worse";
      const std::string number = number_html(view.primary().difference(d)), p_value = escape_html(p_text(adjusted));
      if (small)
        html += fmt::format("<td class=\"{}\">{}<small>p {}</small></td>", css, number, p_value);
      else
        html += fmt::format("<td class=\"{}\" title=\"{} − {}: {}, adjusted p {}\">{}</td>", css, escape_html(shown[i]->name),
                            escape_html(shown[j]->name), number, p_value,
                            !apart   ? "·"
                            : better ? "▲"
                                     : "▼");
    }
    html += "</tr>";
  }
  html += "</tbody></table></div><p class=\"note\">";
  html += small ? "Row minus column, with the p-value adjusted for all pairs (Holm). "
                : "Is the row better (▲) or worse (▼) than the column? ";
  html +=
      "<span class=\"swatch better\">better</span> <span class=\"swatch worse\">worse</span> <span class=\"swatch tied\">tied: "
      "not told apart</span>";
  if (const std::string test = text_at(view.results["metrics"][0], "test"); !test.empty())
    html += " Test: " + escape_html(test) + ".";
  return html + "</p></section>";
}

std::string costs_section(const ReportView& view) {
  static const std::vector<std::pair<const char*, const char*>> columns = {{"trainable_parameters", "Trained parameters"},
                                                                           {"adapter_bytes", "Saved adapter"},
                                                                           {"seconds_per_step", "Time/step"},
                                                                           {"tokens_per_second", "Tokens/s"},
                                                                           {"peak_memory", "Peak memory"},
                                                                           {"flops_per_token", "FLOPs/token"},
                                                                           {"mergeable", "Merges"},
                                                                           {"inference_slowdown", "Inference time"},
                                                                           {"train_seconds", "Training time"}};
  std::vector<std::string> head = {"Method"}, keys;
  for (const auto& [key, title] : columns)
    if (any_cost(view, key)) keys.push_back(key), head.push_back(title);
  head.push_back("Tuning (trials)");
  std::string html = "<section id=\"costs\"><h2>Costs</h2><div class=\"scroll\"><table>" + head_row(head) + "<tbody>";
  for (const MethodView& m : view.methods) {
    const Json& costs = part_at(*m.json, "costs");
    const Json& tuning = part_at(*m.json, "tuning");
    html += "<tr>" + method_cell(m);
    for (const std::string& key : keys) html += cell(cost_text(costs, key));
    html += cell(fmt::format("{} ({:.0f})", seconds_text(number_at(tuning, "seconds").value_or(0)),
                             number_at(tuning, "trials").value_or(0))) +
            "</tr>";
  }
  return html +
         "</tbody></table></div><p class=\"note\">Medians over the final runs; memory is the largest peak of a training step. "
         "Inference time: with the adapter in place, relative to the "
         "base. Tuning: training time of all search runs of the method together."
         "</p></section>";
}

std::string failures_section(const ReportView& view) {
  std::string html = "<section id=\"failures\"><h2>Failed, diverged and unfinished runs</h2>";
  const std::vector<const Json*> lost = lost_runs(view);
  size_t cut = 0;
  for (const Json& run : view.results["runs"]) cut += run["status"] == "skipped";
  if (lost.empty()) {
    html += "<p>None failed.</p>";
  } else {
    html += "<div class=\"scroll\"><table class=\"text\">" +
            head_row({"Run", "Stage", "Seed", "Learning rate", "Status", "Reason"}) + "<tbody>";
    for (const Json* run : lost) {
      const auto seed = number_at(*run, "seed"), lr = number_at(*run, "lr");
      html += "<tr><th scope=\"row\"><span>" + escape_html(text_at(*run, "folder")) + "</span></th><td>" +
              escape_html(text_at(*run, "stage")) + "</td>" + cell(seed ? fmt::format("{:.0f}", *seed) : "") +
              cell(lr ? rate_text(*lr) : "") + "<td class=\"warn\">" + escape_html(text_at(*run, "status")) + "</td><td>" +
              escape_html(short_text(text_at(*run, "reason"), kSampleLength)) + "</td></tr>";
    }
    html += "</tbody></table></div>";
  }
  if (cut)
    html += fmt::format("<p class=\"note\">{} search run{} stopped early by the rule of the search: that is not a failure.</p>",
                        cut, cut == 1 ? " was" : "s were");
  const Json& problems = view.results["problems"];
  if (!problems.empty()) {
    html += "<h3>Problems found in the run folders</h3><ul>";
    for (const Json& problem : problems)
      html += "<li>" + escape_html(short_text(problem.get<std::string>(), kSampleLength)) + "</li>";
    html += "</ul>";
  }
  return html + "</section>";
}

std::string samples_section(const ReportView& view) {
  const Json& samples = view.results["samples"];
  std::string html = "<section id=\"samples\"><h2>What the methods wrote</h2>";
  if (samples.empty()) return html + "<p>The runs kept no predictions.</p></section>";
  const auto index_of = [&](const std::string& name) {
    const auto it = std::find_if(view.methods.begin(), view.methods.end(), [&](const MethodView& m) { return m.name == name; });
    return it == view.methods.end() ? size_t{0} : it->index;
  };
  for (const Json& sample : samples) {
    const std::string prompt = text_at(sample, "prompt"), reference = text_at(sample, "reference");
    html += "<article class=\"sample\"><h3>Item " + escape_html(short_text(text_at(sample, "id"), 40)) + "</h3>";
    if (!prompt.empty()) html += "<p class=\"prompt\" dir=\"auto\">" + escape_html(short_text(prompt, kSampleLength)) + "</p>";
    std::string rows = "<dl><div class=\"reference\"><dt>reference</dt><dd dir=\"auto\">" +
                       escape_html(short_text(reference, kSampleLength)) + "</dd></div>";
    size_t count = 0;
    for (const Json& p : sample["predictions"]) {
      if (++count == kSampleMethods + 1)
        rows += "</dl><details><summary>" + fmt::format("{} more methods", sample["predictions"].size() - kSampleMethods) +
                "</summary><dl>";
      const std::string name = text_at(p, "name"), text = text_at(p, "prediction");
      const auto score = number_at(p, "score");
      rows += fmt::format("<div><dt>{}<span>{}</span></dt><dd dir=\"auto\">{}{}</dd></div>", method_mark(index_of(name)),
                          escape_html(name), text.empty() ? "<em>nothing</em>" : escape_html(short_text(text, kSampleLength)),
                          score ? fmt::format(" <small>{}</small>", fixed_text(*score, 2)) : "");
    }
    html += rows + (count > kSampleMethods ? "</dl></details>" : "</dl>") + "</article>";
  }
  return html +
         "<p class=\"note\">The first test items, from the first seed of each method; the small number is the item's own score "
         "by " +
         escape_html(text_at(samples[0], "metric")) + ".</p></section>";
}

std::string protocol_section(const ReportView& view) {
  std::string html = "<section id=\"protocol\"><h2>How this was made</h2>";
  for (const std::string& sentence : protocol_of(view)) html += "<p>" + escape_html(sentence) + "</p>";
  html += "<dl class=\"facts-list\">";
  for (const auto& [name, value] : facts_of(view)) {
    const bool code = name == "To repeat";
    html += "<div><dt>" + escape_html(name) + "</dt><dd>" + (code ? "<code>" : "") + escape_html(value) +
            (code ? "</code>" : "") + "</dd></div>";
  }
  return html + "</dl></section>";
}

}  // namespace graft
