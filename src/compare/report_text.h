// Numbers and names as a reader of the report sees them.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace graft {

std::string fixed_text(double value, int digits);                    // "-1.50"
std::string signed_text(double value, int digits);                   // "+1.50", "-1.50", "0.00"
std::string compact_text(double value);                              // "512", "1.23 M", "4.5 G"
std::string bytes_text(double bytes);                                // "12.3 MiB"
std::string seconds_text(double seconds);                            // "12 ms", "3.2 s", "4 min 10 s", "2 h 05 min"
std::string rate_text(double lr);                                    // "2e-4", "3.2e-4", "0.1"
std::string p_text(double p);                                        // "0.031", "<0.001"
std::string p_equation(double p);                                    // "p = 0.031", "p < 0.001"
std::string percent_text(double share);                              // of 0.0361: "3.6 %"; two figures
std::string short_text(std::string_view text, size_t code_points);   // cut with "…" at a whole UTF-8 character
std::string list_text(const std::vector<std::string>& words);        // "a, b and c"
std::string list_text(std::vector<std::string> words, size_t most);  // "a, b and 7 more"

// A metric as results.json describes it: how its values are shown and which way is better.
struct MetricView {
  explicit MetricView(const Json& metric);
  std::string name, unit;  // unit: "BLEU", "%", or empty
  bool higher_is_better = true;
  double scale = 1;  // shown = value * scale
  int digits = 2;

  std::string number(double value) const;      // "62.41"
  std::string with_unit(double value) const;   // "62.41 BLEU"
  std::string difference(double value) const;  // "+1.20"
  std::string title() const;                   // "BLEU", "exact_match (%)", "loss (nats/token)"
  bool better(double a, double b) const { return higher_is_better ? a > b : a < b; }
};

}  // namespace graft
