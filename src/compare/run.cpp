#include "compare/run.h"

#include <cmath>

#include "adapter/folder.h"
#include "core/check.h"
#include "core/files.h"
#include "core/log.h"
#include "core/rng.h"
#include "core/signals.h"
#include "core/torch.h"
#include "eval/evaluate.h"
#include "methods/common/calibration.h"
#include "train/memory.h"

namespace graft {
namespace fs = std::filesystem;
namespace {

Json scores_of(const std::vector<MetricResult>& results) {
  Json json = Json::object();
  for (auto& r : results) json[r.metric] = r.value;
  return json;
}

std::vector<std::string> dev_metrics(const Plan& plan) {
  std::vector<std::string> metrics{plan.tuning_metric};
  if (plan.tuning_metric != "loss") metrics.push_back("loss");
  return metrics;
}

}  // namespace

Adapted adapted_for(const SharedInputs& in, const PlannedMethod& planned, int64_t seed) {
  const MethodRow& row = find_method(planned.name);
  auto method = row.make();
  from_json(method->config(), planned.options, planned.name);
  DataConfig data_config = in.plan.data;
  std::optional<DataOrder> order;
  Calibration calibration;
  calibration.batches = [&](int64_t step) {
    if (!order) order.emplace(in.train, in.plan.data, static_cast<uint64_t>(seed));
    return order->batches(step);
  };
  calibration.id = [&] { return in.model_id + fingerprint(in.train) + json_line(to_json(data_config)) + std::to_string(seed); };
  calibration.folder = in.calibration;
  calibration.quiet = true;
  return attach(with_own_handles(in.base), row, std::move(method), static_cast<uint64_t>(seed), [&](const std::string& text) { return in.tokenizer.encode(text); }, false, &calibration);
}

int64_t budget_steps(const SharedInputs& in, int64_t seed) {
  const DataOrder order(in.train, in.plan.data, static_cast<uint64_t>(seed));
  if (in.plan.budget_kind == "steps") return static_cast<int64_t>(in.plan.budget);
  if (in.plan.budget_kind == "tokens") return order.steps_for_tokens(static_cast<int64_t>(in.plan.budget));
  return std::max<int64_t>(1, order.steps_for_epochs(in.plan.budget));
}

std::string run_hash(const SharedInputs& in, const RunSpec& spec) {
  Plan plan = in.plan;
  const auto method = find_method(spec.method.name).make();
  from_json(method->config(), spec.method.options, spec.method.name);
  const Json identity{{"version", 1},       {"model", in.model_id},   {"data", in.data_id},     {"method", spec.method.name},
                      {"options", to_json(method->config())},        {"seed", spec.seed},      {"lr", spec.lr},
                      {"stage", spec.stage}, {"steps", spec.steps},   {"data_config", to_json(plan.data)}, {"optim", to_json(plan.optim)},
                      {"generation", to_json(plan.generation)},      {"metrics", spec.stage == "final" ? Json(plan.metrics) : Json(plan.tuning_metric)},
                      {"forgetting", spec.stage == "final" ? Json(fingerprint(in.forgetting)) : Json()}};
  return fmt::format("{:016x}", hash_bytes(identity.dump()));
}

Json recorded_result(const SharedInputs& in, const RunSpec& spec) {
  if (!fs::exists(spec.folder / "result.json")) return nullptr;
  try {
    const Json result = read_json(spec.folder / "result.json");
    if (result.is_object() && result.value("hash", std::string()) == run_hash(in, spec)) return result;
  } catch (const Error&) {  // a broken record is as good as none: the run is done again
  }
  return nullptr;
}

Json carry_out(const SharedInputs& in, const RunSpec& spec, const Json& costs) {
  Plan plan = in.plan;
  Json result{{"method", spec.method.name}, {"label", spec.method.label}, {"stage", spec.stage}, {"seed", spec.seed}, {"lr", spec.lr}, {"hash", run_hash(in, spec)}};
  const Json before = recorded_result(in, spec);
  const bool search = spec.stage == "search";
  if (search) {
    result["rung"] = spec.rung;
    result["rungs"] = before.is_object() ? before.value("rungs", Json::array()) : Json::array();
    if (before.is_object() && before.contains("dev")) result["rungs"].push_back({{"rung", before["rung"]}, {"dev", before["dev"]}});
  }
  make_folder(spec.folder);
  try {
    Adapted adapted = adapted_for(in, spec.method, spec.seed);
    const DataOrder order(in.train, plan.data, static_cast<uint64_t>(spec.seed));
    OptimConfig optim = plan.optim;
    optim.learning_rate = spec.lr;
    Trainer trainer(adapted, optim, spec.steps, static_cast<uint64_t>(spec.seed), usual_recomputation(adapted));
    TrainJob job;
    job.steps = search ? std::max<int64_t>(1, static_cast<int64_t>(std::ceil(spec.rung * static_cast<double>(spec.steps) - 1e-9))) : spec.steps;
    job.batches = [&](int64_t step) { return order.batches(step); };
    job.out = spec.folder;
    job.base_folder = plan.model;
    job.save_seconds = 60;
    job.keep = 1;
    job.resume = true;  // what a killed command or a lower rung left
    job.quiet = true;
    job.save_last = search && spec.rung < 1;
    const TrainResult trained = run_training(adapted, trainer, job);
    Json run_costs = costs.is_object() ? costs : Json::object();
    run_costs.update({{"train_seconds", trained.seconds}, {"steps", trained.steps}, {"tokens", trained.tokens}});
    if (search) {
      result["dev"] = scores_of(evaluate(adapted.model, adapted.sites, in.tokenizer, in.dev, dev_metrics(plan), plan.generation));
      if (before.is_object() && before.contains("costs"))
        for (const char* key : {"train_seconds", "tokens"}) run_costs[key] = run_costs[key].get<double>() + before["costs"].value(key, 0.0);
    } else {
      const auto scored = evaluate(adapted.model, adapted.sites, in.tokenizer, in.test, plan.metrics, plan.generation);
      result["test"] = scores_of(scored);
      std::string items;
      for (auto& metric : scored)
        for (auto& item : metric.items) items += json_line(item.to_json()) + "\n";
      write_file(spec.folder / "items.jsonl", items);
      if (!in.forgetting.empty()) result["forgetting_loss"] = mean_loss(adapted.model, adapted.sites, in.forgetting);
      run_costs["adapter_bytes"] = save_adapter(adapted, spec.folder / "adapter", plan.model);
    }
    run_costs["trainable_parameters"] = trainable_parameters(*adapted.method);
    run_costs["mergeable"] = adapted.row->mergeable;
    result["costs"] = run_costs;
    result["status"] = "done";
    if (!job.save_last) fs::remove_all(newest_checkpoint(spec.folder));
  } catch (const Stopped&) {
    throw;
  } catch (const Error& e) {
    result["status"] = e.fault() == Fault::Diverged ? "diverged" : "failed";
    result["reason"] = e.what();
  } catch (const std::exception& e) {
    const std::string text = e.what();
    result["status"] = "failed";
    result["reason"] = text.substr(0, text.find('\n'));
  }
  write_json(spec.folder / "result.json", result);
  return result;
}

}  // namespace graft
