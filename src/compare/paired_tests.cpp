// Tests of two methods on the same items.
#include <algorithm>
#include <cmath>
#include <limits>

#include "compare/distributions.h"
#include "compare/stats.h"
#include "core/check.h"
#include "core/rng.h"

namespace graft {
namespace {

using Table = std::vector<std::vector<double>>;  // [run][item]

void check_pair(const Samples& a, const Samples& b) {
  if (a.items() != b.items())
    usage_error("paired test",
                fmt::format("the methods have {} and {} items; they must be scored on the same items", a.items(), b.items()));
  if (a.width() != b.width() || a.is_mean() != b.is_mean())
    usage_error("paired test", "the methods are scored by different metrics");
}

std::vector<double> item_means(const Table& table) {
  std::vector<double> means(table[0].size(), 0.0);
  for (const auto& row : table)
    for (size_t i = 0; i < row.size(); ++i) means[i] += row[i];
  for (double& mean : means) mean /= static_cast<double>(table.size());
  return means;
}

double square(double x) {
  return x * x;
}
double variance(std::span<const double> x) {
  return square(sd_of(x));
}

// Mean squares of the two-way table without replication; 0 where a degree of freedom is missing.
struct MeanSquares {
  double runs = 0, items = 0, rest = 0;
  double run_degrees, item_degrees, rest_degrees;

  explicit MeanSquares(const Table& table) {
    const auto s = static_cast<double>(table.size()), n = static_cast<double>(table[0].size());
    run_degrees = s - 1, item_degrees = n - 1, rest_degrees = run_degrees * item_degrees;
    std::vector<double> run_means;
    for (const auto& row : table) run_means.push_back(mean_of(row));
    const auto columns = item_means(table);
    runs = n * variance(run_means);
    items = s * variance(columns);
    if (rest_degrees == 0) return;
    const double grand = mean_of(run_means);
    for (size_t r = 0; r < table.size(); ++r)
      for (size_t i = 0; i < columns.size(); ++i) rest += square(table[r][i] - run_means[r] - columns[i] + grand);
    rest /= rest_degrees;
  }
};

// A variance estimated as a sum of mean squares, with Satterthwaite's degrees of freedom:
// (sum of terms)^2 / sum of term^2 / degrees.
struct VarianceSum {
  double value = 0, squares = 0;
  void add(double term, double degrees) {
    if (degrees <= 0) return;
    value += term;
    squares += square(term) / degrees;
  }
  double degrees() const { return squares > 0 ? square(value) / squares : 0; }
};

VarianceSum paired_variance(const Table& a, const Table& b) {
  Table difference = a;
  for (size_t s = 0; s < a.size(); ++s)
    for (size_t i = 0; i < a[s].size(); ++i) difference[s][i] -= b[s][i];
  const MeanSquares ms(difference);
  const double cells = static_cast<double>(a.size() * a[0].size());
  VarianceSum sum, runs, items;
  runs.add(ms.runs / cells, ms.run_degrees);
  items.add(ms.items / cells, ms.item_degrees);
  // Expected mean squares: runs N*r + e, items S*i + e, rest e. The variance of the grand mean is r/S + i/N + e/(SN).
  sum.add(ms.runs / cells, ms.run_degrees);
  sum.add(ms.items / cells, ms.item_degrees);
  sum.add(-ms.rest / cells, ms.rest_degrees);
  // Chance can make runs (or items) vary less than the rest, which would put the estimate below a single component.
  for (const auto& alone : {runs, items})
    if (alone.value > sum.value) sum = alone;
  return sum;
}

VarianceSum independent_variance(const Table& a, const Table& b) {
  const auto mean_a = item_means(a), mean_b = item_means(b);
  const auto n = static_cast<double>(mean_a.size());
  std::vector<double> difference(mean_a.size());
  for (size_t i = 0; i < difference.size(); ++i) difference[i] = mean_a[i] - mean_b[i];
  VarianceSum sum;
  sum.add(variance(difference) / n, n - 1);  // items, and each method's rest
  const MeanSquares ms_a(a), ms_b(b);
  for (const auto& [own, other, runs] : {std::tuple{&ms_a, &ms_b, a.size()}, {&ms_b, &ms_a, b.size()}}) {
    const MeanSquares& ms = runs > 1 ? *own : *other;
    if (ms.run_degrees <= 0 || ms.runs <= ms.rest) continue;
    sum.add(ms.runs / (n * static_cast<double>(runs)), ms.run_degrees);
    sum.add(-ms.rest / (n * static_cast<double>(runs)), ms.rest_degrees);
  }
  return sum;
}

// Sums over a random or enumerated choice of items, as the two randomisation statistics need them.
class Exchange {
 public:
  Exchange(const Samples& a, const Samples& b) : a_(a), b_(b) {
    const size_t runs = a.is_mean() ? 1 : a.runs();
    width_ = a.is_mean() ? 1 : a.width();
    gaps_.resize(runs);
    for (size_t s = 0; !a.is_mean() && s < runs; ++s) totals_a_.push_back(a.sums(s));
    for (size_t s = 0; !b.is_mean() && s < b.runs(); ++s) totals_b_.push_back(b.sums(s));
    if (a.is_mean()) {
      const auto mean_a = item_means(a.pseudo_values()), mean_b = item_means(b.pseudo_values());
      for (size_t i = 0; i < mean_a.size(); ++i)
        if (mean_a[i] != mean_b[i]) gaps_[0].push_back(mean_a[i] - mean_b[i]);
      return;
    }
    if (a.runs() != b.runs())
      usage_error("permutation test",
                  fmt::format("a corpus metric wants as many runs of both methods but they have {} and {}", a.runs(), b.runs()));
    for (size_t i = 0; i < a.items(); ++i) {
      bool differs = false;
      for (size_t s = 0; s < runs; ++s)
        for (size_t k = 0; k < width_; ++k) differs |= a.row(s)[i * width_ + k] != b.row(s)[i * width_ + k];
      for (size_t s = 0; differs && s < runs; ++s)
        for (size_t k = 0; k < width_; ++k) gaps_[s].push_back(a.row(s)[i * width_ + k] - b.row(s)[i * width_ + k]);
    }
  }

