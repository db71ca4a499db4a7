// Plain numbers, and the crossed table of runs and items.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "compare/distributions.h"
#include "compare/stats.h"
#include "core/check.h"

namespace graft {

double mean_of(std::span<const double> x) {
  if (x.empty()) usage_error("statistics", "the mean of no numbers is not defined");
  return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
}

double sd_of(std::span<const double> x) {
  const double mean = mean_of(x);
  if (x.size() == 1) return 0;
  double squares = 0;
  for (const double value : x) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / static_cast<double>(x.size() - 1));
}

double quantile_of(std::vector<double> x, double q) {
  if (x.empty() || !(q >= 0 && q <= 1))
    usage_error("statistics",
                fmt::format("a quantile wants at least one number and a level in 0..1 but got {} numbers and {}", x.size(), q));
  // NaN has no place in an order, and would lead the selection astray.
  if (std::any_of(x.begin(), x.end(), [](double v) { return std::isnan(v); })) return std::numeric_limits<double>::quiet_NaN();
  const double at = q * static_cast<double>(x.size() - 1);
  const auto below = static_cast<size_t>(at);
  std::nth_element(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(below), x.end());
  const double low = x[below];
  if (below + 1 == x.size()) return low;
  const double high = *std::min_element(x.begin() + static_cast<std::ptrdiff_t>(below) + 1, x.end());
  return low + (at - static_cast<double>(below)) * (high - low);
}

double median_of(std::vector<double> x) {
  return quantile_of(std::move(x), 0.5);
}

Interval wilson_interval(size_t successes, size_t n, double level) {
  if (n == 0 || successes > n || !(level > 0 && level < 1))
    usage_error("statistics",
                fmt::format("Wilson's interval wants 0 <= successes <= n, n >= 1 and a level in (0,1) but got {} of {} at {}",
                            successes, n, level));
  const double count = static_cast<double>(n), rate = static_cast<double>(successes) / count,
               z = normal_quantile(0.5 + level / 2);
  const double middle = rate + z * z / (2 * count),
               spread = z * std::sqrt(rate * (1 - rate) / count + z * z / (4 * count * count));
  const double scale = 1 + z * z / count;
  return {successes == 0 ? 0 : (middle - spread) / scale, successes == n ? 1 : (middle + spread) / scale};
}

namespace {
void require_finite(const std::vector<std::vector<double>>& rows, size_t width) {
  if (rows.empty() || rows[0].empty()) input_error("statistics", "there is no score", "at least one run with one item is needed");
  for (size_t s = 0; s < rows.size(); ++s) {
    if (rows[s].size() != rows[0].size())
      input_error("statistics",
                  fmt::format("run {} has {} items but run 0 has {}", s, rows[s].size() / width, rows[0].size() / width),
                  "all runs must be scored on the same items");
    for (size_t i = 0; i < rows[s].size(); ++i)
      if (!std::isfinite(rows[s][i]))
        input_error("statistics", fmt::format("the score of run {}, item {} is not finite", s, i / width),
                    "leave diverged runs out and report them as failed");
  }
}
}  // namespace

Samples Samples::of_scores(std::vector<std::vector<double>> scores) {
  require_finite(scores, 1);
  Samples samples;
  samples.items_ = scores[0].size();
  samples.rows_ = std::move(scores);
  return samples;
}

Samples Samples::of_corpus(size_t width, std::vector<std::vector<double>> stats, CorpusMetric metric) {
  if (width == 0 || !metric) usage_error("statistics", "a corpus metric wants a function and at least one statistic per item");
  require_finite(stats, width);
  if (stats[0].size() % width)
    usage_error("statistics",
                fmt::format("a run has {} numbers, which is no multiple of the {} per item", stats[0].size(), width));
  Samples samples;
  samples.width_ = width;
  samples.items_ = stats[0].size() / width;
  samples.rows_ = std::move(stats);
  samples.metric_ = std::move(metric);
  return samples;
}

bool Samples::is_right_or_wrong() const {
  return is_mean() && std::all_of(rows_.begin(), rows_.end(), [](const auto& row) {
           return std::all_of(row.begin(), row.end(), [](double x) { return x == 0 || x == 1; });
         });
}

std::vector<double> Samples::sums(size_t run) const {
  std::vector<double> out(width_, 0.0);
  for (size_t i = 0; i < items_; ++i)
    for (size_t k = 0; k < width_; ++k) out[k] += rows_[run][i * width_ + k];
  return out;
}

double Samples::value(size_t run) const {
  return is_mean() ? mean_of(rows_[run]) : metric_(sums(run));
}

std::vector<double> Samples::values() const {
  std::vector<double> out;
  for (size_t s = 0; s < runs(); ++s) out.push_back(value(s));
  return out;
}
double Samples::mean() const {
  return mean_of(values());
}
double Samples::sd() const {
  return sd_of(values());
}

double Samples::weighted_value(size_t run, std::span<const double> weights, double total) const {
  const double* row = rows_[run].data();
  if (is_mean()) {
    double chains[4] = {};  // four independent chains of additions
    size_t i = 0;
    for (; i + 4 <= items_; i += 4)
      for (size_t k = 0; k < 4; ++k) chains[k] += weights[i + k] * row[i + k];
    for (; i < items_; ++i) chains[0] += weights[i] * row[i];
    return ((chains[0] + chains[1]) + (chains[2] + chains[3])) / total;
  }
  std::vector<double> drawn(width_, 0.0);
  for (size_t i = 0; i < items_; ++i, row += width_) {
    if (weights[i] == 0) continue;
    for (size_t k = 0; k < width_; ++k) drawn[k] += weights[i] * row[k];
  }
  return metric_(drawn);
}

std::vector<std::vector<double>> Samples::pseudo_values() const {
  if (is_mean()) return rows_;
  const auto n = static_cast<double>(items_);
  std::vector<std::vector<double>> out(runs());
  for (size_t s = 0; s < runs(); ++s) {
    const double whole = value(s);
    if (items_ == 1) {
      out[s] = {whole};
      continue;
    }
    const auto all = sums(s);
    std::vector<double> without(width_);
    for (size_t i = 0; i < items_; ++i) {
      for (size_t k = 0; k < width_; ++k) without[k] = all[k] - rows_[s][i * width_ + k];
      out[s].push_back(n * whole - (n - 1) * metric_(without));
      if (!std::isfinite(out[s].back()))
        input_error("statistics", fmt::format("the corpus metric of run {} without item {} is not finite", s, i));
    }
  }
  return out;
}

}  // namespace graft
