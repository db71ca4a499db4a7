#include "compare/results.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "compare/report_text.h"
#include "compare/results_advice.h"
#include "compare/results_methods.h"
#include "compare/results_read.h"
#include "compare/stats.h"
#include "core/check.h"
#include "eval/bleu.h"

namespace graft {
namespace {

constexpr size_t kSamples = 4;
const std::vector<std::string> kCostKinds = {"trainable_parameters", "seconds_per_step", "peak_memory"};

// ---- metrics ------------------------------------------------------------------------------------------------------

// Value of a corpus metric from the sums of its items' statistics (results.h says which); empty for a name unknown here.
CorpusMetric corpus_metric(const std::string& name, size_t width) {
  if (name == "bleu" && width == BleuStats::kWidth) return [](std::span<const double> sums) { return bleu_of_sums(sums); };
  if (name == "loss" && width == 2) return [](std::span<const double> s) { return s[1] > 0 ? s[0] / s[1] : 0.0; };
  if (name == "perplexity" && width == 2) return [](std::span<const double> s) { return s[1] > 0 ? std::exp(s[0] / s[1]) : 1.0; };
  if (name == "macro_f1" && width > 0 && width % 3 == 0)
    return [](std::span<const double> s) {
      double sum = 0, labels = 0;
      for (size_t i = 0; i + 2 < s.size(); i += 3) {
        const double occurs = 2 * s[i] + s[i + 1] + s[i + 2];
        if (occurs > 0) sum += 2 * s[i] / occurs, ++labels;
      }
      return labels > 0 ? sum / labels : 0.0;
    };
  return {};
}

struct Metric {
  std::string name, unit, kind = "mean";
  bool higher_is_better = true;
  std::optional<double> base;
  Better better() const { return higher_is_better ? Better::Higher : Better::Lower; }
};

Metric metric_of(const Json& setup, const std::string& name) {
  const Json& info = part_at(part_at(setup, "metric_info"), name);
  Metric m{.name = name, .unit = text_at(info, "unit"), .kind = text_at(info, "kind", "mean"), .base = {}};
  m.higher_is_better = info.contains("higher_is_better") && info["higher_is_better"].is_boolean()
                           ? info["higher_is_better"].get<bool>()
                           : name != "loss" && name != "perplexity";
  m.base = number_at(part_at(setup, "base"), name);
  return m;
}

// How a report shows it; `digits` follow from the spread of its values.
Json shown_as(const Metric& metric, int digits) {
  const bool percent = metric.kind == "binary";
  return {{"name", metric.name},        {"unit", percent ? "%" : metric.unit},
          {"kind", metric.kind},        {"higher_is_better", metric.higher_is_better},
          {"scale", percent ? 100 : 1}, {"digits", digits}};
}

std::vector<Metric> metrics_of(const Json& setup) {
  std::vector<Metric> metrics;
  const Json& names = part_at(setup, "metrics");
  if (names.is_array())
    for (const Json& name : names)
      if (name.is_string()) metrics.push_back(metric_of(setup, name.get<std::string>()));
  if (metrics.empty()) input_error("report", "comparison.json names no metric", "it needs \"metrics\": [\"bleu\", ...]");
  return metrics;
}

// ---- the runs of a method, scored by one metric -------------------------------------------------------------------

struct Row {
  const Run* run = nullptr;
  std::vector<double> numbers;  // scores, or stats item after item
};

struct Scored {
  std::vector<Row> rows;  // by seed
  std::optional<Samples> samples;
  size_t width = 0;  // of the stats; 0: a mean over items
};

Samples samples_of(const Metric& metric, size_t width, const std::vector<const Row*>& rows) {
  std::vector<std::vector<double>> numbers;
  for (const Row* row : rows) numbers.push_back(row->numbers);
  return width == 0 ? Samples::of_scores(std::move(numbers))
                    : Samples::of_corpus(width, std::move(numbers), corpus_metric(metric.name, width));
}

// Which test items count: the set of ids that most runs answered.
std::vector<std::string> common_ids(const Metric& metric, const std::vector<Run>& runs) {
  std::map<std::vector<std::string>, std::pair<size_t, const std::vector<std::string>*>> sets;
  for (const Run& run : runs) {
    const auto it = run.items.find(metric.name);
    if (!run.done() || it == run.items.end()) continue;
    std::vector<std::string> sorted = it->second.ids;
    std::sort(sorted.begin(), sorted.end());
    auto& [count, first] = sets[std::move(sorted)];
    if (++count == 1) first = &it->second.ids;
  }
  const std::vector<std::string>* best = nullptr;
  size_t best_count = 0;
  for (const auto& [ids, entry] : sets)
    if (entry.first > best_count || (entry.first == best_count && best && ids.size() > best->size()))
      best_count = entry.first, best = entry.second;
  return best ? *best : std::vector<std::string>{};
}

// The run's numbers in the order of `ids`, or the reason why they cannot be used.
std::string take_row(const Metric& metric, const Run& run, const std::vector<std::string>& ids, size_t width, Row& row) {
  const std::optional<double> stated = number_at(run.test, metric.name);
  if (run.test.contains(metric.name) && !stated) return fmt::format("its test {} is not a finite number", metric.name);
  if (ids.empty()) {  // nobody kept items for this metric: the run's value is all there is
    if (!stated) return fmt::format("it has no test {}", metric.name);
    row.numbers = {*stated};
    return "";
  }
  const auto it = run.items.find(metric.name);
  if (it == run.items.end()) return fmt::format("it has no item scores for {}", metric.name);
  const ItemScores& items = it->second;
  std::map<std::string_view, size_t> place;
  for (size_t i = 0; i < items.ids.size(); ++i) place[items.ids[i]] = i;
  if (place.size() != ids.size())
    return fmt::format("it scored {} items by {}, the others {}", place.size(), metric.name, ids.size());
  if (width != 0 && items.width != width)
    return fmt::format("its {} statistics have {} numbers per item instead of {}", metric.name, items.width, width);
  for (const std::string& id : ids) {
    const auto at = place.find(id);
    if (at == place.end()) return fmt::format("it did not score item {} by {}", short_text(id, 40), metric.name);
    if (width == 0)
      row.numbers.push_back(items.scores[at->second]);
    else
      for (size_t k = 0; k < width; ++k) row.numbers.push_back(items.stats[at->second * width + k]);
  }
  return "";
}

// All methods' rows of one metric; what cannot be used goes to `problems`.
std::vector<Scored> score(const Metric& metric, const std::vector<std::string>& labels, const std::vector<Run>& runs,
                          std::vector<std::string>& problems, size_t& item_count) {
  const std::vector<std::string> ids = common_ids(metric, runs);
  item_count = ids.size();
  size_t width = 0;
  if (!ids.empty()) {
    std::set<size_t> widths;
    for (const Run& run : runs)
      if (const auto it = run.items.find(metric.name); run.done() && it != run.items.end()) widths.insert(it->second.width);
    if (corpus_metric(metric.name, *widths.rbegin())) width = *widths.rbegin();
    if (width == 0 && metric.kind == "corpus")
      problems.push_back(
          fmt::format("{}: no usable statistics per item, so that the mean of the items' scores stands in", metric.name));
  } else {
    problems.push_back(fmt::format("{}: no item scores, so that intervals and tests count the runs only", metric.name));
  }
  std::vector<Scored> scored(labels.size());
  for (size_t m = 0; m < labels.size(); ++m) {
    std::map<int64_t, const Run*> by_seed;
    for (const Run& run : runs) {
      if (!run.final() || !run.done() || run.label != labels[m]) continue;
      if (!by_seed.emplace(*run.seed, &run).second) {
        problems.push_back(
            fmt::format("{}: another final run of {} has seed {} too; left out", run.folder, run.label, *run.seed));
        continue;
      }
      Row row{.run = &run, .numbers = {}};
      if (const std::string reason = take_row(metric, run, ids, width, row); !reason.empty())
        problems.push_back(fmt::format("{} is left out of {}: {}", run.folder, metric.name, reason));
      else
        scored[m].rows.push_back(std::move(row));
    }
    Scored& s = scored[m];
    std::stable_sort(s.rows.begin(), s.rows.end(), [](const Row& a, const Row& b) { return *a.run->seed < *b.run->seed; });
    s.width = width;
    if (s.rows.empty()) continue;
    std::vector<const Row*> all;
    for (const Row& row : s.rows) all.push_back(&row);
    s.samples = samples_of(metric, width, all);
    for (size_t r = 0; r < all.size(); ++r) {
      const double value = s.samples->value(r), stated = number_at(all[r]->run->test, metric.name).value_or(value);
      if (std::abs(value - stated) > 1e-4 * std::max({1e-3, std::abs(value), std::abs(stated)}))
        problems.push_back(fmt::format("{}: result.json says test {} {:.6g}, its items give {:.6g} (used here)",
                                       all[r]->run->folder, metric.name, stated, value));
    }
  }
  return scored;
}

// ---- statistics ---------------------------------------------------------------------------------------------------

// Runs that share a seed stand at the same place; the others follow.
std::pair<std::vector<const Row*>, std::vector<const Row*>> by_shared_seed(const Scored& a, const Scored& b) {
  const auto order = [](const Scored& x, const Scored& y) {
    std::vector<const Row*> shared, rest;
    for (const Row& row : x.rows) {
      const bool both = std::any_of(y.rows.begin(), y.rows.end(), [&](const Row& o) { return *o.run->seed == *row.run->seed; });
      (both ? shared : rest).push_back(&row);
    }
    shared.insert(shared.end(), rest.begin(), rest.end());
    return shared;
  };
  return {order(a, b), order(b, a)};
}

Json interval_json(const Interval& interval) {
  return Json::array({interval.low, interval.high});
}

// Digits after the point such that the spread over seeds (or a tenth of the interval) shows two figures.
int digits_for(const std::vector<Scored>& scored, const std::vector<Json>& entries, double scale) {
  std::vector<double> spreads;
  for (size_t m = 0; m < scored.size(); ++m) {
    if (!scored[m].samples) continue;
    const Json& ci = entries[m]["ci95"];
    const double half = ci.is_array() ? (ci[1].get<double>() - ci[0].get<double>()) / 2 : 0;
    const double sd = scored[m].samples->runs() > 1 ? scored[m].samples->sd() : half / 4;
    if (const double spread = std::max(sd, half / 10) * scale; spread > 0) spreads.push_back(spread);
  }
  if (spreads.empty()) return 2;
  return std::clamp(1 - static_cast<int>(std::floor(std::log10(median_of(spreads)))), 0, 4);
}

struct ResolvedMetric {
  Json info;
  std::vector<Json> entries;  // per method: mean, sd, ci95, rank, values
  Json pairs = Json::array();
};

ResolvedMetric analyse(const Metric& metric, const std::vector<std::string>& labels, const std::vector<Scored>& scored,
                     size_t items) {
  ResolvedMetric out;
  std::vector<double> means(labels.size(), NAN);
  for (size_t m = 0; m < labels.size(); ++m) {
    Json entry = {{"mean", nullptr}, {"sd", nullptr}, {"ci95", nullptr}, {"rank", 0}, {"values", Json::array()}};
    if (const auto& samples = scored[m].samples) {
      means[m] = samples->mean();
      entry["mean"] = means[m];
      if (samples->runs() > 1) entry["sd"] = samples->sd();
      if (samples->runs() > 1 || samples->items() > 1) entry["ci95"] = interval_json(bootstrap_interval(*samples));
      for (size_t r = 0; r < samples->runs(); ++r)
        entry["values"].push_back({{"seed", *scored[m].rows[r].run->seed}, {"value", samples->value(r)}});
    }
    out.entries.push_back(std::move(entry));
  }
  std::vector<PairResult> pairs;
  std::vector<Verdict> verdicts;
  std::vector<double> p;
  for (size_t a = 0; a < labels.size(); ++a)
    for (size_t b = a + 1; b < labels.size(); ++b) {
      const Scored &x = scored[a], &y = scored[b];
      if (!x.samples || !y.samples) continue;
      // One number on each side: nothing to test with.
      if (x.samples->items() == 1 && x.samples->runs() + y.samples->runs() < 3) continue;
      const auto [rows_a, rows_b] = by_shared_seed(x, y);
      pairs.push_back(compare_pair(samples_of(metric, x.width, rows_a), samples_of(metric, y.width, rows_b)));
      verdicts.push_back({a, b, 1});
      p.push_back(pairs.back().p);
    }
  const std::vector<double> adjusted = holm(p);
  std::vector<double> one_pair, all_pairs;
  for (size_t i = 0; i < pairs.size(); ++i) {
    verdicts[i].p_holm = adjusted[i];
    const PairResult& r = pairs[i];
    out.pairs.push_back({{"a", labels[verdicts[i].a]},
                         {"b", labels[verdicts[i].b]},
                         {"metric", metric.name},
                         {"test", r.test},
                         {"difference", r.difference},
                         {"ci95", interval_json(r.ci95)},
                         {"p", r.p},
                         {"p_holm", adjusted[i]},
                         {"detectable", r.detectable},
                         {"runs_counted", r.runs_counted}});
    if (std::isfinite(r.detectable) && r.detectable > 0) {
      one_pair.push_back(r.detectable);
      all_pairs.push_back(minimum_detectable(r.standard_error, r.degrees, 0.05 / static_cast<double>(pairs.size())));
    }
  }
  const std::vector<size_t> ranks = tied_ranks(means, metric.better(), verdicts);
  for (size_t m = 0; m < labels.size(); ++m) out.entries[m]["rank"] = ranks[m];
  out.info = shown_as(metric, digits_for(scored, out.entries, metric.kind == "binary" ? 100 : 1));
  out.info.update({{"base", number_or_null(metric.base)},
                   {"items", items},
                   {"test", pairs.empty() ? "" : pairs[0].test},
                   {"detectable", nullptr}});
  if (!one_pair.empty())
    out.info["detectable"] = {{"one_pair", median_of(one_pair)}, {"all_pairs", median_of(all_pairs)}, {"pairs", pairs.size()}};
  return out;
}

// ---- Pareto, samples, runs ----------------------------------------------------------------------------------------

Json pareto_of(const Json& methods, const Metric& primary) {
  Json fronts = Json::object();
  const auto front = [&](const std::vector<std::string>& kinds) {
    std::vector<double> quality;
    std::vector<std::vector<double>> costs;
    for (const Json& method : methods) {
      quality.push_back(number_at(method["metrics"][primary.name], "mean").value_or(NAN));
      costs.emplace_back();
      for (const std::string& kind : kinds) costs.back().push_back(number_at(method["costs"], kind).value_or(NAN));
    }
    Json names = Json::array();
    if (!quality.empty())
      for (const size_t i : pareto_front(quality, primary.better(), costs)) names.push_back(methods[i]["name"]);
    return names;
  };
  for (const std::string& kind : kCostKinds) fronts[kind] = front({kind});
  fronts["all"] = front(kCostKinds);
  return fronts;
}

// The first items as the first seed of every method answered them, best method first.
Json samples_json(const Json& methods, const std::vector<Run>& runs, const std::vector<Metric>& metrics) {
  std::string metric;  // the first one whose rows carry text
  for (const Metric& m : metrics)
    for (const Run& run : runs) {
      const auto it = run.texts.find(m.name);
      if (metric.empty() && it != run.texts.end())
        for (const ItemText& text : it->second)
          if (!text.prediction.empty() || !text.reference.empty()) metric = m.name;
    }
  Json samples = Json::array();
  if (metric.empty()) return samples;
  std::map<std::string, size_t> place;
  for (const Json& method : methods) {
    const Run* first = nullptr;
    for (const Run& run : runs)
      if (run.label == method["name"] && run.final() && run.done() && run.texts.contains(metric) &&
          (!first || *run.seed < *first->seed))
        first = &run;
    if (!first) continue;
    for (const ItemText& text : first->texts.at(metric)) {
      if (!place.contains(text.id)) {
        if (place.size() == kSamples) continue;
        place[text.id] = samples.size();
        samples.push_back({{"id", text.id},
                           {"metric", metric},
                           {"prompt", text.prompt},
                           {"reference", text.reference},
                           {"predictions", Json::array()}});
      }
      samples[place[text.id]]["predictions"].push_back({{"name", method["name"]},
                                                        {"prediction", text.prediction},
                                                        {"score", number_or_null(text.score)},
                                                        {"seed", *first->seed}});
    }
  }
  return samples;
}

Json run_json(const Run& run) {
  return {{"folder", run.folder},
          {"method", run.method},
          {"label", run.label},
          {"stage", run.stage},
          {"status", run.status},
          {"reason", run.reason},
          {"hash", run.hash},
          {"seed", run.seed ? Json(*run.seed) : Json(nullptr)},
          {"lr", number_or_null(run.lr)},
          {"rung", number_or_null(run.rung)},
          {"dev", run.dev},
          {"test", run.test},
          {"costs", run.costs},
          {"forgetting_loss", number_or_null(run.forgetting_loss)}};
}

// The plan's methods by label, and those that only the folders know.
std::vector<std::pair<std::string, Json>> methods_of(const RunFolders& read) {
  std::vector<std::pair<std::string, Json>> methods;
  std::set<std::string> seen;
  const Json& listed = part_at(read.setup, "methods");
  if (listed.is_array())
    for (const Json& method : listed)
      if (const std::string label = text_at(method, "label", text_at(method, "name"));
          !label.empty() && seen.insert(label).second)
        methods.emplace_back(label, method);
  for (const Run& run : read.runs)
    if (seen.insert(run.label).second) methods.emplace_back(run.label, Json{{"name", run.method}});
  return methods;
}

void sort_best_first(Json& methods, const Metric& primary) {
  std::vector<Json> list(methods.begin(), methods.end());
  std::stable_sort(list.begin(), list.end(), [&](const Json& a, const Json& b) {
    const Json &x = a["metrics"][primary.name], &y = b["metrics"][primary.name];
    const int rank_a = x["rank"].get<int>(), rank_b = y["rank"].get<int>();
    if ((rank_a == 0) != (rank_b == 0)) return rank_b == 0;
    if (rank_a != rank_b) return rank_a < rank_b;
    if (rank_a == 0) return false;
    const double mean_a = x["mean"].get<double>(), mean_b = y["mean"].get<double>();
    return primary.higher_is_better ? mean_a > mean_b : mean_a < mean_b;
  });
  methods = Json(list);
}

}  // namespace

Json collect_results(const std::filesystem::path& out) {
  RunFolders read = read_run_folders(out);
  const std::vector<Metric> metrics = metrics_of(read.setup);
  const auto plan = methods_of(read);
  const Metric tuned_by = metric_of(read.setup, text_at(part_at(read.setup, "tuning"), "metric", metrics[0].name));
  std::vector<std::string> labels;
  Json methods = Json::array();
  for (const auto& [label, method] : plan) {
    methods.push_back(method_json(method, label, labels.size(), read.runs, read.setup, tuned_by.name));
    labels.push_back(label);
  }
  Json infos = Json::array(), pairs = Json::array();
  for (const Metric& metric : metrics) {
    size_t items = 0;
    const std::vector<Scored> scored = score(metric, labels, read.runs, read.problems, items);
    ResolvedMetric result = analyse(metric, labels, scored, items);
    infos.push_back(std::move(result.info));
    for (size_t m = 0; m < labels.size(); ++m) methods[m]["metrics"][metric.name] = std::move(result.entries[m]);
    for (Json& pair : result.pairs) pairs.push_back(std::move(pair));
  }
  sort_best_first(methods, metrics[0]);
  Json runs = Json::array();
  for (const Run& run : read.runs) {
    runs.push_back(run_json(run));
    if (run.status == "broken") read.problems.push_back(fmt::format("{}: {}", run.folder, run.reason));
  }
  // The same fault may be found once per metric.
  std::vector<std::string> problems;
  for (std::string& problem : read.problems)
    if (std::find(problems.begin(), problems.end(), problem) == problems.end()) problems.push_back(std::move(problem));
  Json setup = read.setup;
  setup.erase("runs");
  Json results = {{"setup", setup},       {"metrics", infos},
                  {"methods", methods},   {"pairs", pairs},
                  {"runs", runs},         {"pareto", pareto_of(methods, metrics[0])},
                  {"problems", problems}, {"samples", samples_json(methods, read.runs, metrics)}};
  results["tuning_metric"] = shown_as(tuned_by, 3);
  results["recommendation"] = recommend(results);
  return results;
}

}  // namespace graft
