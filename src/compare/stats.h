// Statistics of a comparison: how sure a number is, and whether two methods differ. docs/statistics.md says in words
// when each function is used and why.
//
// The data of one method and one metric are a crossed table: every run (seed) answers every test item. Both are samples:
// another seed and another item could have been drawn, so both count in every interval and test below. Row s of two
// methods shares its seed (data order), column i is the same test item for all methods.
//
// Errors: Fault::Usage for arguments that make no sense (levels outside (0,1), methods with different items),
// Fault::Input for scores that are not finite. Same arguments and seed give the same bits on every machine.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace graft {

enum class Better { Higher, Lower };  // loss, perplexity: Lower

struct Interval {
  double low = 0, high = 0;
};

// ---- plain numbers ------------------------------------------------------------------------------------------------

double mean_of(std::span<const double> x);  // 0 numbers: usage error
double sd_of(std::span<const double> x);    // sample standard deviation, divisor n-1; 0 for n = 1
double quantile_of(std::vector<double> x,
                   double q);  // linear interpolation between order statistics, as numpy's default; NaN if any is
double median_of(std::vector<double> x);

// Wilson's score interval of a proportion `successes / n` (Wilson 1927); n >= 1.
Interval wilson_interval(size_t successes, size_t n, double level = 0.95);

// ---- the crossed table of one method and one metric ---------------------------------------------------------------

// The metric of one run from the sums over its items of their sufficient statistics (corpus BLEU: bleu_of_sums).
using CorpusMetric = std::function<double(std::span<const double> sums)>;

class Samples {
 public:
  // Metrics that are means over items (accuracy, exact match, loss per item, ROUGE-L): scores[run][item].
  static Samples of_scores(std::vector<std::vector<double>> scores);
  // Metrics of the corpus as a whole: stats[run] holds items * width numbers, item after item.
  static Samples of_corpus(size_t width, std::vector<std::vector<double>> stats, CorpusMetric metric);

  size_t runs() const { return rows_.size(); }
  size_t items() const { return items_; }
  size_t width() const { return width_; }
  bool is_mean() const { return !metric_; }
  bool is_right_or_wrong() const;  // a mean metric whose scores are all 0 or 1
  std::span<const double> row(size_t run) const { return rows_[run]; }

  double value(size_t run) const;      // the metric of one run over all its items
  std::vector<double> values() const;  // of every run
  double mean() const;                 // mean over runs: the number a report shows
  double sd() const;                   // over runs, n-1

  std::vector<double> sums(size_t run) const;  // [width], over the items of a run
  // A corpus metric from such sums; of a mean metric, the sum itself.
  double of_sums(std::span<const double> sums) const { return metric_ ? metric_(sums) : sums[0]; }

  // The metric from weighted sums; weights[item] counts how often the item is drawn and sums to `total`.
  double weighted_value(size_t run, std::span<const double> weights, double total) const;

  // [run][item] numbers whose mean over items is (for corpus metrics: nearly) the run's value. Scores for a mean
  // metric; else the jackknife's pseudo-values n*theta - (n-1)*theta_without_i (Tukey 1958).
  std::vector<std::vector<double>> pseudo_values() const;

 private:
  size_t items_ = 0, width_ = 1;
  std::vector<std::vector<double>> rows_;
  CorpusMetric metric_;
};

// ---- intervals ----------------------------------------------------------------------------------------------------

struct BootstrapOptions {
  size_t replicates = 2000;
  uint64_t seed = 0;
  double level = 0.95;
};

// Hierarchical ("pigeonhole", Owen 2007) bootstrap of Samples::mean(): each replicate draws runs with replacement and, once
// for all runs, items with replacement (items are crossed with runs, not nested in them). Percentile interval.
// One run: items only. One item: runs only.
Interval bootstrap_interval(const Samples& samples, const BootstrapOptions& options = {});

// For `graft eval`: Wilson's interval when every score is 0 or 1, else the percentile bootstrap over items.
Interval interval_over_items(const std::vector<double>& scores, const BootstrapOptions& options = {});

// ---- pairwise tests -----------------------------------------------------------------------------------------------

