#include "compare/report_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "compare/results_read.h"

namespace graft {
namespace {

// Three significant figures, without trailing zeros after the point being lost: columns align better with them.
std::string three_figures(double value) {
  const double size = std::abs(value);
  return fixed_text(value, size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2);
}

template <size_t N>
std::string with_prefix(double value, double step, const std::array<const char*, N>& units) {
  size_t i = 0;
  for (; i + 1 < N && std::abs(value) >= step * 0.9995; ++i) value /= step;
  const bool whole = i == 0 && value == std::floor(value);
  return fmt::format("{}{}", whole ? fixed_text(value, 0) : three_figures(value), units[i]);
}

}  // namespace

std::string fixed_text(double value, int digits) {
  std::string text = fmt::format("{:.{}f}", value, digits);
  if (text.find_first_not_of("-0.") == std::string::npos && text[0] == '-') text.erase(0, 1);  // no "-0.0"
  return text;
}

std::string signed_text(double value, int digits) {
  const std::string text = fixed_text(value, digits);
  return text[0] == '-' || text.find_first_not_of("0.") == std::string::npos ? text : "+" + text;
}

std::string compact_text(double value) {
  return with_prefix(value, 1000, std::array{"", " k", " M", " G", " T"});
}
std::string bytes_text(double bytes) {
  return with_prefix(bytes, 1024, std::array{" B", " KiB", " MiB", " GiB", " TiB"});
}

std::string seconds_text(double seconds) {
  if (seconds < 0.9995)
    return seconds < 0.0009995 ? fmt::format("{} µs", three_figures(seconds * 1e6))
                               : fmt::format("{} ms", three_figures(seconds * 1e3));
  if (seconds < 99.5) return fmt::format("{} s", three_figures(seconds));
  const long long whole = std::llround(std::min(seconds, 1e12));
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  if (whole < 48 * 3600) return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
  return fmt::format("{} d {:02} h", whole / 86400, whole % 86400 / 3600);
}

std::string rate_text(double lr) {
  if (lr == 0 || (std::abs(lr) >= 0.1 && std::abs(lr) < 100)) return fmt::format("{:.3g}", lr);
  std::string text = fmt::format("{:.2e}", lr);  // "3.20e-04"
  const size_t e = text.find('e');
  std::string digits = text.substr(0, e);
  while (digits.back() == '0') digits.pop_back();
  if (digits.back() == '.') digits.pop_back();
  return fmt::format("{}e{}", digits, std::stoi(text.substr(e + 1)));
}

std::string p_text(double p) {
  if (p < 0.001) return "<0.001";
  return p > 0.999 ? "1" : fixed_text(p, p < 0.0995 ? 3 : 2);
}

std::string p_equation(double p) {
  return p < 0.001 ? "p < 0.001" : "p = " + p_text(p);
}

std::string percent_text(double share) {
  const double percent = 100 * share, size = std::abs(percent);
  if (size >= 9.95) return fixed_text(percent, 0) + " %";
  const int digits = size > 0 ? std::clamp(1 - static_cast<int>(std::floor(std::log10(size))), 1, 6) : 0;
  return fixed_text(percent, digits) + " %";
}

std::string short_text(std::string_view text, size_t code_points) {
  size_t count = 0, i = 0;
  for (; i < text.size(); ++i)
    if ((text[i] & 0xC0) != 0x80 && count++ == code_points) break;
  return i == text.size() ? std::string(text) : std::string(text.substr(0, i)) + "…";
}

std::string list_text(const std::vector<std::string>& words) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) text += (i == 0 ? "" : i + 1 == words.size() ? " and " : ", ") + words[i];
  return text;
}

std::string list_text(std::vector<std::string> words, size_t most) {
  if (words.size() > most + 1) {
    const size_t more = words.size() - most;
    words.resize(most);
    words.push_back(fmt::format("{} more", more));
  }
  return list_text(words);
}

MetricView::MetricView(const Json& metric)
    : name(text_at(metric, "name")),
      unit(text_at(metric, "unit")),
      scale(number_at(metric, "scale").value_or(1)),
      digits(static_cast<int>(number_at(metric, "digits").value_or(2))) {
  if (metric.is_object())
    if (const auto it = metric.find("higher_is_better"); it != metric.end() && it->is_boolean())
      higher_is_better = it->get<bool>();
}

std::string MetricView::number(double value) const {
  return fixed_text(value * scale, digits);
}
std::string MetricView::difference(double value) const {
  return signed_text(value * scale, digits);
}
std::string MetricView::with_unit(double value) const {
  return unit.empty() ? fmt::format("{} {}", name, number(value)) : fmt::format("{} {}", number(value), unit);
}
std::string MetricView::title() const {
  const bool same = unit.size() == name.size() && std::equal(unit.begin(), unit.end(), name.begin(), [](char a, char b) {
                      return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
                    });
  return unit.empty() ? name : same ? unit : fmt::format("{} ({})", name, unit);
}

}  // namespace graft
