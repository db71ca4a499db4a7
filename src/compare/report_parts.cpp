#include "compare/report_parts.h"

#include <fmt/format.h>

#include <algorithm>

#include "compare/results_read.h"

namespace graft {
namespace {

constexpr const char* kNone = "n/a";

std::string plain_text(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_float()) return fmt::format("{:.6g}", value.get<double>());
  return value.is_null() ? "" : value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// "tokens 200000, steps 100"
std::string object_text(const Json& object) {
  std::string text;
  for (const auto& [key, value] : object.items()) text += (text.empty() ? "" : ", ") + key + " " + plain_text(value);
  std::replace(text.begin(), text.end(), '_', ' ');
  return text;
}

// The keys in this order, each as before + value + after; then whatever else there is.
struct Part {
  const char *key, *before, *after;
};
std::string ordered_text(Json object, const std::vector<Part>& parts) {
  std::string text;
  for (const Part& part : parts)
    if (const auto it = object.find(part.key); it != object.end()) {
      if (const std::string value = plain_text(*it); !value.empty())
        text += (text.empty() ? "" : ", ") + std::string(part.before) + value + part.after;
      object.erase(it);
    }
  const std::string rest = object_text(object);
  return text + (text.empty() || rest.empty() ? "" : ", ") + rest;
}
std::string data_text(const Json& data) {
  if (!data.is_object()) return "";
  return ordered_text(
      data,
      {{"train", "", ""}, {"train_rows", "", " training rows"}, {"dev_rows", "", " dev rows"}, {"test_rows", "", " test rows"}});
}
std::string machine_text(const Json& machine) {
  if (!machine.is_object()) return "";
  return ordered_text(machine, {{"cpu", "", ""},
                                {"cores", "", " cores"},
                                {"threads", "", " threads"},
                                {"isa", "", ""},
                                {"memory_gb", "", " GB of memory"},
                                {"graft_version", "graft ", ""},
                                {"torch_version", "torch ", ""}});
}

}  // namespace

ReportView::ReportView(const Json& r) : results(r) {
  for (const Json& metric : r["metrics"]) metrics.emplace_back(metric);
  for (const Json& method : r["methods"])
    methods.push_back({&method, text_at(method, "name"), static_cast<size_t>(number_at(method, "index").value_or(0))});
  base_parameters = number_at(part_at(r["setup"], "model"), "parameters");
}

const Json& ReportView::entry(const MethodView& method, const MetricView& metric) const {
  return part_at(part_at(*method.json, "metrics"), metric.name);
}

bool ReportView::ranked(const MethodView& method) const {
  return number_at(entry(method, primary()), "mean").has_value();
}

const Json* ReportView::pair(const std::string& a, const std::string& b) const {
  for (const Json& p : results["pairs"])
    if (p["metric"] == primary().name && ((p["a"] == a && p["b"] == b) || (p["a"] == b && p["b"] == a))) return &p;
  return nullptr;
}

std::string mean_sd_text(const MetricView& metric, const Json& entry) {
  const auto mean = number_at(entry, "mean"), sd = number_at(entry, "sd");
  if (!mean) return kNone;
  return metric.number(*mean) + (sd ? " ± " + fixed_text(*sd * metric.scale, metric.digits) : "");
}

std::string interval_text(const MetricView& metric, const Json& entry) {
  const Json& ci = part_at(entry, "ci95");
  if (!ci.is_array() || ci.size() != 2 || !ci[0].is_number() || !ci[1].is_number()) return "";
  return fmt::format("[{}, {}]", metric.number(ci[0].get<double>()), metric.number(ci[1].get<double>()));
}

std::string rank_text(const ReportView& view, const MethodView& method) {
  const auto rank = number_at(view.entry(method, view.primary()), "rank");
  if (!rank || *rank < 1) return kNone;
  const auto shares = std::count_if(view.methods.begin(), view.methods.end(), [&](const MethodView& m) {
    return number_at(view.entry(m, view.primary()), "rank") == rank;
  });
  return fmt::format("{:.0f}{}", *rank, shares > 1 ? " tied" : "");
}

std::string parameters_text(const ReportView& view, const Json& costs) {
  const auto n = number_at(costs, "trainable_parameters");
  if (!n) return kNone;
  return compact_text(*n) +
         (view.base_parameters && *view.base_parameters > 0 ? " (" + percent_text(*n / *view.base_parameters) + ")" : "");
}

std::string cost_text(const Json& costs, const std::string& key) {
  if (key == "mergeable") {
    const auto it = costs.is_object() ? costs.find(key) : costs.end();
    if (!costs.is_object() || it == costs.end() || !it->is_boolean()) return kNone;
    return it->get<bool>() ? "yes" : "no";
  }
  const auto value = number_at(costs, key);
  if (!value) return kNone;
  if (key == "peak_memory" || key == "adapter_bytes") return bytes_text(*value);
  if (key == "seconds_per_step" || key == "train_seconds") return seconds_text(*value);
  if (key == "inference_slowdown") return fmt::format("{}×", fixed_text(*value, 2));
  return compact_text(std::abs(*value) >= 100 ? std::round(*value) : *value);
}

std::string forgetting_text(const MethodView& method) {
  const Json& f = part_at(*method.json, "forgetting");
  if (const auto increase = number_at(f, "increase")) return signed_text(*increase, 3);
  const auto mean = number_at(f, "mean");
  return mean ? fixed_text(*mean, 3) : kNone;
}

std::string runs_text(const MethodView& method) {
  const Json& final = part_at(*method.json, "final");
  return fmt::format("{:.0f} of {:.0f}", number_at(final, "done").value_or(0), number_at(final, "planned").value_or(0));
}

std::string final_lr_text(const MethodView& method) {
  const auto lr = number_at(*method.json, "lr");
  return lr ? rate_text(*lr) : kNone;
}

std::string headline_of(const ReportView& view) {
  return text_at(view.results["recommendation"], "headline");
}

std::vector<const Json*> lost_runs(const ReportView& view) {
  std::vector<const Json*> lost;
  for (const Json& run : view.results["runs"])
    if (const std::string status = text_at(run, "status"); status != "done" && status != "skipped") lost.push_back(&run);
  return lost;
}

std::vector<std::pair<std::string, std::string>> facts_of(const ReportView& view) {
  const Json& setup = view.results["setup"];
  std::vector<std::pair<std::string, std::string>> facts;
  const auto add = [&](const std::string& name, const std::string& text) {
    if (!text.empty()) facts.emplace_back(name, text);
  };
  const Json& model = part_at(setup, "model");
  std::string base = text_at(model, "path");
  if (const std::string family = text_at(model, "family"); !family.empty()) base += (base.empty() ? "" : ", ") + family;
  if (view.base_parameters) base += (base.empty() ? "" : ", ") + compact_text(*view.base_parameters) + " parameters";
  add("Base model", base);
  add("Data", data_text(part_at(setup, "data")));
  add("Budget per run", object_text(part_at(setup, "budget")));
  std::string track = text_at(setup, "track");
  std::replace(track.begin(), track.end(), '_', ' ');
  add("Track", track);
  double trials = 0, search_seconds = 0, final_seconds = 0, search_tokens = 0;
  for (const MethodView& m : view.methods) {
    const Json& t = part_at(*m.json, "tuning");
    trials += number_at(t, "trials").value_or(0);
    search_seconds += number_at(t, "seconds").value_or(0);
    search_tokens += number_at(t, "tokens").value_or(0);
  }
  size_t finals = 0;
  for (const Json& run : view.results["runs"])
    if (text_at(run, "stage") == "final")
      final_seconds += number_at(part_at(run, "costs"), "train_seconds").value_or(0), finals += run["status"] == "done";
  if (trials > 0)
    add("Tuning", fmt::format("{}; {:.0f} trials in all, {} of training, {} tokens", object_text(part_at(setup, "tuning")),
                              trials, seconds_text(search_seconds), compact_text(search_tokens)));
  add("Final runs", fmt::format("{} finished, {} of training", finals, seconds_text(final_seconds)));
  std::vector<std::string> tests;
  for (const Json& metric : view.results["metrics"])
    if (const std::string test = text_at(metric, "test");
        !test.empty() && std::find(tests.begin(), tests.end(), test) == tests.end())
      tests.push_back(test);
  add("Tests", list_text(tests));
  add("Machine and versions", machine_text(part_at(setup, "machine")));
  std::string when = text_at(setup, "started");
  if (const std::string end = text_at(setup, "finished"); !end.empty()) when += " to " + end;
  if (const auto seconds = number_at(setup, "seconds")) when += (when.empty() ? "" : ", ") + seconds_text(*seconds);
  add("When", when);
  add("To repeat", text_at(setup, "command", "graft compare plan.resolved.yaml --out DIR"));
  return facts;
}

std::vector<std::string> protocol_of(const ReportView& view) {
  std::vector<std::string> text;
  const Json& info = view.results["metrics"][0];
  const MetricView& metric = view.primary();
  text.push_back(
      "Every method got the same base model, the same rows in the same order for the same seed, the same budget and the same "
      "evaluation. The learning "
      "rate was tuned with the same number of trials for every method, on a development split that plays no part in the results; "
      "then every method "
      "was trained afresh with several seeds and scored once on the test items.");
  text.push_back(
      "± is the standard deviation over seeds (n−1). [..] is a 95 % interval from a hierarchical bootstrap over seeds and test "
      "items: another seed and "
      "other items could have been drawn, and both count. Pairs are tested on the same items, p is adjusted over all pairs by "
      "Holm's method. Methods "
      "share a rank (tied) unless one was shown to beat the other: adjusted p < 0.05.");
  if (const Json& d = part_at(info, "detectable"); !d.empty())
    text.push_back(
        fmt::format("Minimum detectable difference: {} for one pair at the 5 % level, {} when all {:.0f} pairs are corrected "
                    "for. A true difference of that size is found "
                    "in 80 % of such comparisons; a smaller one often is not. Tied therefore means \"not told apart by this "
                    "set-up\", not \"equal\". More test items and "
                    "more seeds make it smaller.",
                    metric.with_unit(number_at(d, "one_pair").value_or(0)),
                    metric.with_unit(number_at(d, "all_pairs").value_or(0)), number_at(d, "pairs").value_or(0)));
  const Json& notes = part_at(view.results["setup"], "notes");
  if (notes.is_array())
    for (const Json& note : notes)
      if (note.is_string()) text.push_back(note.get<std::string>());
  return text;
}

}  // namespace graft
