// The bootstrap over runs and items. A. B. Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1 (2007).
#include <algorithm>
#include <cmath>

#include "compare/stats.h"
#include "core/check.h"
#include "core/rng.h"

namespace graft {
namespace {

void check_options(const BootstrapOptions& options) {
  if (options.replicates < 100 || !(options.level > 0 && options.level < 1))
    usage_error("bootstrap", fmt::format("wants at least 100 replicates and a level in (0,1) but got {} and {}",
                                         options.replicates, options.level));
}

// One draw with replacement from 0..n-1, as how often each index came.
class Draw {
 public:
  explicit Draw(size_t n) : counts_(n) {}
  void again(Rng& rng) {
    std::fill(counts_.begin(), counts_.end(), 0.0);
    const uint64_t n = counts_.size();
    // The high half of a 64 x 64 bit product is uniform to within n / 2^64, without a division.
    for (uint64_t i = 0; i < n; ++i) ++counts_[static_cast<size_t>((static_cast<unsigned __int128>(rng.next()) * n) >> 64)];
  }
  std::span<const double> counts() const { return counts_; }

 private:
  std::vector<double> counts_;
};

// The mean over drawn runs of the metric over drawn items.
double drawn_mean(const Samples& samples, const Draw& runs, const Draw& items) {
  double sum = 0;
  for (size_t s = 0; s < samples.runs(); ++s)
    if (const double times = runs.counts()[s]; times > 0)
      sum += times * samples.weighted_value(s, items.counts(), static_cast<double>(samples.items()));
  return sum / static_cast<double>(samples.runs());
}

Interval percentile_interval(const std::vector<double>& values, double level) {
  return {quantile_of(values, (1 - level) / 2), quantile_of(values, (1 + level) / 2)};
}

}  // namespace

Interval bootstrap_interval(const Samples& samples, const BootstrapOptions& options) {
  check_options(options);
  Rng rng(mix_seed(options.seed, "bootstrap"));
  Draw runs(samples.runs()), items(samples.items());
  std::vector<double> means(options.replicates);
  for (double& mean : means) {
    runs.again(rng);
    items.again(rng);
    mean = drawn_mean(samples, runs, items);
  }
  return percentile_interval(means, options.level);
}

Interval interval_over_items(const std::vector<double>& scores, const BootstrapOptions& options) {
  const Samples samples = Samples::of_scores({scores});
  if (!samples.is_right_or_wrong()) return bootstrap_interval(samples, options);
  return wilson_interval(static_cast<size_t>(std::count(scores.begin(), scores.end(), 1.0)), scores.size(), options.level);
}

PairResult hierarchical_bootstrap_test(const Samples& a, const Samples& b, const BootstrapOptions& options) {
  check_options(options);
  PairResult result = crossed_t_test(a, b);  // also checks that a and b fit; its standard error is reported
  result.test = "hierarchical bootstrap";
  Rng rng(mix_seed(options.seed, "paired bootstrap"));
  const bool paired = a.runs() == b.runs();
  Draw runs_a(a.runs()), runs_b(b.runs()), items(a.items());
  std::vector<double> differences(options.replicates);
  size_t below = 0, above = 0;
  for (double& difference : differences) {
    runs_a.again(rng);
    if (!paired) runs_b.again(rng);
    items.again(rng);
    difference = drawn_mean(a, runs_a, items) - drawn_mean(b, paired ? runs_a : runs_b, items);
    below += difference <= 0;
    above += difference >= 0;
  }
  result.p = std::min(1.0, 2.0 * static_cast<double>(1 + std::min(below, above)) / static_cast<double>(options.replicates + 1));
  result.ci95 = percentile_interval(differences, 0.95);
  return result;
}

}  // namespace graft