struct PairResult {
  std::string test;           // "crossed t", "hierarchical bootstrap", "paired permutation", "mcnemar", ...
  double difference = 0;      // mean of a minus mean of b
  double p = 1;               // two-sided
  Interval ci95;              // of the difference; NaN where nothing can be estimated (one run, one item)
  double standard_error = 0;  // of the difference, runs and items counted; 0 where the test has none
  double degrees = 0;         // degrees of freedom of that standard error
  double detectable = 0;      // smallest true difference found with 80 % power at two-sided 5 %, see minimum_detectable
  bool runs_counted = false;  // false: one run per method, so nothing is said about other seeds
};

// The default test. With two or more runs of each: crossed_t_test. With a single run of each: mcnemar for right/wrong
// scores, else permutation_test; `runs_counted` is then false. Standard error, interval and detectable difference
// are those of crossed_t_test in every case.
PairResult compare_pair(const Samples& a, const Samples& b, const BootstrapOptions& options = {});

// Paired t test with runs and items both random (two-way random effects; Clark 1973; Satterthwaite 1946 for the degrees of
// freedom). With d[s][i] = a - b, S runs, N items and the mean squares of the two-way table:
//   var = max(MS_run + MS_item - MS_rest, MS_run, MS_item) / (S N),   t = mean(d) / sqrt(var).
// Where nothing varies and the means differ, p = 2 / 2^N: every item points the same way.
// Corpus metrics enter through their pseudo-values. Equal numbers of runs: run s of a and of b are a pair. Unequal numbers (a run
// failed): run effects are taken as independent; the run variance of a method with one run is taken from the other.
PairResult crossed_t_test(const Samples& a, const Samples& b);

// Bootstrap of the difference with the draws of bootstrap_interval, the same runs and items for a and b
// (runs drawn apart when their numbers differ). p = 2 (1 + min(#{d* <= 0}, #{d* >= 0})) / (replicates + 1), at most 1.
PairResult hierarchical_bootstrap_test(const Samples& a, const Samples& b, const BootstrapOptions& options = {});

// Are these runs exchangeable between a and b, item by item? Swaps all outputs of an item between a and b (approximate
// randomisation, Noreen 1989; for means: sign flips of the item's mean difference). Exact when at most 16 items differ,
// else p = (1 + hits) / (replicates + 1). Conditional on the runs at hand: says nothing about other seeds.
PairResult permutation_test(const Samples& a, const Samples& b, const BootstrapOptions& options = {});

// McNemar's exact test for right/wrong scores of one run each: with b and c the discordant items,
// p = min(1, 2 P[Binomial(b+c, 1/2) <= min(b, c)]).
PairResult mcnemar_test(const Samples& a, const Samples& b);
double mcnemar_p(size_t only_a, size_t only_b);

// (t_{1-alpha/2, df} + t_{power, df}) * standard_error; Cohen 1988 with t in place of normal quantiles.
double minimum_detectable(double standard_error, double degrees, double alpha = 0.05, double power = 0.80);

// ---- many methods -------------------------------------------------------------------------------------------------

// Holm's step-down adjusted p-values in the order given (Holm 1979): controls the chance of any false difference.
std::vector<double> holm(std::span<const double> p);

// One compared pair, methods by index, with its adjusted p.
struct Verdict {
  size_t a = 0, b = 0;
  double p_holm = 1;
};

// Ranks with ties, from 1. m beats k when p_holm < alpha and m's mean is better. rank(m) = 1 + the largest rank among the methods
// that beat m (1 when nobody does). So: who beats another always ranks before it; methods of one rank
// never beat each other; no rank is skipped; rank 1 means "nobody was shown to be better".
// A mean that is not finite (no finished run) gets rank 0.
std::vector<size_t> tied_ranks(std::span<const double> means, Better better, std::span<const Verdict> verdicts,
                               double alpha = 0.05);

// Indices, ascending, of the points that no other point beats: as good in quality and in every cost, and better in one.
// costs[point][kind], all minimised. Equal points stay together. Points with a number that is not finite are left out.
std::vector<size_t> pareto_front(std::span<const double> quality, Better better, const std::vector<std::vector<double>>& costs);

}  // namespace graft
