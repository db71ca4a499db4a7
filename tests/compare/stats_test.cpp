#include "compare/stats.h"

#include <cmath>
#include <ctime>

#include "compare/distributions.h"
#include "core/json.h"
#include "core/rng.h"
#include "eval/bleu.h"
#include "support/support.h"

namespace graft {
namespace {

using Table = std::vector<std::vector<double>>;

// tools/golden/stats.py: scipy and statsmodels on the same numbers.
const Json& golden() {
  static const Json json = read_json(std::filesystem::path(__FILE__).parent_path() / "golden" / "stats.json");
  return json;
}

void expect_close(double actual, double expected, double relative = 1e-9) {
  EXPECT_NEAR(actual, expected, relative * std::abs(expected) + 1e-300);
}

// Rows of the golden file: arguments and then the value.
template <class Function>
void check_rows(const char* name, Function&& function) {
  for (const auto& row : golden().at(name).get<Table>()) {
    SCOPED_TRACE(std::string(name) + " " + Json(row).dump());
    const double actual = function(row);
    if (row.back() == 0)
      EXPECT_NEAR(actual, 0, 1e-15);
    else
      expect_close(actual, row.back());
  }
}

TEST(Distributions, EqualScipy) {
  using Row = const std::vector<double>&;
  check_rows("normal_cdf", [](Row x) { return normal_cdf(x[0]); });
  check_rows("normal_quantile", [](Row x) { return normal_quantile(x[0]); });
  check_rows("incomplete_beta", [](Row x) { return incomplete_beta(x[0], x[1], x[2]); });
  check_rows("beta_quantile", [](Row x) { return beta_quantile(x[0], x[1], x[2]); });
  check_rows("lower_gamma", [](Row x) { return lower_gamma(x[0], x[1]); });
  check_rows("upper_gamma", [](Row x) { return upper_gamma(x[0], x[1]); });
  check_rows("t_cdf", [](Row x) { return t_cdf(x[0], x[1]); });
  check_rows("t_two_sided_p", [](Row x) { return t_two_sided_p(x[0], x[1]); });
  check_rows("t_quantile", [](Row x) { return t_quantile(x[0], x[1]); });
  check_rows("chi2_cdf", [](Row x) { return chi2_cdf(x[0], x[1]); });
  check_rows("chi2_tail", [](Row x) { return chi2_tail(x[0], x[1]); });
  check_rows("chi2_quantile", [](Row x) { return chi2_quantile(x[0], x[1]); });
  check_rows("binomial_cdf", [](Row x) { return binomial_cdf(x[0], x[1], x[2]); });
}

TEST(Distributions, OutsideTheDomainIsNan) {
  for (const double x :
       {normal_quantile(0), normal_quantile(NAN), t_cdf(1, 0), t_quantile(1, 3), incomplete_beta(0, 1, 0.5),
        incomplete_beta(1, 1, 1.5), lower_gamma(-1, 1), chi2_quantile(0.5, -2), binomial_cdf(1, 2, 1.5), t_two_sided_p(NAN, 3)})
    EXPECT_TRUE(std::isnan(x));
}

TEST(Numbers, MeanSdQuantileWilsonMcNemarHolm) {
  EXPECT_EQ(mean_of(std::vector<double>{1, 2, 6}), 3);
  EXPECT_DOUBLE_EQ(sd_of(std::vector<double>{1, 2, 6}), std::sqrt(7.0));
  EXPECT_EQ(sd_of(std::vector<double>{4}), 0);
  check_rows("quantile", [](const auto& x) { return quantile_of({3.5, -1, 7, 2, 2, 9.25}, x[0]); });
  check_rows("mcnemar", [](const auto& x) { return mcnemar_p(static_cast<size_t>(x[0]), static_cast<size_t>(x[1])); });
  for (const auto& row : golden().at("wilson").get<Table>()) {
    const auto [low, high] = wilson_interval(static_cast<size_t>(row[0]), static_cast<size_t>(row[1]), row[2]);
    EXPECT_NEAR(low, row[3], 1e-12);
    EXPECT_NEAR(high, row[4], 1e-12);
  }
  for (const Json& set : golden().at("holm")) {
    const auto p = set.at("p").get<std::vector<double>>(), adjusted = holm(p),
               expected = set.at("adjusted").get<std::vector<double>>();
    ASSERT_EQ(adjusted.size(), expected.size());
    for (size_t i = 0; i < p.size(); ++i) expect_close(adjusted[i], expected[i], 1e-13);
  }
  EXPECT_TRUE(holm({}).empty());
}

void expect_result(const PairResult& result, const Json& expected) {
  for (const auto& [name, value] : {std::pair{"p", result.p},
                                    {"degrees", result.degrees},
                                    {"difference", result.difference},
                                    {"standard_error", result.standard_error},
                                    {"detectable", result.detectable}})
    if (expected.contains(name)) {
      EXPECT_NEAR(value, expected.at(name), 1e-9 * std::abs(expected.at(name).get<double>())) << name;
    }
  expect_close(result.ci95.low, expected.at("ci95")[0]);
  expect_close(result.ci95.high, expected.at("ci95")[1]);
}

TEST(CrossedT, EqualsTheReferenceFormula) {
  for (const char* kind : {"crossed", "unequal_runs"})
    for (const Json& set : golden().at(kind)) {
      const auto a = Samples::of_scores(set.at("a")), b = Samples::of_scores(set.at("b"));
      const PairResult result = compare_pair(a, b), mirrored = compare_pair(b, a);
      EXPECT_EQ(result.test, "crossed t");
      EXPECT_TRUE(result.runs_counted);
      expect_result(result, set);
      expect_close(mirrored.p, result.p);
      expect_close(mirrored.difference, -result.difference);
    }
}

TEST(CrossedT, WithOneRunIsThePairedTTest) {
  for (const Json& set : golden().at("one_run")) {
    const auto a = Samples::of_scores({set.at("a")}), b = Samples::of_scores({set.at("b")});
    expect_result(crossed_t_test(a, b), set);
    EXPECT_FALSE(crossed_t_test(a, b).runs_counted);
    EXPECT_EQ(compare_pair(a, b).test, "paired permutation");
  }
}

TEST(CrossedT, WithoutVariationCountsItems) {
  const auto ones = Samples::of_scores(Table(2, std::vector<double>(8, 1.0))),
             zeros = Samples::of_scores(Table(2, std::vector<double>(8, 0.0)));
  EXPECT_EQ(crossed_t_test(ones, zeros).p, 2.0 / 256);
  EXPECT_EQ(crossed_t_test(ones, ones).p, 1);
  const auto one = Samples::of_scores({{0.9}}), other = Samples::of_scores({{0.1}});
  EXPECT_EQ(crossed_t_test(one, other).p, 1);
  EXPECT_TRUE(std::isnan(crossed_t_test(one, other).ci95.low));
}

TEST(Permutation, ExactEqualsScipy) {
  for (const Json& set : golden().at("permutation")) {
    const auto d = set.at("d").get<std::vector<double>>();
    const auto a = Samples::of_scores({d}), b = Samples::of_scores({std::vector<double>(d.size(), 0.0)});
    expect_close(permutation_test(a, b).p, set.at("p"), 1e-12);
  }
}

TEST(Permutation, MonteCarloNearsTheNormalLimit) {
  Rng rng(5);
  std::vector<double> d(400);
  for (double& x : d) x = rng.normal() + 0.1;
  const auto a = Samples::of_scores({d}), b = Samples::of_scores({std::vector<double>(400, 0.0)});
  double squares = 0;
  for (const double x : d) squares += x * x;
  const double limit = 2 * normal_cdf(-std::abs(mean_of(d)) * 400 / std::sqrt(squares));
  EXPECT_NEAR(permutation_test(a, b, {.replicates = 20000}).p, limit, 0.01);
}

// A corpus metric that is a mean in disguise: sum / count.
Samples ratio(const Table& scores) {
  Table stats;
  for (const auto& row : scores) {
    stats.emplace_back();
    for (const double x : row) stats.back().insert(stats.back().end(), {x, 1.0});
  }
  return Samples::of_corpus(2, stats, [](std::span<const double> sums) { return sums[0] / sums[1]; });
}

TEST(Corpus, ARatioThatIsAMeanBehavesAsTheMean) {
  for (const Json& set : golden().at("crossed")) {
    if (set.at("a")[0].size() < 17) continue;  // exact exchange of means and of ratios breaks ties by rounding
    const Table a = set.at("a"), b = set.at("b");
    const auto mean_a = Samples::of_scores(a), mean_b = Samples::of_scores(b);
    expect_close(ratio(a).mean(), mean_a.mean(), 1e-12);
    expect_close(ratio(a).sd(), mean_a.sd(), 1e-12);
    for (size_t i = 0; i < a[1].size(); ++i) EXPECT_NEAR(ratio(a).pseudo_values()[1][i], a[1][i], 1e-11);
    expect_close(crossed_t_test(ratio(a), ratio(b)).p, crossed_t_test(mean_a, mean_b).p, 1e-8);
    const auto interval = bootstrap_interval(ratio(a)), plain = bootstrap_interval(mean_a);
    expect_close(interval.low, plain.low);
    expect_close(interval.high, plain.high);
    expect_close(permutation_test(ratio(a), ratio(b)).p, permutation_test(mean_a, mean_b).p, 1e-12);
    expect_close(hierarchical_bootstrap_test(ratio(a), ratio(b)).p, hierarchical_bootstrap_test(mean_a, mean_b).p, 1e-12);
  }
}

TEST(Corpus, ExactExchangeByHand) {  // two items, one run: exchanging one of them, of four patterns, closes the gap
  const auto square_of_sum = [](std::span<const double> sums) { return sums[0] * sums[0]; };
  const auto a = Samples::of_corpus(1, {{3, 2}}, square_of_sum), b = Samples::of_corpus(1, {{1, 1}}, square_of_sum);
  // a: 25 - 4 = 21; exchange item 0: 9 - 16 = -7; item 1: 16 - 9 = 7; both: -21. Two of four are as far from 0.
  EXPECT_EQ(permutation_test(a, b).p, 0.5);
}

TEST(Bootstrap, VarianceIsThatOfThePigeonhole) {
  // Owen 2007: the bootstrap variance is (1 - 1/S) r/S + (1 - 1/N) i/N up to the cell noise; without noise it is exact.
  const size_t runs = 6, items = 50;
  Rng rng(3);
  Table scores(runs, std::vector<double>(items));
  std::vector<double> run_effects, item_effects;
  for (size_t s = 0; s < runs; ++s) run_effects.push_back(rng.normal());
  for (size_t i = 0; i < items; ++i) item_effects.push_back(3 * rng.normal());
  for (size_t s = 0; s < runs; ++s)
    for (size_t i = 0; i < items; ++i) scores[s][i] = run_effects[s] + item_effects[i];
  const auto population = [](const std::vector<double>& x) {
    return sd_of(x) * sd_of(x) * (1.0 - 1.0 / static_cast<double>(x.size()));
  };
  const double sd = std::sqrt(population(run_effects) / runs + population(item_effects) / items);
  const auto samples = Samples::of_scores(scores);
  const auto [low, high] = bootstrap_interval(samples, {.replicates = 20000});
  EXPECT_NEAR((high - low) / (2 * 1.96 * sd), 1, 0.05);
  EXPECT_NEAR((low + high) / 2, samples.mean(), 0.1 * sd);
}

TEST(Bootstrap, SameSeedSameBits) {
  const auto samples = Samples::of_scores({{0.13, 0.57, 0.91, 0.4}, {0.3, 0.77, 0.68, 0.22}});
  const auto x = bootstrap_interval(samples, {.seed = 1}), y = bootstrap_interval(samples, {.seed = 1});
  EXPECT_EQ(x.low, y.low);
  EXPECT_EQ(x.high, y.high);
  EXPECT_NEAR(x.low, 0.26, 1e-12);  // pinned: the draws must stay the same from machine to machine
}

TEST(Bootstrap, IntervalOverItems) {
  const auto wilson = wilson_interval(2, 3);
  EXPECT_EQ(interval_over_items({1, 0, 1}).low, wilson.low);
  const auto [low, high] = interval_over_items({0.25, 0.5, 0.75, 1.0});
  EXPECT_LT(low, 0.5);
  EXPECT_GT(high, 0.75);
  EXPECT_LE(high, 1.0);
}

TEST(Mcnemar, CountsDiscordantItems) {
  const auto a = Samples::of_scores({{1, 1, 1, 1, 0, 0, 1, 1}}), b = Samples::of_scores({{0, 0, 0, 0, 0, 1, 1, 0}});
  const PairResult result = compare_pair(a, b);
  EXPECT_EQ(result.test, "mcnemar");
  EXPECT_FALSE(result.runs_counted);
  expect_close(result.p, mcnemar_p(5, 1));
  expect_close(result.p, 2.0 * 7 / 64);
  const auto two = Samples::of_scores({{1, 0}, {1, 1}});
  testing::error_of([&] { mcnemar_test(two, two); }, Fault::Usage);
}

// Share of false differences at 5 % when the two methods are equally good: 5 runs (or fewer), items and cells random.
struct FalseAlarms {
  double crossed = 0, bootstrap = 0, items_only = 0;
};
FalseAlarms false_alarms(size_t runs, double run_sd, double item_sd, size_t trials) {
  const size_t items = 60;
  Rng rng(17);
  FalseAlarms alarms;
  for (size_t t = 0; t < trials; ++t) {
    Table a(runs, std::vector<double>(items)), b(runs, std::vector<double>(items, 0.0));
    std::vector<double> item_effects(items);
    for (double& x : item_effects) x = item_sd * rng.normal();
    for (auto& row : a) {
      const double run_effect = run_sd * rng.normal();
      for (size_t i = 0; i < items; ++i) row[i] = run_effect + item_effects[i] + rng.normal();
    }
    const auto x = Samples::of_scores(a), y = Samples::of_scores(b);
    alarms.crossed += crossed_t_test(x, y).p < 0.05;
    alarms.bootstrap += hierarchical_bootstrap_test(x, y, {.replicates = 400}).p < 0.05;
    alarms.items_only += permutation_test(x, y, {.replicates = 400}).p < 0.05;
  }
  for (double* share : {&alarms.crossed, &alarms.bootstrap, &alarms.items_only}) *share /= static_cast<double>(trials);
  return alarms;
}

TEST(FalseAlarms, TheDefaultTestHoldsItsLevelAndTheOthersDoNot) {
  for (const size_t runs : {2, 3, 5})
    for (const auto& [run_sd, item_sd] : {std::pair{0.0, 1.0}, {0.3, 1.0}, {0.5, 0.0}}) {
      const auto share = false_alarms(runs, run_sd, item_sd, 1000);
      std::printf("runs %zu, run sd %.1f, item sd %.1f: crossed t %.3f, hierarchical bootstrap %.3f, permutation of items %.3f\n",
                  runs, run_sd, item_sd, share.crossed, share.bootstrap, share.items_only);
      // 0.05 and what too few runs add (docs/statistics.md), plus three standard errors of this simulation.
      EXPECT_LT(share.crossed, runs == 2 ? 0.16 : runs == 3 ? 0.10 : 0.075);
      EXPECT_LT(share.crossed, share.bootstrap + 0.02);
      if (run_sd == 0.5) {
        EXPECT_GT(share.bootstrap, 0.10);
        EXPECT_GT(share.items_only, 0.30);
      }
    }
}

TEST(MinimumDetectable, IsFoundFourTimesOutOfFive) {
  Rng rng(23);
  const size_t runs = 5, items = 80, trials = 3000;
  // Run sd 0.1, item sd 0.5, cell sd 1: the true variance of the mean and its degrees of freedom.
  const double cell = 1.0 / (runs * items), run = 0.01 / runs + cell, item = 0.25 / items + cell, variance = run + item - cell;
  const double degrees = variance * variance / (run * run / 4 + item * item / 79 + cell * cell / 316);
  const double effect = minimum_detectable(std::sqrt(variance), degrees);
  double found = 0;
  for (size_t t = 0; t < trials; ++t) {
    Table a(runs, std::vector<double>(items)), b(runs, std::vector<double>(items, 0.0));
    std::vector<double> item_effects(items);
    for (double& x : item_effects) x = 0.5 * rng.normal();
    for (auto& row : a) {
      const double run_effect = 0.1 * rng.normal();
      for (size_t i = 0; i < items; ++i) row[i] = effect + run_effect + item_effects[i] + rng.normal();
    }
    found += crossed_t_test(Samples::of_scores(a), Samples::of_scores(b)).p < 0.05;
  }
  EXPECT_NEAR(found / trials, 0.8, 0.06);
}

TEST(Ranks, TiesAndChains) {
  const std::vector<double> means{0.9, 0.8, 0.7, NAN, 0.6};
  using Ranks = std::vector<size_t>;
  EXPECT_EQ(tied_ranks(means, Better::Higher, {}), (Ranks{1, 1, 1, 0, 1}));
  const std::vector<Verdict> verdicts{{0, 2, 0.01}, {4, 0, 0.001}, {2, 4, 0.04}, {1, 2, 0.05}};
  EXPECT_EQ(tied_ranks(means, Better::Higher, verdicts), (Ranks{1, 1, 2, 0, 3}));
  EXPECT_EQ(tied_ranks(means, Better::Lower, verdicts), (Ranks{3, 1, 2, 0, 1}));
  testing::error_of([&] { tied_ranks(means, Better::Higher, std::vector<Verdict>{{0, 9, 0.1}}); }, Fault::Usage);
}

TEST(Ranks, NeverContradictTheVerdicts) {
  Rng rng(2);
  for (int trial = 0; trial < 300; ++trial) {
    const size_t n = 2 + rng.below(7);
    std::vector<double> means(n);
    for (double& mean : means) mean = rng.uniform();
    std::vector<Verdict> verdicts;
    for (size_t a = 0; a < n; ++a)
      for (size_t b = a + 1; b < n; ++b) verdicts.push_back({a, b, rng.uniform() < 0.4 ? 0.01 : 0.6});
    const auto ranks = tied_ranks(means, Better::Higher, verdicts);
    for (const auto& v : verdicts) {
      const bool differ = v.p_holm < 0.05;
      EXPECT_TRUE(!differ || (means[v.a] > means[v.b]) == (ranks[v.a] < ranks[v.b]));
      EXPECT_FALSE(differ && ranks[v.a] == ranks[v.b]);
    }
    const size_t last = *std::max_element(ranks.begin(), ranks.end());
    for (size_t r = 1; r <= last; ++r) EXPECT_NE(std::find(ranks.begin(), ranks.end(), r), ranks.end());
  }
}

TEST(Pareto, KeepsWhatNobodyBeats) {
  const std::vector<double> quality{0.9, 0.8, 0.8, 0.7, NAN, 0.9};
  const Table costs{{10, 5}, {3, 5}, {4, 5}, {1, 9}, {0, 0}, {10, 5}};
  EXPECT_EQ(pareto_front(quality, Better::Higher, costs), (std::vector<size_t>{0, 1, 3, 5}));
  EXPECT_EQ(pareto_front(quality, Better::Lower, costs), (std::vector<size_t>{1, 3}));
  testing::error_of([&] { pareto_front(quality, Better::Higher, {}); }, Fault::Usage);
}

TEST(Samples, RefusesBadScores) {
  const auto refused = [](Table scores) { return testing::error_of([&] { Samples::of_scores(scores); }, Fault::Input); };
  EXPECT_NE(refused({{1, 2}, {1, NAN}}).find("run 1, item 1"), std::string::npos);
  EXPECT_NE(refused({{1, 2}, {1}}).find("run 1 has 1 items but run 0 has 2"), std::string::npos);
  refused({});
  const auto only_one_counts =
      Samples::of_corpus(2, {{1, 1, 0, 0}}, [](std::span<const double> sums) { return sums[0] / sums[1]; });
  testing::error_of([&] { crossed_t_test(only_one_counts, only_one_counts); }, Fault::Input);
  EXPECT_TRUE(std::isnan(bootstrap_interval(only_one_counts).low));
  refused({{}});
  testing::error_of([] { compare_pair(Samples::of_scores({{1, 2}}), Samples::of_scores({{1}})); }, Fault::Usage);
  testing::error_of([] { bootstrap_interval(Samples::of_scores({{1, 2}}), {.replicates = 3}); }, Fault::Usage);
  testing::error_of([] { compare_pair(ratio({{1, 2}}), Samples::of_scores({{1, 2}})); }, Fault::Usage);
}

TEST(Speed, TenMethodsFiveRunsThousandItems) {
  Rng rng(1);
  std::vector<Samples> scored, corpora;
  for (int m = 0; m < 10; ++m) {
    Table scores(5, std::vector<double>(1000)), stats(5, std::vector<double>(1000 * BleuStats::kWidth));
    for (auto& row : scores)
      for (double& x : row) x = rng.uniform() < 0.5;
    for (auto& row : stats)
      for (double& x : row) x = static_cast<double>(1 + rng.below(20));
    scored.push_back(Samples::of_scores(scores));
    corpora.push_back(
        Samples::of_corpus(BleuStats::kWidth, stats, [](std::span<const double> sums) { return bleu_of_sums(sums); }));
  }
  const auto seconds = [](const std::vector<Samples>& methods) {
    const std::clock_t start = std::clock();  // processor time: other work on the machine does not count
    for (size_t a = 0; a < methods.size(); ++a) {
      bootstrap_interval(methods[a]);
      for (size_t b = a + 1; b < methods.size(); ++b) compare_pair(methods[a], methods[b]);
    }
    return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  };
  const double means = seconds(scored), bleu = seconds(corpora);
  std::printf("10 intervals and 45 pairs: means %.2f s, corpus BLEU %.2f s\n", means, bleu);
  EXPECT_LT(means, 4);  // generous: slow machines, unoptimised builds
  EXPECT_LT(bleu, 20);
}

}  // namespace
}  // namespace graft