  size_t items() const { return gaps_[0].size() / width_; }  // those on which a and b differ; the others change nothing

  // The difference after exchanging the items whose bit is set.
  double difference(const std::vector<uint64_t>& bits) const {
    const auto exchanged = [&](size_t i) { return (bits[i / 64] >> (i % 64)) & 1; };
    if (a_.is_mean()) {
      double sum = 0;
      for (size_t i = 0; i < gaps_[0].size(); ++i) sum += exchanged(i) ? -gaps_[0][i] : gaps_[0][i];
      return sum / static_cast<double>(a_.items());
    }
    double total = 0;
    std::vector<double> moved(width_), sums_a(width_), sums_b(width_);
    for (size_t s = 0; s < gaps_.size(); ++s) {
      std::fill(moved.begin(), moved.end(), 0.0);
      for (size_t i = 0; i < items(); ++i)
        if (exchanged(i))
          for (size_t k = 0; k < width_; ++k) moved[k] += gaps_[s][i * width_ + k];
      for (size_t k = 0; k < width_; ++k) sums_a[k] = totals_a_[s][k] - moved[k], sums_b[k] = totals_b_[s][k] + moved[k];
      total += a_.of_sums(sums_a) - b_.of_sums(sums_b);
    }
    return total / static_cast<double>(gaps_.size());
  }

