// The page: its head, the answer, and the sections in order.
#include <fmt/format.h>

#include "compare/report.h"
#include "compare/report_parts.h"
#include "compare/results_read.h"
#include "compare/svg.h"

namespace graft {
namespace {

std::string bullet_list(const Json& sentences) {
  std::string html = "<ul>";
  for (const Json& sentence : sentences) {
    if (!sentence.is_string()) continue;
    std::string text = escape_html(sentence.get<std::string>());
    for (size_t at = text.find(" %"); at != std::string::npos; at = text.find(" %", at + 1)) text.replace(at, 1, "&nbsp;");
    for (size_t at = text.find(" -"); at != std::string::npos; at = text.find(" -", at + 1))
      if (at + 2 < text.size() && text[at + 2] >= '0' && text[at + 2] <= '9') text.replace(at + 1, 1, "−");
    html += "<li>" + text + "</li>";
  }
  return html + "</ul>";
}

std::string answer(const ReportView& view) {
  const Json& advice = view.results["recommendation"];
  std::string html = "<section class=\"answer\" id=\"answer\"><h2>The answer</h2><p class=\"headline\">" +
                     escape_html(headline_of(view)) + "</p>";
  if (const std::string pick = text_at(advice, "pick"); !pick.empty()) {
    std::string settings;
    if (const auto lr = number_at(advice, "lr")) settings += fmt::format("<span><b>learning rate</b> {}</span> ", rate_text(*lr));
    for (const auto& [key, value] : part_at(advice, "options").items())
      settings += fmt::format(
          "<span><b>{}</b> {}</span> ", escape_html(key),
          escape_html(value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', false, Json::error_handler_t::replace)));
    if (!settings.empty()) html += fmt::format("<p class=\"settings\">Settings of {}: {}</p>", escape_html(pick), settings);
  }
  html += "<div class=\"why\"><div><h3>Why</h3>" + bullet_list(part_at(advice, "reasons")) + "</div>";
  if (!part_at(advice, "uncertainty").empty())
    html += "<div><h3>How sure is that?</h3>" + bullet_list(part_at(advice, "uncertainty")) + "</div>";
  return html + "</div></section>";
}

std::string header(const ReportView& view, const std::string& title) {
  const Json& setup = view.results["setup"];
  size_t done = 0, lost = lost_runs(view).size();
  for (const Json& run : view.results["runs"]) done += run["status"] == "done" || run["status"] == "skipped";
  std::vector<std::string> facts;
  if (const std::string model = text_at(part_at(setup, "model"), "path"); !model.empty()) facts.push_back(escape_html(model));
  facts.push_back(fmt::format("{} method{}", view.methods.size(), view.methods.size() == 1 ? "" : "s"));
  if (const auto seeds = number_at(setup, "seeds")) facts.push_back(fmt::format("{:.0f} seed{}", *seeds, *seeds == 1 ? "" : "s"));
  if (const auto items = number_at(view.results["metrics"][0], "items"); items && *items > 0)
    facts.push_back(fmt::format("{:.0f} test items", *items));
  facts.push_back(fmt::format("{} runs{}", done + lost, lost ? fmt::format(", {} not finished", lost) : ""));
  std::string html =
      "<header><p class=\"kind\">Comparison of fine-tuning methods</p><h1>" + escape_html(title) + "</h1><p class=\"facts\">";
  for (const std::string& fact : facts) html += "<span>" + fact + "</span>";
  return html + "</p></header>";
}

}  // namespace

std::string report_html(const Json& results) {
  const ReportView view(results);
  const std::string title = text_at(results["setup"], "title", "Comparison of fine-tuning methods");
  std::string html =
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, "
      "initial-scale=1\">"
      "<meta name=\"color-scheme\" content=\"light dark\"><meta name=\"generator\" content=\"graft\">\n<title>" +
      escape_html(title) + "</title>\n<style>" + kReportStyle + "</style></head>\n<body>\n" + header(view, title) +
      "<nav><a href=\"#ranking\">Ranking</a><a href=\"#intervals\">Intervals</a><a href=\"#pareto\">Costs and quality</a><a "
      "href=\"#pairs\">Pairs</a>"
      "<a href=\"#rates\">Learning rates</a><a href=\"#losses\">Losses</a><a href=\"#costs\">Costs</a><a "
      "href=\"#failures\">Failures</a>"
      "<a href=\"#samples\">Samples</a><a href=\"#protocol\">How this was made</a></nav>\n<main>\n";
  html += answer(view);
  for (const auto& section : {ranking_section, intervals_section, pareto_section, pairs_section, rates_section, losses_section,
                              costs_section, forgetting_section, failures_section, samples_section, protocol_section})
    html += section(view) + "\n";
  return html +
         "</main>\n<footer>Written by graft. All numbers stand in results.json and results.csv beside this "
         "page.</footer>\n</body></html>\n";
}

}  // namespace graft
