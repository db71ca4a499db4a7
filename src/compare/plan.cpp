#include "compare/plan.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/check.h"
#include "core/yaml.h"
#include "eval/evaluate.h"
#include "methods/method.h"

namespace graft {
namespace fs = std::filesystem;
namespace {

class Reader {
 public:
  Reader(const Json& json, std::string path, const std::vector<std::string>& known) : json_(json), path_(std::move(path)) {
    if (!json.is_object()) usage_error("plan", fmt::format("{} must be a mapping but is {}", path_.empty() ? "the plan" : path_, json_line(json).substr(0, 80)));
    for (auto& [key, value] : json.items())
      if (std::find(known.begin(), known.end(), key) == known.end()) usage_error("plan", fmt::format("unknown key '{}'", name(key)), suggest(key, known));
  }
  bool has(const std::string& key) const { return json_.contains(key) && !json_[key].is_null(); }
  const Json& at(const std::string& key) const { return json_[key]; }
  std::string name(const std::string& key) const { return path_.empty() ? key : path_ + "." + key; }
  std::string text(const std::string& key, const std::string& fallback = {}) const {
    if (!has(key)) return fallback;
    if (!at(key).is_string()) refuse(key, "text");
    return at(key).get<std::string>();
  }
  int64_t count(const std::string& key, int64_t fallback, int64_t least) const {
    if (!has(key)) return fallback;
    if (!at(key).is_number_integer() || at(key).get<int64_t>() < least) refuse(key, fmt::format("an integer of at least {}", least));
    return at(key).get<int64_t>();
  }
  std::vector<double> rates(const std::string& key) const {
    std::vector<double> list;
    for (auto& item : at(key).is_array() ? at(key) : Json::array({at(key)})) {
      if (!item.is_number() || !(item.get<double>() > 0)) refuse(key, "a list of learning rates above 0");
      list.push_back(item.get<double>());
    }
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
    if (list.empty()) refuse(key, "a list of learning rates above 0");
    return list;
  }
  [[noreturn]] void refuse(const std::string& key, const std::string& must) const {
    usage_error("plan", fmt::format("{} must be {} but is {}", name(key), must, has(key) ? json_line(at(key)) : "missing"));
  }

