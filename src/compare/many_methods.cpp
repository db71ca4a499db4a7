// What many methods need beyond pairs: correction for many tests, ranks with ties, the Pareto front.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "compare/stats.h"
#include "core/check.h"

namespace graft {

std::vector<double> holm(std::span<const double> p) {
  for (const double value : p)
    if (!(value >= 0 && value <= 1)) usage_error("holm", fmt::format("a p-value must lie in 0..1 but is {}", value));
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t i, size_t j) { return p[i] < p[j]; });
  std::vector<double> adjusted(p.size());
  double largest = 0;
  for (size_t k = 0; k < order.size(); ++k) {
    largest = std::max(largest, p[order[k]] * static_cast<double>(p.size() - k));
    adjusted[order[k]] = std::min(1.0, largest);
  }
  return adjusted;
}

std::vector<size_t> tied_ranks(std::span<const double> means, Better better, std::span<const Verdict> verdicts, double alpha) {
  const auto beats = [&](size_t m, size_t k) { return better == Better::Higher ? means[m] > means[k] : means[m] < means[k]; };
  std::vector<std::vector<size_t>> winners(means.size());  // who beats m
  for (const auto& [a, b, p_holm] : verdicts) {
    if (a >= means.size() || b >= means.size())
      usage_error("ranks", fmt::format("a pair names methods {} and {} but there are {}", a, b, means.size()));
    if (!(p_holm < alpha)) continue;
    if (beats(a, b)) winners[b].push_back(a);
    if (beats(b, a)) winners[a].push_back(b);
  }
  std::vector<size_t> order;
  for (size_t m = 0; m < means.size(); ++m)
    if (std::isfinite(means[m])) order.push_back(m);
  std::stable_sort(order.begin(), order.end(), beats);
  std::vector<size_t> ranks(means.size(), 0);
  for (const size_t m : order) {  // winners have the better mean, so they have their rank already
    for (const size_t winner : winners[m]) ranks[m] = std::max(ranks[m], ranks[winner]);
    ++ranks[m];
  }
  return ranks;
}

std::vector<size_t> pareto_front(std::span<const double> quality, Better better, const std::vector<std::vector<double>>& costs) {
  if (quality.size() != costs.size())
    usage_error("Pareto front", fmt::format("{} qualities stand against {} rows of costs", quality.size(), costs.size()));
  const auto point = [&](size_t i) {  // all coordinates minimised
    std::vector<double> coordinates = costs[i];
    coordinates.push_back(better == Better::Higher ? -quality[i] : quality[i]);
    return coordinates;
  };
  std::vector<std::vector<double>> points;
  std::vector<size_t> owners;
  for (size_t i = 0; i < quality.size(); ++i) {
    if (costs[i].size() != costs[0].size())
      usage_error("Pareto front", fmt::format("point {} has {} costs but point 0 has {}", i, costs[i].size(), costs[0].size()));
    auto coordinates = point(i);
    if (!std::all_of(coordinates.begin(), coordinates.end(), [](double x) { return std::isfinite(x); })) continue;
    points.push_back(std::move(coordinates));
    owners.push_back(i);
  }
  std::vector<size_t> front;
  for (size_t i = 0; i < points.size(); ++i) {
    const bool beaten = std::any_of(points.begin(), points.end(), [&](const auto& other) {
      bool no_worse = true;
      for (size_t k = 0; k < other.size(); ++k) no_worse &= other[k] <= points[i][k];
      return no_worse && other != points[i];
    });
    if (!beaten) front.push_back(owners[i]);
  }
  return front;
}

}  // namespace graft
