#include "compare/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "compare/report_text.h"

namespace graft {

std::string escape_html(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        if ((static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') || c == 0x7f)
          out += "\xEF\xBF\xBD";
        else
          out += c;
    }
  }
  return out;
}

double text_width(std::string_view text, double size) {
  double width = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const unsigned char c = static_cast<unsigned char>(text[i]);
    if ((c & 0xC0) == 0x80) continue;
    if (c >= 0xE3)
      width += 1.0;  // East Asian and other wide characters
    else if (std::string_view(" .,:;|!'()[]ijltfrI").find(static_cast<char>(c)) != std::string_view::npos)
      width += 0.36;
    else if (c >= 'A' && c <= 'Z')
      width += 0.70;
    else
      width += c == 'm' || c == 'w' || c == '%' ? 0.88 : 0.60;
  }
  return width * size;
}

std::string fit_text(std::string_view text, double size, double width) {
  if (text_width(text, size) <= width) return std::string(text);
  size_t keep = text.size();
  while (keep > 1 && text_width(short_text(text, keep), size) > width) --keep;
  return short_text(text, keep);
}

Scale::Scale(double low, double high, double pixel_low, double pixel_high, bool log)
    : low_(low), high_(high), from_(pixel_low), to_(pixel_high), log_(log && low > 0 && high > 0) {
  if (low_ > high_) std::swap(low_, high_);
  if (high_ - low_ <= 1e-12 * std::max(std::abs(low_), std::abs(high_)) || low_ == high_) {
    const double margin = log_ ? 0 : std::max(std::abs(low_) * 0.05, 1e-9);
    low_ = log_ ? low_ / 2 : low_ - margin;
    high_ = log_ ? high_ * 2 : high_ + margin;
  }
}

double Scale::operator()(double value) const {
  const double share = log_ ? (std::log(std::max(value, low_ * 1e-6)) - std::log(low_)) / (std::log(high_) - std::log(low_))
                            : (value - low_) / (high_ - low_);
  return from_ + std::clamp(share, -0.5, 1.5) * (to_ - from_);
}

std::vector<double> Scale::ticks(int count) const {
  std::vector<double> ticks;
  if (log_) {
    // Finer and finer sets of leading digits until there are enough, then every k-th power where there are too many.
    static const std::array<std::vector<double>, 3> digits = {std::vector<double>{1}, {1, 3}, {1, 2, 5}};
    for (const auto& set : digits) {
      ticks.clear();
      for (int e = static_cast<int>(std::floor(std::log10(low_))); e <= static_cast<int>(std::ceil(std::log10(high_))); ++e)
        for (const double d : set)
          if (const double v = d * std::pow(10.0, e); v >= low_ * 0.999 && v <= high_ * 1.001) ticks.push_back(v);
      if (static_cast<int>(ticks.size()) >= std::min(count, 3)) break;
    }
    if (static_cast<int>(ticks.size()) > count) {
      std::vector<double> fewer;
      const size_t step = (ticks.size() + static_cast<size_t>(count) - 1) / static_cast<size_t>(count);
      for (size_t i = 0; i < ticks.size(); i += step) fewer.push_back(ticks[i]);
      ticks = fewer;
    }
    return ticks;
  }
  const double raw = (high_ - low_) / std::max(count, 1), power = std::pow(10.0, std::floor(std::log10(raw)));
  const double lead = raw / power, step = (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10) * power;
  for (double k = std::ceil(low_ / step - 1e-9); k * step <= high_ + 1e-9 * step && ticks.size() < 50; ++k)
    ticks.push_back(k * step);
  return ticks;
}

namespace {

// "10.0 k" -> "10 k"
std::string without_zeros(std::string text) {
  const size_t point = text.find('.'), end = std::min(text.find(' '), text.size());
  if (point == std::string::npos) return text;
  size_t keep = end;
  while (text[keep - 1] == '0') --keep;
  if (keep - 1 == point) --keep;
  return text.erase(keep, end - keep);
}

}  // namespace

std::vector<std::string> tick_labels(const std::vector<double>& ticks, bool log) {
  std::vector<std::string> labels;
  double step = INFINITY, largest = 0;
  for (size_t i = 0; i < ticks.size(); ++i) {
    if (i) step = std::min(step, std::abs(ticks[i] - ticks[i - 1]));
    largest = std::max(largest, std::abs(ticks[i]));
  }
  for (const double v : ticks) {
    if (log)
      labels.push_back(v >= 1 ? without_zeros(compact_text(std::round(v))) : rate_text(v));
    else if (largest >= 1e5)
      labels.push_back(without_zeros(compact_text(v)));
    else
      labels.push_back(
          fixed_text(v, std::isfinite(step) ? std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-9)), 0, 6) : 2));
  }
  return labels;
}

bool Box::overlaps(const Box& o) const {
  return x < o.x + o.width && o.x < x + width && y < o.y + o.height && o.y < y + height;
}

