#include "compare/results_advice.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "compare/report_text.h"
#include "compare/results_read.h"

namespace graft {
namespace {

constexpr double kAlpha = 0.05;
constexpr double kEqualCost = 0.03;  // costs this close are equal: timings vary by as much between calls

struct Cost {
  const char *key, *fewest;  // `fewest`: "it ... among the tied"
};
const std::vector<Cost> kCosts = {{"trainable_parameters", "trains the fewest parameters"},
                                  {"seconds_per_step", "takes the least time per step"},
                                  {"peak_memory", "needs the least memory"},
                                  {"inference_slowdown", "slows inference the least"},
                                  {"forgetting", "forgets the least"}};

struct Advice {
  const Json& results;
  MetricView metric;
  std::vector<const Json*> ranked;  // with a result, best first
  Json reasons = Json::array(), uncertainty = Json::array();

  explicit Advice(const Json& r) : results(r), metric(r["metrics"][0]) {
    for (const Json& method : r["methods"])
      if (number_at(entry(method), "mean")) ranked.push_back(&method);
  }
  const Json& entry(const Json& method) const { return part_at(part_at(method, "metrics"), metric.name); }
  double mean(const Json& method) const { return *number_at(entry(method), "mean"); }
  static std::string name(const Json& method) { return text_at(method, "name"); }
  static size_t lost(const Json& method) { return part_at(part_at(method, "final"), "lost").size(); }

  std::optional<double> cost(const Json& method, const std::string& key) const {
    const Json& costs = part_at(method, "costs");
    if (key == "forgetting") return number_at(part_at(method, "forgetting"), "mean");
    if (key == "inference_slowdown" && costs.contains("mergeable") && costs["mergeable"] == true) return 1;  // once merged
    return number_at(costs, key);
  }

  // The pair (a, b) seen from a: difference a - b, its interval and the adjusted p.
  struct Seen {
    double difference, low, high, p;
  };
  std::optional<Seen> pair(const Json& a, const Json& b) const {
    for (const Json& p : results["pairs"]) {
      if (p["metric"] != metric.name) continue;
      const bool forward = p["a"] == a["name"] && p["b"] == b["name"], backward = p["a"] == b["name"] && p["b"] == a["name"];
      if (!forward && !backward) continue;
      const double d = number_at(p, "difference").value_or(0), low = p["ci95"][0].is_number() ? p["ci95"][0].get<double>() : NAN,
                   high = p["ci95"][1].is_number() ? p["ci95"][1].get<double>() : NAN, q = number_at(p, "p_holm").value_or(1);
      return forward ? Seen{d, low, high, q} : Seen{-d, -high, -low, q};
    }
    return {};
  }
  bool beats(const Json& a, const Json& b) const {
    const auto p = pair(a, b);
    return p && p->p < kAlpha && metric.better(p->difference, 0);
  }

  // "1.20 BLEU better (95 % interval 0.40 to 2.00, adjusted p 0.012)"
  std::string how_much(const Seen& s) const {
    const double sign = metric.higher_is_better ? 1 : -1;
    const double d = s.difference * sign, low = sign > 0 ? s.low : -s.high, high = sign > 0 ? s.high : -s.low;
    std::string text =
        metric.number(std::abs(d)) + (metric.unit.empty() ? "" : " " + metric.unit) + (d >= 0 ? " better" : " worse");
    if (std::isfinite(low) && std::isfinite(high)) {
      const double turn = d >= 0 ? 1 : -1;
      text += fmt::format(" (95 % interval {} to {}, adjusted {})", metric.number(std::min(low * turn, high * turn)),
                          metric.number(std::max(low * turn, high * turn)), p_equation(s.p));
    }
    return text;
  }

