#include "compare/report_charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "compare/report_text.h"
#include "compare/svg.h"

namespace graft {
namespace {

constexpr double kText = 12;  // px; the style sheet sets the same size for labels
constexpr double kSmall = 11;
constexpr size_t kCrowded = 12;  // points in a cost chart
double panel_height(double width) {
  return std::max(120.0, 0.62 * width);
}

// Every method index has its own pair of colour and shape up to 24 methods, and a neighbouring one differs in both.
int shape_of(size_t index) {
  return static_cast<int>((index + index / 8) % 6);
}

struct Range {
  double low = INFINITY, high = -INFINITY;
  void add(double v) {
    if (std::isfinite(v)) low = std::min(low, v), high = std::max(high, v);
  }
  bool empty() const { return low > high; }
  void widen(double share) {
    const double margin = (high - low) * share;
    low -= margin, high += margin;
  }
};

// `unit` > 1: ticks at round multiples of it, for bytes.
void x_axis(Svg& svg, const Scale& x, double top, double bottom, double end, int count, const std::string& title, double middle,
            double unit = 1) {
  const std::vector<double> ticks = (x.log() ? x : Scale(x.low() / unit, x.high() / unit, 0, 1)).ticks(count);
  const std::vector<std::string> labels = tick_labels(ticks, x.log());
  double free_from = -1e9;  // no label may run into the one before
  for (size_t i = 0; i < ticks.size(); ++i) {
    const double tick = x(ticks[i] * unit), half = text_width(labels[i], kSmall) / 2, at = std::min(tick, end - half);
    svg.line(tick, top, tick, bottom, "grid");
    if (at - half < free_from) continue;
    svg.text(at, bottom + 15, labels[i], "tick", Anchor::Middle);
    free_from = at + half + 4;
  }
  if (!title.empty()) svg.text(middle, bottom + 32, title, "axis", Anchor::Middle);
}

void y_axis(Svg& svg, const Scale& y, double left, double right, int count) {
  const std::vector<double> ticks = y.ticks(count);
  const std::vector<std::string> labels = tick_labels(ticks, false);
  for (size_t i = 0; i < ticks.size(); ++i) {
    svg.line(left, y(ticks[i]), right, y(ticks[i]), "grid");
    svg.text(left - 6, y(ticks[i]) + 4, labels[i], "tick", Anchor::End);
  }
}

double tick_column(const Scale& y, int count) {
  double width = 0;
  for (const std::string& label : tick_labels(y.ticks(count), false)) width = std::max(width, text_width(label, kSmall));
  return width + 10;
}

}  // namespace

std::string colour_class(size_t index) {
  return fmt::format("c{}", index % 8);
}

std::string method_mark(size_t index) {
  Svg svg(12, 12, "", "key");
  svg.marker(6, 6, shape_of(index), 4.2, "mark " + colour_class(index));
  std::string text = svg.str();
  const std::string role = "role=\"img\" aria-label=\"\"";
  return text.replace(text.find(role), role.size(), "aria-hidden=\"true\"");
}

std::string row_chart(const RowChart& chart, double width) {
  const bool narrow = width < 500;
  double label_column = 0, text_column = 0;
  for (const auto& row : chart.rows) {
    label_column = std::max(label_column, text_width(row.name, kText));
    text_column = std::max(text_column, text_width(row.text, kText));
  }
  label_column = std::min(label_column, 0.28 * width) + 22;
  const double left = narrow ? 10 : label_column + 10, right = narrow ? width - 10 : width - text_column - 14;
  const double step = narrow ? 43 : 26, top = chart.reference ? 24 : 8,
               bottom = top + step * static_cast<double>(chart.rows.size());

  Range range;
  for (const auto& row : chart.rows) {
    range.add(row.mean);
    for (const double v : row.seeds) range.add(v);
    if (row.interval) range.add(row.interval->first), range.add(row.interval->second);
  }
  // A reference far away would squeeze everything else: it is named at the edge instead.
  const double span = range.high - range.low;
  const bool reference_inside = chart.reference && *chart.reference > range.low - span && *chart.reference < range.high + span;
  if (reference_inside) range.add(*chart.reference);
  range.widen(0.04);
  const Scale x(range.low, range.high, left, right);

  Svg svg(width, bottom + 40, chart.description);
  x_axis(svg, x, top, bottom, width, narrow ? 4 : 7, chart.axis, (left + right) / 2);
  if (chart.reference) {
    const std::string name = chart.reference_name;
    if (reference_inside) {
      const double at = x(*chart.reference), half = text_width(name, kSmall) / 2;
      svg.line(at, top - 4, at, bottom, "reference");
      svg.text(std::clamp(at, left + half, right - half), top - 9, name, "faint", Anchor::Middle);
    } else if (*chart.reference < range.low) {
      svg.text(left, top - 9, "← " + name + ", off the scale", "faint", Anchor::Start);
    } else {
      svg.text(right, top - 9, name + ", off the scale →", "faint", Anchor::End);
    }
  }
  for (size_t i = 0; i < chart.rows.size(); ++i) {
    const auto& row = chart.rows[i];
    const double row_top = top + step * static_cast<double>(i), y = narrow ? row_top + 28 : row_top + step / 2;
    const std::string colour = colour_class(row.index);
    if (i > 0 && row.rank != chart.rows[i - 1].rank) svg.line(0, row_top, width, row_top, "rule");
    if (narrow) {
      svg.text(left, row_top + 15, fit_text(row.name, kText, width - text_width(row.text, kSmall) - 40), "label");
      svg.text(right, row_top + 15, row.text, "value", Anchor::End);
    } else {
      svg.text(label_column, y + 4, fit_text(row.name, kText, label_column - 6), "label", Anchor::End);
      svg.text(width, y + 4, row.text, "value", Anchor::End);
    }
    if (row.interval) {
      const double a = x(row.interval->first), b = x(row.interval->second);
      svg.line(a, y, b, y, "stroke " + colour);
      svg.line(a, y - 4, a, y + 4, "stroke " + colour);
      svg.line(b, y - 4, b, y + 4, "stroke " + colour);
    }
    for (const double v : row.seeds) svg.marker(x(v), y - (narrow ? 5.5 : 7), 0, 1.9, "seed " + colour);
    svg.marker(x(row.mean), y, shape_of(row.index), 5, "mark " + colour, row.name + ": " + row.text);
  }
  return svg.str();
}

std::string cost_chart(const CostChart& chart, double width, double height, std::vector<std::string>& unlabelled) {
  Range costs, quality;
  for (const auto& p : chart.points) {
    costs.add(p.cost);
    quality.add(p.quality);
    if (p.interval) quality.add(p.interval->first), quality.add(p.interval->second);
  }
  quality.widen(0.06);
  double low = costs.low, high = costs.high;
  const bool log = chart.log && low > 0;
  if (log) {
    const double margin = std::max(std::pow(high / low, 0.08), 1.3);
    low /= margin, high *= margin;
  } else {
    const double margin = std::max((high - low) * 0.1, high * 0.01);
    low = std::max(0.0, low - margin), high += margin;
  }
  const double top = 24, bottom = height - 40;
  const Scale y(quality.low, quality.high, bottom, top);
  const double left = tick_column(y, 5), right = width - 6;
  const Scale x(low, high, left, right, log);

  Svg svg(width, height, chart.description);
  svg.text(0, 12, chart.quality_axis + (chart.higher_is_better ? " (higher is better)" : " (lower is better)"), "axis");
  y_axis(svg, y, left, right, 5);
  double unit = 1;
  std::string unit_name;
  if (chart.bytes)
    for (const char* name : {" (KiB)", " (MiB)", " (GiB)"})
      if (high / unit >= 2048) unit *= 1024, unit_name = name;
  x_axis(svg, x, top, bottom, width, 5, chart.cost_axis + unit_name, (left + right) / 2, unit);

  const bool crowded = chart.points.size() > kCrowded;
  std::vector<const CostChart::Point*> points;
  for (const auto& p : chart.points) points.push_back(&p);
  // The front: the best quality so far as the cost grows.
  std::vector<const CostChart::Point*> front;
  for (const auto* p : points)
    if (p->front) front.push_back(p);
  std::sort(front.begin(), front.end(), [](const auto* a, const auto* b) { return a->cost < b->cost; });
  std::vector<std::pair<double, double>> steps;
  for (const auto* p : front) {
    if (!steps.empty()) steps.emplace_back(x(p->cost), steps.back().second);
    steps.emplace_back(x(p->cost), y(p->quality));
  }
  if (!steps.empty()) steps.emplace_back(right, steps.back().second);
  svg.polyline(steps, "front");

  LabelPlacer placer({left, top, right - left, bottom - top});
  for (const auto* p : points) {
    const double px = x(p->cost), py = y(p->quality);
    placer.block({px - 6, py - 6, 12, 12});
    if (p->interval && (p->front || !crowded)) {
      const double a = y(p->interval->first), b = y(p->interval->second);
      svg.line(px, a, px, b, "thin " + colour_class(p->index));
      placer.avoid({px - 1, std::min(a, b), 2, std::abs(a - b)});
    }
  }
  // Thin boxes along the front's steps, so that labels do not stand on the line.
  for (size_t i = 1; i < steps.size(); ++i) {
    const auto [ax, ay] = steps[i - 1];
    const auto [bx, by] = steps[i];
    placer.avoid({std::min(ax, bx), std::min(ay, by) - 1, std::abs(ax - bx) + 1, std::abs(ay - by) + 2});
  }
  std::stable_sort(points.begin(), points.end(), [](const auto* a, const auto* b) { return a->front > b->front; });
  std::vector<std::pair<const CostChart::Point*, Box>> labels;
  for (const auto* p : points) {
    const std::string name = fit_text(p->name, kText, 0.45 * width);
    const double px = x(p->cost), py = y(p->quality), w = text_width(name, kText);
    if (const auto box = placer.place(px, py, w, kText + 2, crowded && !p->front ? 10 : 50)) {
      const double nearest_x = std::clamp(px, box->x, box->x + w), nearest_y = std::clamp(py, box->y + 2, box->y + kText);
      if (std::hypot(nearest_x - px, nearest_y - py) > 11) svg.line(px, py, nearest_x, nearest_y, "leader");
      labels.emplace_back(p, *box);
    } else {
      unlabelled.push_back(p->name);
    }
  }
  for (auto it = points.rbegin(); it != points.rend(); ++it) {
    const auto* p = *it;
    svg.marker(x(p->cost), y(p->quality), shape_of(p->index), 5, (p->front ? "mark " : "hollow ") + colour_class(p->index),
               fmt::format("{}: {} {}, {}", p->name, fixed_text(p->quality, 2), chart.quality_axis,
                           chart.bytes ? bytes_text(p->cost) : compact_text(p->cost)));
  }
  for (const auto& [p, box] : labels) {
    // Widths are estimates: text grows away from its point.
    const double px = x(p->cost);
    const Anchor anchor = box.x + box.width <= px ? Anchor::End : box.x >= px ? Anchor::Start : Anchor::Middle;
    const double at = anchor == Anchor::End ? box.x + box.width : anchor == Anchor::Start ? box.x : box.x + box.width / 2;
    svg.text(at, box.y + kText - 1, fit_text(p->name, kText, 0.45 * width), p->front ? "label strong" : "label", anchor);
  }
  return svg.str();
}

std::string rate_panel(const RatePanel& panel, double width) {
  Range rates;
  for (const auto& p : panel.points) rates.add(p.lr);
  if (rates.empty()) return "";
  const double top = 10, height = panel_height(width), bottom = height - 22;
  const Scale y(panel.low, panel.high, bottom, top);
  const double left = tick_column(y, 4), right = width - 8;
  const Scale x(rates.low / 1.5, rates.high * 1.5, left, right, true);
  Svg svg(width, height, panel.description, "chart panel");
  y_axis(svg, y, left, right, 4);
  x_axis(svg, x, top, bottom, width, width < 200 ? 3 : 5, "", 0);
  if (panel.chosen) svg.line(x(*panel.chosen), top, x(*panel.chosen), bottom, "reference");
  const std::string colour = colour_class(panel.index);
  std::vector<double> rungs;
  for (const auto& p : panel.points)
    if (std::find(rungs.begin(), rungs.end(), p.rung) == rungs.end()) rungs.push_back(p.rung);
  std::sort(rungs.begin(), rungs.end());
  for (const double rung : rungs) {
    const bool last = rung == rungs.back();
    std::vector<RatePanel::Point> points;
    for (const auto& p : panel.points)
      if (p.rung == rung) points.push_back(p);
    std::sort(points.begin(), points.end(), [](const auto& a, const auto& b) { return a.lr < b.lr; });
    std::vector<std::pair<double, double>> line;
    for (const auto& p : points)
      if (p.score) line.emplace_back(x(p.lr), y(std::clamp(*p.score, panel.low, panel.high)));
    svg.polyline(line, (last ? "stroke " : "early ") + colour);
    for (const auto& p : points) {
      if (!p.score) {
        svg.cross(x(p.lr), bottom - 6, 3.5, "cross", fmt::format("lr {}: {}", rate_text(p.lr), p.status));
        continue;
      }
      const bool chosen = last && panel.chosen && std::abs(p.lr - *panel.chosen) <= 1e-3 * p.lr;
      const bool below = *p.score < panel.low || *p.score > panel.high;
      svg.marker(x(p.lr), y(std::clamp(*p.score, panel.low, panel.high)), below ? (*p.score < panel.low ? 4 : 2) : 0,
                 chosen ? 5.5 : 3.2, (last ? "mark " : "hollow ") + colour,
                 fmt::format("lr {}: {} at {:g} of the budget", rate_text(p.lr), fixed_text(*p.score, 2), p.rung));
    }
  }
  return svg.str();
}

namespace {

// Averages over a few neighbouring bins: the eye should follow the trend.
std::vector<std::optional<double>> smooth(const std::vector<std::optional<double>>& v) {
  constexpr size_t reach = 2;
  std::vector<std::optional<double>> out(v.size());
  for (size_t i = 0; i < v.size(); ++i) {
    if (!v[i]) continue;
    const size_t around = std::min({reach, i, v.size() - 1 - i});  // narrower at the ends, which would be bent otherwise
    double sum = 0, n = 0;
    for (size_t k = i - around; k <= i + around; ++k)
      if (v[k]) sum += *v[k], ++n;
    out[i] = sum / n;
  }
  return out;
}

}  // namespace

std::string loss_panel(const LossPanel& panel, double width) {
  const double top = 10, height = panel_height(width), bottom = height - 22;
  const Scale y(panel.low, panel.high, bottom, top);
  const double left = tick_column(y, 4), right = width - 8;
  const Scale x(0, panel.last_step, left, right);
  Svg svg(width, height, panel.description, "chart panel");
  y_axis(svg, y, left, right, 4);
  x_axis(svg, x, top, bottom, width, width < 200 ? 3 : 4, "", 0);
  const auto draw = [&](const std::vector<double>& steps, const std::vector<std::optional<double>>& loss,
                        const std::string& css_class) {
    std::vector<std::pair<double, double>> line;
    for (size_t i = 0; i < steps.size() && i < loss.size(); ++i)
      if (loss[i]) line.emplace_back(x(steps[i]), y(std::clamp(*loss[i], panel.low, panel.high)));
    svg.polyline(line, css_class);
  };
  for (const auto& [steps, loss] : panel.others) draw(steps, smooth(loss), "others");
  for (const auto& loss : panel.seeds) draw(panel.steps, loss, "early " + colour_class(panel.index));
  draw(panel.steps, smooth(panel.mean), "stroke " + colour_class(panel.index));
  return svg.str();
}

}  // namespace graft
