// The sections of the page that are charts: from results.json to the chart's data, and the captions.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "compare/report_charts.h"
#include "compare/report_parts.h"
#include "compare/results_read.h"
#include "compare/stats.h"
#include "compare/svg.h"

namespace graft {
namespace {

// Charts that fill the page come twice, drawn for a wide and for a narrow page: text keeps its size on a phone.
std::string both_widths(const RowChart& chart) {
  return "<div class=\"wide\">" + row_chart(chart, 1000) + "</div><div class=\"narrow\">" + row_chart(chart, 356) + "</div>";
}

template <class Panel>
std::string at_both_widths(std::string (*draw)(const Panel&, double), const Panel& panel) {
  return "<div class=\"wide\">" + draw(panel, 240) + "</div><div class=\"narrow\">" + draw(panel, 170) + "</div>";
}

std::optional<std::pair<double, double>> interval_at(const Json& object, double scale) {
  const Json& ci = part_at(object, "ci95");
  if (!ci.is_array() || ci.size() != 2 || !ci[0].is_number() || !ci[1].is_number()) return {};
  return std::pair(ci[0].get<double>() * scale, ci[1].get<double>() * scale);
}

std::vector<std::optional<double>> numbers_of(const Json& list) {
  std::vector<std::optional<double>> out;
  if (list.is_array())
    for (const Json& v : list) out.push_back(v.is_number() ? std::optional(v.get<double>()) : std::nullopt);
  return out;
}
std::vector<double> plain_numbers_of(const Json& list) {
  std::vector<double> out;
  for (const auto& v : numbers_of(list)) out.push_back(v.value_or(0));
  return out;
}

std::string caption(const MethodView& m, const std::string& text) {
  return "<figcaption>" + method_mark(m.index) + "<b>" + escape_html(m.name) + "</b>" +
         (text.empty() ? "" : "<span>" + escape_html(text) + "</span>") + "</figcaption>";
}

}  // namespace

std::string intervals_section(const ReportView& view) {
  std::string html = "<section id=\"intervals\"><h2>How far apart are they?</h2>";
  for (size_t k = 0; k < view.metrics.size(); ++k) {
    const MetricView& metric = view.metrics[k];
    RowChart chart{.axis = metric.title() + (metric.higher_is_better ? ", higher is better" : ", lower is better"),
                   .description = fmt::format("Mean {} and 95 % interval of each method; the numbers stand in the ranking table.",
                                              metric.name),
                   .rows = {},
                   .reference = {},
                   .reference_name = {}};
    for (const MethodView& m : view.methods) {
      const Json& e = view.entry(m, metric);
      const auto mean = number_at(e, "mean");
      if (!mean) continue;
      RowChart::Row row{.name = m.name,
                        .text = metric.number(*mean),
                        .index = m.index,
                        .rank = static_cast<size_t>(number_at(view.entry(m, view.primary()), "rank").value_or(0)),
                        .mean = *mean * metric.scale,
                        .interval = interval_at(e, metric.scale),
                        .seeds = {}};
      if (const std::string interval = interval_text(metric, e); !interval.empty()) row.text += "  " + interval;
      for (const Json& v : part_at(e, "values"))
        if (const auto value = number_at(v, "value")) row.seeds.push_back(*value * metric.scale);
      chart.rows.push_back(std::move(row));
    }
    if (chart.rows.empty()) {
      html += "<p>No finished run has " + escape_html(metric.name) + ".</p>";
      continue;
    }
    if (const auto base = number_at(view.results["metrics"][k], "base")) {
      chart.reference = *base * metric.scale;
      chart.reference_name = "untuned base " + metric.number(*base);
    }
    if (view.metrics.size() > 1) html += "<h3>" + escape_html(metric.title()) + "</h3>";
    html += both_widths(chart);
  }
  return html +
         "<p class=\"note\">Large mark: mean over seeds. Bar: 95 % interval, seeds and test items both counted. Small dots: "
         "single seeds. Thin lines part the ranks by " +
         escape_html(view.primary().title()) +
         ". Intervals may overlap although a paired test tells two methods apart: both answered the same items.</p></section>";
}

std::string pareto_section(const ReportView& view) {
  struct Kind {
    const char *key, *title, *axis;
    bool log, bytes;
  };
  static const std::vector<Kind> kinds = {
      {"trainable_parameters", "Trained parameters", "trained parameters (log scale)", true, false},
      {"seconds_per_step", "Time", "seconds per step", false, false},
      {"peak_memory", "Memory", "peak memory of training", false, true}};
  const bool many = view.methods.size() > 12;
  std::string html =
      fmt::format("<section id=\"pareto\"><h2>Quality against cost</h2><div class=\"trio{}\">", many ? " stacked" : "");
  size_t drawn = 0;
  for (const Kind& kind : kinds) {
    CostChart chart{.cost_axis = kind.axis,
                    .quality_axis = view.primary().title(),
                    .description = {},
                    .higher_is_better = view.primary().higher_is_better,
                    .log = kind.log,
                    .bytes = kind.bytes,
                    .points = {}};
    const Json& front = part_at(view.results["pareto"], kind.key);
    std::vector<std::string> names;
    for (const MethodView& m : view.methods) {
      const Json& e = view.entry(m, view.primary());
      const auto mean = number_at(e, "mean"), cost = number_at(part_at(*m.json, "costs"), kind.key);
      if (!mean || !cost) continue;
      const bool member = std::find(front.begin(), front.end(), Json(m.name)) != front.end();
      if (member) names.push_back(m.name);
      chart.points.push_back(
          {m.name, m.index, *cost, *mean * view.primary().scale, interval_at(e, view.primary().scale), member});
    }
    if (chart.points.empty()) continue;
    ++drawn;
    chart.description = fmt::format("{} against {}. On the front: {}.", view.primary().name, kind.axis, list_text(names));
    std::vector<std::string> unlabelled, unlabelled_narrow;
    html += fmt::format("<figure><h3>{}</h3>", kind.title);
    if (many)
      html += "<div class=\"wide\">" + cost_chart(chart, 1000, 440, unlabelled) + "</div><div class=\"narrow\">" +
              cost_chart(chart, 356, 420, unlabelled_narrow) + "</div>";
    else
      html += cost_chart(chart, 336, 300, unlabelled);
    if (!unlabelled.empty())
      html += fmt::format("<p class=\"note\">Without room for a label: {}.</p>", escape_html(list_text(unlabelled)));
    html += "</figure>";
  }
  if (!drawn) return html + "</div><p>No costs were measured.</p></section>";
  html +=
      "</div><p class=\"note\">Filled marks lie on the front: no other method is at least as good and at least as cheap. The "
      "line joins them; vertical bars are 95 % intervals, so a step "
      "smaller than the bars may be chance.";
  const Json& all = part_at(view.results["pareto"], "all");
  std::vector<std::string> names;
  for (const Json& name : all) names.push_back(name.get<std::string>());
  if (!names.empty() && names.size() < view.methods.size())
    html += " By all three costs together the front is " + escape_html(list_text(names)) + ".";
  return html + "</p></section>";
}

std::string rates_section(const ReportView& view) {
  std::string html = "<section id=\"rates\"><h2>Learning rates tried</h2>";
  const MetricView metric(view.results["tuning_metric"]);
  std::vector<double> scores;
  for (const MethodView& m : view.methods)
    for (const Json& p : part_at(part_at(*m.json, "tuning"), "points"))
      if (const auto score = number_at(p, "score")) scores.push_back(*score * metric.scale);
  if (scores.empty()) return html + "<p>No search was run, or none of its runs was scored.</p></section>";
  // A few very bad trials must not flatten the curves of the good ones: they are drawn at the edge.
  double low = *std::min_element(scores.begin(), scores.end()), high = *std::max_element(scores.begin(), scores.end());
  if (scores.size() >= 8) {
    const double quarter = quantile_of(scores, 0.25), half = quantile_of(scores, 0.75),
                 reach = 2.0 * std::max(half - quarter, 1e-9);
    metric.higher_is_better ? low = std::max(low, quarter - reach) : high = std::min(high, half + reach);
  }
  const double margin = std::max((high - low) * 0.05, 1e-9);
  html += "<div class=\"panels\">";
  for (const MethodView& m : view.methods) {
    const Json& tuning = part_at(*m.json, "tuning");
    RatePanel panel{.index = m.index,
                    .points = {},
                    .chosen = number_at(*m.json, "lr"),
                    .low = low - margin,
                    .high = high + margin,
                    .description = fmt::format("Dev {} of {} against the learning rate", metric.name, m.name)};
    for (const Json& p : part_at(tuning, "points")) {
      const auto lr = number_at(p, "lr"), score = number_at(p, "score");
      if (lr)
        panel.points.push_back({*lr, number_at(p, "rung").value_or(1),
                                score ? std::optional(*score * metric.scale) : std::nullopt, text_at(p, "status")});
    }
    if (panel.points.empty()) continue;
    std::string text = panel.chosen ? "chosen " + rate_text(*panel.chosen) : "";
    const auto flag = [&](const char* key) { return tuning.contains(key) && tuning[key] == true; };
    if (flag("widened")) text += ", grid widened";
    if (flag("at_edge")) text += ", at the edge";
    html += "<figure>" + caption(m, text) + at_both_widths(rate_panel, panel) + "</figure>";
  }
  return html + "</div><p class=\"note\">" + escape_html(metric.title()) +
         " on the dev split against the learning rate (log scale). Filled: the full budget of a trial; hollow and faint: earlier "
         "rungs. Large mark and dashed line: chosen. Cross: diverged or "
         "failed. Triangle: off the scale. A flat curve means the method forgives a wrong rate; a chosen rate at the edge may "
         "not be the best one.</p></section>";
}

std::string losses_section(const ReportView& view) {
  std::string html = "<section id=\"losses\"><h2>Training losses</h2>";
  struct Curve {
    const MethodView* method;
    std::vector<double> steps;
    std::vector<std::optional<double>> mean;
  };
  std::vector<Curve> curves;
  std::vector<double> values;
  double last = 0;
  for (const MethodView& m : view.methods) {
    const Json& curve = part_at(*m.json, "curve");
    if (curve.empty()) continue;
    curves.push_back({&m, plain_numbers_of(part_at(curve, "step")), numbers_of(part_at(curve, "mean"))});
    if (!curves.back().steps.empty()) last = std::max(last, curves.back().steps.back());
    for (const auto& seed : part_at(curve, "seeds"))
      for (const auto& v : numbers_of(part_at(seed, "loss")))
        if (v) values.push_back(*v);
  }
  if (values.empty()) return html + "<p>The runs kept no losses.</p></section>";
  // The first steps of a bad start may be far above everything else.
  const double low = quantile_of(values, 0.001), most = quantile_of(values, 0.99),
               high = std::min(quantile_of(values, 1), 2 * most - quantile_of(values, 0.5)), margin = 0.04 * (high - low);
  html += "<div class=\"panels\">";
  for (const Curve& curve : curves) {
    LossPanel panel{.index = curve.method->index,
                    .steps = curve.steps,
                    .mean = curve.mean,
                    .seeds = {},
                    .others = {},
                    .last_step = last,
                    .low = low - margin,
                    .high = high + margin,
                    .description = "Training loss of " + curve.method->name + " against the step"};
    const Json& seeds = part_at(part_at(*curve.method->json, "curve"), "seeds");
    size_t count = 0;
    for (const Json& seed : seeds) panel.seeds.push_back(numbers_of(part_at(seed, "loss"))), ++count;
    if (curves.size() <= 12)
      for (const Curve& other : curves)
        if (other.method != curve.method) panel.others.emplace_back(other.steps, other.mean);
    html += "<figure>" + caption(*curve.method, fmt::format("{} seed{}", count, count == 1 ? "" : "s")) +
            at_both_widths(loss_panel, panel) + "</figure>";
  }
  return html +
         "</div><p class=\"note\">Training loss (nats per supervised token) against the step: the mean over seeds, smoothed; "
         "single seeds faint" +
         (curves.size() <= 12 && curves.size() > 1 ? "; the other methods grey" : "") +
         ". A lower training loss is not yet a better method.</p></section>";
}

std::string forgetting_section(const ReportView& view) {
  RowChart chart{.axis = "loss on the known text (nats per token), lower is better",
                 .description = "Loss on a text that the base knows, after training with each method.",
                 .rows = {},
                 .reference = {},
                 .reference_name = {}};
  std::optional<double> base;
  std::vector<const MethodView*> order;
  for (const MethodView& m : view.methods)
    if (number_at(part_at(*m.json, "forgetting"), "mean")) order.push_back(&m);
  if (order.empty())
    return "<section id=\"forgetting\"><h2>Forgetting</h2><p>Not measured: the plan names no text for it.</p></section>";
  std::stable_sort(order.begin(), order.end(), [](const MethodView* a, const MethodView* b) {
    return *number_at((*a->json)["forgetting"], "mean") < *number_at((*b->json)["forgetting"], "mean");
  });
  for (const MethodView* m : order) {
    const Json& f = (*m->json)["forgetting"];
    const double mean = *number_at(f, "mean");
    if (const auto b = number_at(f, "base")) base = b;
    RowChart::Row row{.name = m->name,
                      .text = fixed_text(mean, 3) + (number_at(f, "increase") ? "  (" + forgetting_text(*m) + ")" : ""),
                      .index = m->index,
                      .rank = 0,
                      .mean = mean,
                      .interval = {},
                      .seeds = {}};
    for (const Json& v : part_at(f, "values"))
      if (const auto value = number_at(v, "value")) row.seeds.push_back(*value);
    chart.rows.push_back(std::move(row));
  }
  if (base) {
    chart.reference = base;
    chart.reference_name = "base before training " + fixed_text(*base, 3);
  }
  return "<section id=\"forgetting\"><h2>Forgetting</h2>" + both_widths(chart) +
         "<p class=\"note\">What training on the task costs elsewhere: loss on a text that the base knows, least forgetful "
         "method first.</p></section>";
}

}  // namespace graft