 private:
  const Json& json_;
  std::string path_;
};

PlannedMethod read_method(const Json& json, std::set<std::string>& labels) {
  PlannedMethod method;
  if (json.is_string()) {
    method.name = json.get<std::string>();
  } else if (json.is_object() && json.size() == 1) {
    method.name = json.begin().key();
    if (json.begin()->is_object()) method.options = *json.begin();
    else if (!json.begin()->is_null()) usage_error("plan", fmt::format("methods: the options of '{}' must be a mapping but are {}", method.name, json_line(*json.begin())));
  } else {
    usage_error("plan", fmt::format("methods: an entry must be a name or one name with options but is {}", json_line(json)), "such as - lora: {r: 8}");
  }
  method.label = method.name;
  if (method.options.contains("label")) {
    if (!method.options["label"].is_string()) usage_error("plan", fmt::format("methods: the label of '{}' must be text", method.name));
    method.label = method.options["label"].get<std::string>();
    method.options.erase("label");
  }
  if (method.label.empty() || method.label.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+.=") != std::string::npos || method.label[0] == '.')
    usage_error("plan", fmt::format("methods: the label '{}' must be letters, digits, _ - + . =", method.label), "it names a folder");
  if (!labels.insert(method.label).second)
    usage_error("plan", fmt::format("methods: two entries are called '{}'", method.label), "give one a label: - lora: {r: 16, label: lora_r16}");
  return method;
}

fs::path file_of(const Reader& reader, const std::string& key, const fs::path& folder, bool required) {
  if (!reader.has(key)) {
    if (required) reader.refuse(key, "a file");
    return {};
  }
  const fs::path file = folder / reader.text(key);
  if (!fs::exists(file)) input_error("plan", fmt::format("{}: there is no '{}'", reader.name(key), file.string()), "paths are relative to the plan's folder");
  return fs::weakly_canonical(file);
}

void read_train(const Json& json, Plan& plan) {
  Json data = Json::object(), optim = Json::object();
  const auto data_names = field_names(plan.data), optim_names = field_names(plan.optim);
  std::vector<std::string> known = data_names;
  known.insert(known.end(), optim_names.begin(), optim_names.end());
  const Reader reader(json, "train", known);
  for (auto& [key, value] : json.items()) {
    const bool is_data = std::find(data_names.begin(), data_names.end(), key) != data_names.end();
    (is_data ? data : optim)[key] = key == "warmup" ? (value.is_string() ? value : Json(json_line(value))) : value;
  }
  if (optim.contains("learning_rate")) usage_error("plan", "train.learning_rate: the learning rate is searched for", "give tuning.lr a list");
  from_json(plan.data, data, "plan");
  from_json(plan.optim, optim, "plan");
}

}  // namespace

std::vector<double> automatic_grid(double default_rate, int64_t width, int64_t trials) {
  const double centre = default_rate * std::clamp(1000.0 / static_cast<double>(width), 1.0 / 16, 16.0);
  std::vector<double> grid;
  for (int64_t i = 0; i < trials; ++i) {
    const double rate = centre * std::pow(3.0, static_cast<double>(i) - static_cast<double>(trials - 1) / 2);
    grid.push_back(std::stod(fmt::format("{:.1e}", rate)));  // two digits are enough
  }
  return grid;
}

Plan read_plan(const fs::path& file) {
  const Json json = read_yaml(file);
  const fs::path folder = fs::absolute(file).parent_path();
  const Reader r(json, "", {"title", "model", "data", "metric", "metrics", "methods", "budget", "tuning", "seeds", "track", "train", "forgetting", "generation", "workers"});
  Plan plan;
  plan.title = r.text("title", file.stem().string());
  plan.model = file_of(r, "model", folder, true);
  if (!r.has("data")) r.refuse("data", "a mapping with train, dev and test");
  const Reader d(r.at("data"), "data", {"train", "dev", "test", "columns", "template", "response_template", "chat_template", "max_length", "train_rows", "dev_rows", "test_rows"});
  plan.train = file_of(d, "train", folder, true);
  plan.dev = file_of(d, "dev", folder, true);
  plan.test = file_of(d, "test", folder, true);
  if (plan.dev == plan.test) usage_error("plan", "data.dev and data.test are the same file", "the search must not see the test data");
  plan.train_rows = d.count("train_rows", 0, 1);
  plan.dev_rows = d.count("dev_rows", 0, 1);
  plan.test_rows = d.count("test_rows", 0, 1);
  if (r.has("train")) read_train(r.at("train"), plan);
  Json formats = Json::object();
  for (const char* key : {"columns", "template", "response_template", "max_length"})
    if (d.has(key)) formats[key] = d.at(key);
  if (d.has("chat_template")) formats["chat_template"] = file_of(d, "chat_template", folder, true).string();
  from_json(plan.data, formats, "plan");
  plan.forgetting = file_of(r, "forgetting", folder, false);
  if (r.has("generation")) from_json(plan.generation, r.at("generation"), "plan");

  const std::string metric_key = r.has("metrics") ? "metrics" : "metric";
  for (auto& item : r.has(metric_key) ? (r.at(metric_key).is_array() ? r.at(metric_key) : Json::array({r.at(metric_key)})) : Json::array({"loss"})) {
    if (!item.is_string()) r.refuse(metric_key, "a metric or a list of them");
    plan.metrics.push_back(find_metric(item.get<std::string>()).name);
  }
  if (!r.has("methods") || !r.at("methods").is_array() || r.at("methods").empty()) r.refuse("methods", "a list of methods");
  std::set<std::string> labels;
  for (auto& item : r.at("methods")) {
    PlannedMethod method = read_method(item, labels);
    if (method.options.contains("lr")) {
      const Json only{{"lr", method.options["lr"]}};
      method.learning_rates = Reader(only, "methods." + method.label, {"lr"}).rates("lr");
      method.options.erase("lr");
    }
    from_json(find_method(method.name).make()->config(), method.options, method.name);  // its errors before any work
    plan.methods.push_back(std::move(method));
  }
  if (r.has("budget")) {
    const Reader b(r.at("budget"), "budget", {"steps", "epochs", "tokens"});
    if (r.at("budget").size() != 1) r.refuse("budget", "one of steps, epochs, tokens");
    plan.budget_kind = r.at("budget").begin().key();
    if (!r.at("budget").begin()->is_number() || !(r.at("budget").begin()->get<double>() > 0)) b.refuse(plan.budget_kind, "a number above 0");
    plan.budget = r.at("budget").begin()->get<double>();
  }
  if (r.has("tuning")) {
    const Reader t(r.at("tuning"), "tuning", {"lr", "trials", "rungs", "metric"});
    plan.trials = t.count("trials", plan.trials, 1);
    if (t.has("lr") && t.at("lr") != "auto") plan.learning_rates = t.rates("lr");
    if (t.has("rungs")) {
      plan.rungs = t.rates("rungs");
      if (plan.rungs.back() != 1.0) t.refuse("rungs", "shares of the budget that end with 1.0");
    }
    if (t.has("metric")) plan.tuning_metric = find_metric(t.text("metric")).name;
  }
  if (plan.tuning_metric.empty()) plan.tuning_metric = plan.metrics[0];
  if (r.has("seeds")) {
    plan.seeds.clear();
    if (r.at("seeds").is_number_integer()) {
      for (int64_t s = 1; s <= r.count("seeds", 3, 1); ++s) plan.seeds.push_back(s);
    } else {
      for (auto& item : r.at("seeds").is_array() ? r.at("seeds") : Json::array({nullptr})) {
        if (!item.is_number_integer() || item.get<int64_t>() < 0) r.refuse("seeds", "a number of seeds or a list of them");
        plan.seeds.push_back(item.get<int64_t>());
      }
    }
    if (plan.seeds.empty() || std::set<int64_t>(plan.seeds.begin(), plan.seeds.end()).size() != plan.seeds.size()) r.refuse("seeds", "different seeds, one or more");
  }
  if (r.text("track", "as_configured") != "as_configured") r.refuse("track", "as_configured (other tracks are not supported)");
  plan.workers = r.count("workers", 0, 1);
  return plan;
}

Json resolved(const Plan& plan_in) {
  Plan plan = plan_in;
  Json methods = Json::array();
  for (auto& m : plan.methods) {
    const auto method = find_method(m.name).make();
    from_json(method->config(), m.options, m.name);
    methods.push_back({{"name", m.name}, {"label", m.label}, {"options", to_json(method->config())}, {"lr", m.grid}});
  }
  Json train = to_json(plan.data);
  train.update(to_json(plan.optim));
  return {{"title", plan.title},
          {"model", plan.model.string()},
          {"data", {{"train", plan.train.string()}, {"dev", plan.dev.string()}, {"test", plan.test.string()}, {"train_rows", plan.train_rows}, {"dev_rows", plan.dev_rows}, {"test_rows", plan.test_rows}}},
          {"metrics", plan.metrics},
          {"methods", methods},
          {"budget", {{plan.budget_kind, plan.budget}}},
          {"tuning", {{"trials", plan.trials}, {"rungs", plan.rungs}, {"metric", plan.tuning_metric}}},
          {"seeds", plan.seeds},
          {"track", "as_configured"},
          {"train", train},
          {"generation", to_json(plan.generation)},
          {"forgetting", plan.forgetting.empty() ? Json() : Json(plan.forgetting.string())}};
}

}  // namespace graft