 private:
  const Samples &a_, &b_;
  size_t width_ = 1;
  Table gaps_, totals_a_, totals_b_;  // [run][item * width], [run][width]
};

PairResult without_p(const Samples& a, const Samples& b, std::string test) {
  PairResult result = crossed_t_test(a, b);
  result.test = std::move(test);
  result.runs_counted = false;
  return result;
}

}  // namespace

double minimum_detectable(double standard_error, double degrees, double alpha, double power) {
  if (!(alpha > 0 && alpha < 1 && power > 0 && power < 1))
    usage_error("statistics", fmt::format("alpha and power must lie in (0,1) but are {} and {}", alpha, power));
  return (t_quantile(1 - alpha / 2, degrees) + t_quantile(power, degrees)) * standard_error;
}

PairResult crossed_t_test(const Samples& a, const Samples& b) {
  check_pair(a, b);
  const Table table_a = a.pseudo_values(), table_b = b.pseudo_values();
  const VarianceSum variance_sum =
      a.runs() == b.runs() ? paired_variance(table_a, table_b) : independent_variance(table_a, table_b);
  PairResult result;
  result.test = "crossed t";
  result.difference = a.mean() - b.mean();
  result.runs_counted = a.runs() > 1 || b.runs() > 1;
  result.standard_error = std::sqrt(std::max(0.0, variance_sum.value));
  result.degrees = variance_sum.degrees();
  if (result.standard_error > 0) {
    const double reach = t_quantile(0.975, result.degrees) * result.standard_error;
    result.p = t_two_sided_p(result.difference / result.standard_error, result.degrees);
    result.ci95 = {result.difference - reach, result.difference + reach};
    result.detectable = minimum_detectable(result.standard_error, result.degrees);
  } else if (a.items() == 1 && !result.runs_counted) {  // one number against one number: nothing can be estimated
    constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
    result.standard_error = result.detectable = kNan;
    result.ci95 = {kNan, kNan};
  } else {
    // No variation at all: the evidence is that every item (or, with one item, every run) points the same way.
    const auto votes = static_cast<double>(a.items() > 1 ? a.items() : std::min(a.runs(), b.runs()));
    result.p = result.difference == 0 ? 1 : std::min(1.0, 2 * std::pow(0.5, votes));
    result.ci95 = {result.difference, result.difference};
  }
  return result;
}

PairResult permutation_test(const Samples& a, const Samples& b, const BootstrapOptions& options) {
  PairResult result = without_p(a, b, "paired permutation");
  const Exchange exchange(a, b);
  const size_t n = exchange.items();
  std::vector<uint64_t> bits(n / 64 + 1, 0);
  const double seen = std::abs(exchange.difference(bits)) * (1 - 1e-12);  // rounding must not break ties
  size_t hits = 0;
  if (n <= 16) {
    const uint64_t all = uint64_t{1} << n;
    for (bits[0] = 0; bits[0] < all; ++bits[0]) hits += std::abs(exchange.difference(bits)) >= seen;
    result.p = static_cast<double>(hits) / static_cast<double>(all);
    return result;
  }
  Rng rng(mix_seed(options.seed, "permutation"));
  for (size_t r = 0; r < options.replicates; ++r) {
    for (auto& word : bits) word = rng.next();
    hits += std::abs(exchange.difference(bits)) >= seen;
  }
  result.p = static_cast<double>(1 + hits) / static_cast<double>(options.replicates + 1);
  return result;
}

double mcnemar_p(size_t only_a, size_t only_b) {
  const auto n = static_cast<double>(only_a + only_b), least = static_cast<double>(std::min(only_a, only_b));
  return std::min(1.0, 2 * binomial_cdf(least, n, 0.5));
}

PairResult mcnemar_test(const Samples& a, const Samples& b) {
  PairResult result = without_p(a, b, "mcnemar");
  if (a.runs() != 1 || b.runs() != 1 || !a.is_right_or_wrong() || !b.is_right_or_wrong())
    usage_error("mcnemar", "wants one run per method and scores that are all 0 or 1",
                "with several runs use the crossed t test: answers of several runs to one item are not independent");
  size_t only_a = 0, only_b = 0;
  for (size_t i = 0; i < a.items(); ++i) {
    only_a += a.row(0)[i] > b.row(0)[i];
    only_b += a.row(0)[i] < b.row(0)[i];
  }
  result.p = mcnemar_p(only_a, only_b);
  return result;
}

PairResult compare_pair(const Samples& a, const Samples& b, const BootstrapOptions& options) {
  if (a.runs() > 1 || b.runs() > 1) return crossed_t_test(a, b);
  return a.is_right_or_wrong() && b.is_right_or_wrong() ? mcnemar_test(a, b) : permutation_test(a, b, options);
}

}  // namespace graft