  const Json& cheapest(const std::vector<const Json*>& tied) const;
  std::vector<const Json*> eligible(const std::vector<const Json*>& tied) const;
  void explain_value(const Json& pick);
  void explain_costs(const Json& pick, const std::vector<const Json*>& among, const std::string& who);
  void explain_uncertainty(const Json& pick);
};

std::vector<const Json*> Advice::eligible(const std::vector<const Json*>& tied) const {
  const double best = mean(*tied[0]);
  const auto detectable = number_at(part_at(results["metrics"][0], "detectable"), "one_pair");
  std::vector<const Json*> near, whole;
  for (const Json* m : tied)
    if (!detectable || std::abs(mean(*m) - best) <= *detectable) near.push_back(m);
  for (const Json* m : near)
    if (lost(*m) == 0) whole.push_back(m);
  return whole.empty() ? near : whole;
}

const Json& Advice::cheapest(const std::vector<const Json*>& among) const {
  std::vector<size_t> sum(among.size());
  for (const Cost& kind : kCosts) {
    const bool all = std::all_of(among.begin(), among.end(), [&](const Json* m) { return cost(*m, kind.key).has_value(); });
    if (!all) continue;
    for (size_t i = 0; i < among.size(); ++i)
      for (const Json* other : among)
        sum[i] += *cost(*other, kind.key) < *cost(*among[i], kind.key) - kEqualCost * std::abs(*cost(*among[i], kind.key));
  }
  return *among[static_cast<size_t>(std::min_element(sum.begin(), sum.end()) - sum.begin())];  // best mean first: ties go to it
}

void Advice::explain_value(const Json& pick) {
  const Json& e = entry(pick);
  std::string text = fmt::format("{} reaches {} on the test items", name(pick), metric.with_unit(mean(pick)));
  if (const Json& ci = part_at(e, "ci95"); ci.is_array() && ci.size() == 2 && ci[0].is_number() && ci[1].is_number())
    text += fmt::format(" (95 % interval {} to {})", metric.number(ci[0].get<double>()), metric.number(ci[1].get<double>()));
  if (const auto base = number_at(results["metrics"][0], "base"))
    text += fmt::format("; the untuned base has {}", metric.number(*base));
  reasons.push_back(text + ".");
}

void Advice::explain_costs(const Json& pick, const std::vector<const Json*>& among, const std::string& who) {
  std::vector<std::string> best;
  for (const Cost& kind : kCosts) {
    const auto mine = cost(pick, kind.key);
    if (!mine || among.size() < 2) continue;
    const bool strictly = std::all_of(among.begin(), among.end(), [&](const Json* m) {
      const auto theirs = cost(*m, kind.key);
      return m == &pick || (theirs && *mine < *theirs - kEqualCost * std::abs(*theirs));
    });
    if (strictly) best.push_back(kind.fewest);
  }
  if (!best.empty()) reasons.push_back(fmt::format("Of {} it {}.", who, list_text(best)));
  std::vector<std::string> costs;
  if (const auto n = cost(pick, "trainable_parameters")) {
    const auto all = number_at(part_at(results["setup"], "model"), "parameters");
    costs.push_back(compact_text(*n) + " trained parameters" +
                    (all && *all > 0 ? fmt::format(" ({} of the base)", percent_text(*n / *all)) : ""));
  }
  if (const auto s = cost(pick, "seconds_per_step")) costs.push_back(seconds_text(*s) + " per step");
  if (const auto m = cost(pick, "peak_memory")) costs.push_back(bytes_text(*m) + " at the peak of training");
  if (!costs.empty()) reasons.push_back("It costs " + list_text(costs) + ".");
  const Json& c = part_at(pick, "costs");
  if (c.contains("mergeable") && c["mergeable"].is_boolean()) {
    const double slow = (number_at(c, "inference_slowdown").value_or(1) - 1) * 100;
    if (c["mergeable"].get<bool>())
      reasons.push_back("It can be merged into the base: inference then costs nothing extra.");
    else
      reasons.push_back("It cannot be merged into the base" +
                        (slow > 0.5 ? fmt::format(": inference takes {:.0f} % longer with it.", slow) : "."));
  }
}

void Advice::explain_uncertainty(const Json& pick) {
  const Json& info = results["metrics"][0];
  const auto seeds = number_at(part_at(pick, "final"), "done").value_or(0);
  const auto items = number_at(info, "items").value_or(0);
  if (const Json& d = part_at(info, "detectable"); !d.empty()) {
    const auto [low, high] = std::minmax_element(ranked.begin(), ranked.end(), [&](auto* a, auto* b) { return mean(*a) < mean(*b); });
    const double all_pairs = number_at(d, "all_pairs").value_or(NAN);
    const bool beyond_all = all_pairs > mean(**high) - mean(**low);
    uncertainty.push_back(
        fmt::format("With {:.0f} seed{} and {:.0f} test items, a true difference of about {} between two methods is found in 4 "
                    "of 5 such comparisons "
                    "({} when all {:.0f} pairs are corrected for). Smaller differences may exist and stay unseen.",
                    seeds, seeds == 1 ? "" : "s", items, metric.with_unit(*number_at(d, "one_pair")),
                    beyond_all ? "more than any two methods here lie apart" : metric.number(all_pairs), number_at(d, "pairs").value_or(0)));
  }
  const Json& detectable = part_at(info, "detectable");
  if (seeds > 1 && number_at(detectable, "all_pairs").value_or(0) > 2 * number_at(detectable, "one_pair").value_or(INFINITY))
    uncertainty.push_back(fmt::format(
        "{:.0f} seeds are few for so many pairs: the corrected tests find large differences only. More seeds would help most.",
        seeds));
  if (seeds == 1)
    uncertainty.push_back("There is one seed per method: nothing here tells how results vary from one training run to the next.");
  const Json& e = entry(pick);
  const Json& ci = part_at(e, "ci95");
  if (const auto base = number_at(info, "base");
      base && ci.is_array() && ci.size() == 2 && ci[0].is_number() && ci[1].is_number()) {
    if (!metric.better(metric.higher_is_better ? ci[0].get<double>() : ci[1].get<double>(), *base))
      uncertainty.push_back(fmt::format("{} was not shown to be better than the untuned base.", name(pick)));
  }
  for (const Json& other : results["metrics"]) {
    const MetricView view(other);
    const auto rank = number_at(part_at(part_at(pick, "metrics"), view.name), "rank");
    if (view.name == metric.name || !rank || *rank <= 1) continue;
    std::vector<std::string> first;
    for (const Json* m : ranked)
      if (number_at(part_at(part_at(*m, "metrics"), view.name), "rank") == 1.0) first.push_back(name(*m));
    if (first.size() > 4) first = {fmt::format("{} methods", first.size())};
    uncertainty.push_back(fmt::format("By {} the order differs: {} has rank {:.0f} there, first {} {}.", view.name, name(pick),
                                      *rank, first.size() == 1 && first[0].find(' ') == std::string::npos ? "is" : "are",
                                      list_text(first)));
  }
  size_t unfinished = 0;
  std::vector<std::string> without, edges;
  for (const Json& method : results["methods"]) {
    if (lost(method) && number_at(entry(method), "mean"))
      without.push_back(
          fmt::format("{} ({} of {})", name(method), lost(method), number_at(part_at(method, "final"), "planned").value_or(0)));
    if (const Json& t = part_at(method, "tuning"); t.contains("at_edge") && t["at_edge"] == true) edges.push_back(name(method));
  }
  for (const Json& run : results["runs"]) unfinished += run["status"] == "missing" || run["status"] == "running";
  if (!without.empty())
    uncertainty.push_back(
        fmt::format("Final runs were lost: {}. Means over the surviving runs may flatter these methods.", list_text(without, 5)));
  if (!edges.empty())
    uncertainty.push_back(
        fmt::format("The chosen learning rate lies at the edge of what was tried for {}: a wider search may serve {} better.",
                    list_text(edges, 5), edges.size() == 1 ? "it" : "them"));
  if (unfinished)
    uncertainty.push_back(fmt::format("{} planned run{} not finished: the answer may still change.", unfinished,
                                      unfinished == 1 ? " has" : "s have"));
}

}  // namespace

Json recommend(const Json& results) {
  Advice a(results);
  Json out = {{"verdict", "none"}, {"pick", nullptr}, {"tied", Json::array()}, {"lr", nullptr}, {"options", Json::object()}};
  if (a.ranked.empty()) {
    size_t lost = 0;
    for (const Json& run : results["runs"])
      lost += run["status"] == "failed" || run["status"] == "diverged" || run["status"] == "broken";
    out["headline"] = "No method has a finished run yet, so there is nothing to recommend.";
    if (lost) a.reasons.push_back(fmt::format("{} runs failed or diverged; their reasons stand below.", lost));
    out["reasons"] = a.reasons;
    out["uncertainty"] = a.uncertainty;
    return out;
  }
  std::vector<const Json*> top;
  std::vector<std::string> names;
  for (const Json* m : a.ranked)
    if (number_at(a.entry(*m), "rank") == 1.0) top.push_back(m), names.push_back(Advice::name(*m));
  const Json& best = *a.ranked[0];
  const Json* pick = &best;
  if (a.ranked.size() == 1) {
    out["verdict"] = "single";
    out["headline"] = fmt::format("Only {} has a result: {}. There is nothing to compare it with.", Advice::name(best),
                                  a.metric.with_unit(a.mean(best)));
    a.explain_value(best);
    a.explain_costs(best, {&best}, "");
  } else if (top.size() == 1) {
    const bool all = std::all_of(a.ranked.begin() + 1, a.ranked.end(), [&](const Json* m) { return a.beats(best, *m); });
    out["verdict"] = all ? "winner" : "leader";
    out["headline"] =
        all ? fmt::format("Use {}: it is better than every other method here.", Advice::name(best))
            : fmt::format("Use {}: it leads, but was not shown to be better than every other method.", Advice::name(best));
    a.explain_value(best);
    if (const auto p = a.pair(best, *a.ranked[1]))
      a.reasons.push_back(fmt::format("Against the next best, {}, it is {}.", Advice::name(*a.ranked[1]), a.how_much(*p)));
    a.explain_costs(best, a.ranked, fmt::format("all {} methods", a.ranked.size()));
  } else {
    const std::vector<const Json*> among = a.eligible(top);
    pick = &a.cheapest(among);
    out["verdict"] = "tied";
    const std::string who = top.size() == a.ranked.size() && top.size() > 2 ? fmt::format("all {} methods", top.size())
                            : names.size() > 5                              ? fmt::format("{} methods", names.size())
                                                                            : list_text(names);
    out["headline"] =
        fmt::format("No single winner: {} are tied. Of these, {} is the cheapest good choice.", who, Advice::name(*pick));
    a.explain_value(*pick);
    if (pick != &best) {
      if (const auto p = a.pair(*pick, best))
        a.reasons.push_back(fmt::format("Against the best mean, {}, it is {}: the two cannot be told apart.", Advice::name(best),
                                        a.how_much(*p)));
    } else {
      a.reasons.push_back("It also has the best mean of the tied methods, which proves nothing by itself.");
    }
    a.explain_costs(*pick, among,
                    among.size() == top.size() ? fmt::format("the {} tied methods", top.size())
                                               : fmt::format("the {} tied methods nearest to the best mean", among.size()));
  }
  a.explain_uncertainty(*pick);
  if (out["verdict"] == "tied" && pick != &best)
    if (const auto p = a.pair(*pick, best); p && std::isfinite(p->low)) {
      const double worst = a.metric.higher_is_better ? -p->low : p->high;
      a.uncertainty.insert(a.uncertainty.begin(),
                           fmt::format("Choosing {} over {} gives up at most about {} (the far end of the 95 % interval).",
                                       Advice::name(*pick), Advice::name(best), a.metric.with_unit(std::max(0.0, worst))));
    }
  out["pick"] = Advice::name(*pick);
  out["tied"] = names;
  out["lr"] = (*pick)["lr"];
  out["options"] = (*pick)["options"];
  out["reasons"] = a.reasons;
  out["uncertainty"] = a.uncertainty;
  return out;
}

}  // namespace graft