std::optional<Box> LabelPlacer::place(double x, double y, double width, double height, double reach) {
  const auto fits = [&](const Box& box, bool strict) {
    const auto hits = [&](const Box& other) { return other.overlaps(box); };
    return box.x >= area_.x && box.y >= area_.y && box.x + width <= area_.x + area_.width &&
           box.y + height <= area_.y + area_.height && std::none_of(taken_.begin(), taken_.end(), hits) &&
           (!strict || std::none_of(avoided_.begin(), avoided_.end(), hits));
  };
  for (const bool strict : {true, false}) {
    // Beside the point first, then above and below, then further out where a leader line must help.
    for (const double gap : {9.0, 15.0, 24.0, 36.0, 50.0}) {
      if (gap > reach) break;
      const double near = 0.7 * gap, left = x - width, middle = x - width / 2, up = y - height;
      const std::array<Box, 8> places = {{{x + gap, y - height / 2, width, height},
                                          {left - gap, y - height / 2, width, height},
                                          {middle, up - gap, width, height},
                                          {middle, y + gap, width, height},
                                          {x + near, up - near, width, height},
                                          {x + near, y + near, width, height},
                                          {left - near, up - near, width, height},
                                          {left - near, y + near, width, height}}};
      for (const Box& box : places) {
        if (!fits(box, strict)) continue;
        taken_.push_back(box);
        return box;
      }
    }
  }
  return {};
}

Svg::Svg(double width, double height, std::string_view description, std::string_view css_class)
    : head_(fmt::format(
          "<svg class=\"{}\" viewBox=\"0 0 {:g} {:g}\" width=\"{:g}\" height=\"{:g}\" role=\"img\" aria-label=\"{}\">", css_class,
          width, height, width, height, escape_html(description))) {}

void Svg::line(double x1, double y1, double x2, double y2, std::string_view css_class) {
  body_ += fmt::format("<line class=\"{}\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>", css_class, x1, y1, x2, y2);
}

void Svg::polyline(const std::vector<std::pair<double, double>>& points, std::string_view css_class) {
  if (points.size() < 2) return;
  body_ += fmt::format("<polyline class=\"{}\" points=\"", css_class);
  for (size_t i = 0; i < points.size(); ++i)
    body_ += fmt::format("{}{:.1f},{:.1f}", i ? " " : "", points[i].first, points[i].second);
  body_ += "\"/>";
}

void Svg::rect(const Box& box, std::string_view css_class, double radius) {
  body_ += fmt::format("<rect class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" rx=\"{:g}\"/>", css_class,
                       box.x, box.y, box.width, box.height, radius);
}

void Svg::text(double x, double y, std::string_view text, std::string_view css_class, Anchor anchor) {
  static constexpr std::array<const char*, 3> names = {"start", "middle", "end"};
  body_ += fmt::format("<text class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>", css_class, x, y,
                       names[static_cast<size_t>(anchor)], escape_html(text));
}

void Svg::marker(double x, double y, int shape, double radius, std::string_view css_class, std::string_view tooltip) {
  const std::string title = tooltip.empty() ? "" : fmt::format("<title>{}</title>", escape_html(tooltip));
  const int kind = ((shape % 6) + 6) % 6;
  if (kind == 0) {
    body_ +=
        fmt::format("<circle class=\"{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.1f}\">{}</circle>", css_class, x, y, radius, title);
    return;
  }
  // Regular polygons, scaled to look as large as the circle: corners, turn in degrees, factor.
  struct Polygon {
    int corners;
    double turn, factor;
  };
  static constexpr std::array<Polygon, 6> polygons = {
      {{0, 0, 0}, {4, 45, 1.22}, {3, -90, 1.32}, {4, 0, 1.28}, {3, 90, 1.32}, {5, -90, 1.14}}};
  const Polygon& p = polygons[static_cast<size_t>(kind)];
  body_ += fmt::format("<polygon class=\"{}\" points=\"", css_class);
  for (int i = 0; i < p.corners; ++i) {
    const double angle = (p.turn + 360.0 * i / p.corners) * 3.14159265358979323846 / 180;
    body_ += fmt::format("{}{:.1f},{:.1f}", i ? " " : "", x + p.factor * radius * std::cos(angle),
                         y + p.factor * radius * std::sin(angle));
  }
  body_ += fmt::format("\">{}</polygon>", title);
}

void Svg::cross(double x, double y, double r, std::string_view css_class, std::string_view tooltip) {
  body_ += fmt::format("<path class=\"{}\" d=\"M{:.1f} {:.1f}l{:.1f} {:.1f}m0 {:.1f}l{:.1f} {:.1f}\">{}</path>", css_class, x - r,
                       y - r, 2 * r, 2 * r, -2 * r, -2 * r, 2 * r,
                       tooltip.empty() ? "" : fmt::format("<title>{}</title>", escape_html(tooltip)));
}

std::string Svg::str() const {
  return head_ + body_ + "</svg>";
}

}  // namespace graft
