#include "compare/results_methods.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "compare/stats.h"

namespace graft {
namespace {

constexpr size_t kCurveBins = 80;

// Medians over the final runs that finished; without any, over whatever runs state them.
Json costs_of(const std::vector<const Run*>& runs) {
  std::map<std::string, std::vector<double>> numbers;
  Json costs = Json::object();
  for (const bool finals : {true, false}) {
    for (const Run* run : runs) {
      if (finals != (run->final() && run->done())) continue;
      for (const auto& [key, value] : run->costs.items()) {
        if (const auto number = number_at(run->costs, key)) numbers[key].push_back(*number);
        if (value.is_boolean()) costs[key] = value;
      }
    }
    if (!numbers.empty()) break;
  }
  for (auto& [key, values] : numbers)
    costs[key] = key == "peak_memory" ? *std::max_element(values.begin(), values.end()) : median_of(values);
  return costs;
}

Json forgetting_of(const std::vector<const Run*>& runs, const Json& setup) {
  std::vector<double> losses;
  Json values = Json::array();
  for (const Run* run : runs)
    if (run->final() && run->done() && run->forgetting_loss) {
      losses.push_back(*run->forgetting_loss);
      values.push_back({{"seed", *run->seed}, {"value", *run->forgetting_loss}});
    }
  if (losses.empty()) return nullptr;
  const auto base = number_at(part_at(setup, "forgetting"), "base_loss");
  const double mean = mean_of(losses);
  return {{"mean", mean},
          {"sd", losses.size() > 1 ? Json(sd_of(losses)) : Json(nullptr)},
          {"base", number_or_null(base)},
          {"increase", base ? Json(mean - *base) : Json(nullptr)},
          {"values", values}};
}

Json tuning_of(const std::vector<const Run*>& runs, const Json& method, const std::optional<double>& chosen,
               const std::string& metric) {
  std::map<std::pair<double, double>, Json> points;  // by rung, lr
  double seconds = 0, tokens = 0;
  size_t runs_done = 0;
  std::vector<double> tried;
  for (const Run* run : runs) {
    if (run->stage != "search") continue;
    if (run->status == "missing") continue;
    ++runs_done;
    seconds += number_at(run->costs, "train_seconds").value_or(0);
    tokens += number_at(run->costs, "tokens").value_or(0);
    if (!run->lr || *run->lr <= 0) continue;
    tried.push_back(*run->lr);
    const auto add = [&](double rung, const Json& dev, const std::string& status) {
      points[{rung, *run->lr}] = {
          {"lr", *run->lr}, {"rung", rung}, {"score", number_or_null(number_at(dev, metric))}, {"status", status}};
    };
    for (const Json& earlier : run->rungs)
      if (const auto rung = number_at(earlier, "rung")) add(*rung, part_at(earlier, "dev"), "done");
    add(run->rung.value_or(1), run->dev, run->status);
  }
  Json list = Json::array();
  for (auto& [key, point] : points) list.push_back(std::move(point));
  std::sort(tried.begin(), tried.end());
  tried.erase(std::unique(tried.begin(), tried.end()), tried.end());  // a trial may have one run per rung
  const Json& grid = part_at(method, "grid");
  bool widened = false, at_edge = false;
  // Learning rates come from decimal text and from arithmetic: equal within 0.1 %.
  const auto same = [](double a, double b) { return std::abs(a - b) <= 1e-3 * std::abs(b); };
  if (grid.is_array() && !grid.empty())
    widened = std::any_of(tried.begin(), tried.end(), [&](double lr) {
      return std::none_of(grid.begin(), grid.end(), [&](const Json& g) { return g.is_number() && same(lr, g.get<double>()); });
    });
  if (chosen && tried.size() > 1) at_edge = same(*chosen, tried.front()) || same(*chosen, tried.back());
  return {{"trials", tried.size()},
          {"runs", runs_done},
          {"seconds", seconds},
          {"tokens", tokens},
          {"grid", grid.is_array() ? grid : Json::array()},
          {"widened", widened},
          {"at_edge", at_edge},
          {"points", list}};
}

// Training loss of the final runs in equal bins of steps, and the mean of the runs where all of them have the bin.
Json curve_of(const std::vector<const Run*>& runs) {
  double last = 0;
  std::vector<const Run*> with_loss;
  for (const Run* run : runs)
    if (run->final() && !run->losses.empty()) {
      with_loss.push_back(run);
      last = std::max(last, *std::max_element(run->steps.begin(), run->steps.end()));
    }
  if (with_loss.empty() || last <= 0) return nullptr;
  const size_t bins = static_cast<size_t>(std::min<double>(kCurveBins, last));
  std::vector<double> sum(bins), count(bins);
  Json seeds = Json::array();
  for (const Run* run : with_loss) {
    std::vector<double> s(bins), n(bins);
    for (size_t i = 0; i < run->losses.size(); ++i) {
      if (run->steps[i] < 0) continue;
      const size_t bin =
          std::min(bins - 1, static_cast<size_t>(std::max(0.0, run->steps[i] - 1) / last * static_cast<double>(bins)));
      s[bin] += run->losses[i];
      ++n[bin];
    }
    Json loss = Json::array();
    for (size_t b = 0; b < bins; ++b) {
      loss.push_back(n[b] > 0 ? Json(s[b] / n[b]) : Json(nullptr));
      if (n[b] > 0 && run->done()) sum[b] += s[b] / n[b], ++count[b];
    }
    seeds.push_back({{"seed", *run->seed}, {"status", run->status}, {"loss", loss}});
  }
  Json step = Json::array(), mean = Json::array();
  for (size_t b = 0; b < bins; ++b) {
    step.push_back((static_cast<double>(b) + 0.5) * last / static_cast<double>(bins));
    mean.push_back(count[b] > 0 ? Json(sum[b] / count[b]) : Json(nullptr));
  }
  return {{"step", step}, {"mean", mean}, {"seeds", seeds}};
}

std::optional<double> chosen_lr(const std::vector<const Run*>& runs) {
  std::map<double, size_t> votes;
  for (const Run* run : runs)
    if (run->final() && run->lr) ++votes[*run->lr];
  if (votes.empty()) return {};
  return std::max_element(votes.begin(), votes.end(), [](const auto& a, const auto& b) { return a.second < b.second; })->first;
}

}  // namespace

Json method_json(const Json& method, const std::string& label, size_t index, const std::vector<Run>& all, const Json& setup,
                 const std::string& tuned_by) {
  std::vector<const Run*> runs;
  size_t planned = 0, done = 0;
  Json lost = Json::array();
  for (const Run& run : all) {
    if (run.label != label) continue;
    runs.push_back(&run);
    if (!run.final()) continue;
    ++planned;
    done += run.done();
    if (!run.done())
      lost.push_back({{"folder", run.folder},
                      {"seed", run.seed ? Json(*run.seed) : Json(nullptr)},
                      {"status", run.status},
                      {"reason", run.reason}});
  }
  const std::optional<double> lr = chosen_lr(runs);
  const Json& options = part_at(method, "options");
  return {{"name", label},
          {"method", text_at(method, "name", label)},
          {"options", options},
          {"index", index},
          {"lr", number_or_null(lr)},
          {"default_lr", number_or_null(number_at(method, "default_lr"))},
          {"metrics", Json::object()},
          {"costs", costs_of(runs)},
          {"forgetting", forgetting_of(runs, setup)},
          {"final", {{"planned", planned}, {"done", done}, {"lost", lost}}},
          {"tuning", tuning_of(runs, method, lr, tuned_by)},
          {"curve", curve_of(runs)}};
}

}  // namespace graft
