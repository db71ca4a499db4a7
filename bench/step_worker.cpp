// The graft side of the step benchmark. Builds a model of a given shape with random weights, writes it where another program can
// load the same weights, then runs one training step for each line "step" on standard input and prints what it took; for a line
// "profile" it also says where the time went on a GPU.
//   bench_step_worker MODEL_DIR ROWS.json [--method lora] [--options JSON] [--threads N] [--low-memory] [--device cpu|cuda] [--cuda-graphs], --make first
// ROWS.json: {"config": {...}, "steps": [[{"ids": [...], "learned_from": n}, ...], ...]}
#include <CLI/CLI.hpp>

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <chrono>
#include <iostream>

#include "core/device.h"
#include "core/heap.h"
#include "core/json.h"
#include "core/mapped_file.h"
#include "core/system.h"
#include "data/examples.h"
#include "model/loader.h"
#include "train/memory.h"
#include "train/recipe.h"

namespace {

using Times = std::map<std::string, std::pair<double, int64_t>>;  // seconds and how often, by name

graft::Json to_json(const Times& times) {
  graft::Json json = graft::Json::object();
  for (auto& [name, entry] : times) json[name] = {entry.first, entry.second};
  return json;
}

// What a GPU's kernels took while `work` ran, and what the CPU did meanwhile, less what was called from there.
graft::Json profiled(const std::function<void()>& work) {
  using namespace torch::autograd::profiler;
  const ProfilerConfig config(ProfilerState::KINETO);
  const std::set<ActivityType> activities{ActivityType::CPU, ActivityType::CUDA};
  prepareProfiler(config, activities);
  enableProfiler(config, activities);
  work();
  const auto result = disableProfiler();
  Times kernels, calls;
  struct Span {
    uint64_t begin, end;
    std::string name;
  };
  std::map<uint64_t, std::vector<Span>> threads;
  for (auto& event : result->events()) {
    if (event.deviceType() == c10::DeviceType::CUDA) {
      auto& [seconds, launches] = kernels[event.name()];
      seconds += static_cast<double>(event.durationNs()) * 1e-9;
      ++launches;
    } else {
      threads[event.startThreadId()].push_back({event.startNs(), event.startNs() + event.durationNs(), event.name()});
    }
  }
  for (auto& [id, spans] : threads) {
    std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) { return a.begin != b.begin ? a.begin < b.begin : a.end > b.end; });
    std::vector<const Span*> open;
    for (auto& span : spans) {
      while (!open.empty() && open.back()->end <= span.begin) open.pop_back();
      const double seconds = static_cast<double>(span.end - span.begin) * 1e-9;
      if (!open.empty()) calls[open.back()->name].first -= seconds;
      calls[span.name].first += seconds;
      ++calls[span.name].second;
      open.push_back(&span);
    }
  }
  return {{"kernels", to_json(kernels)}, {"calls", to_json(calls)}};
}

}  // namespace

int main(int argc, char** argv) {
  using namespace graft;
  CLI::App app{"one training step at a time"};
  std::string folder, rows;
  int64_t threads = 0;
  std::string method_name = "lora", options = "{}", device = "cpu";
  bool make = false, low_memory = false, cuda_graphs = false;
  app.add_option("model", folder)->required();
  app.add_option("rows", rows)->required();
  app.add_option("--method", method_name);
  app.add_option("--options", options);
  app.add_option("--threads", threads);
  app.add_option("--device", device);
  app.add_flag("--make", make);
  app.add_flag("--low-memory", low_memory);
  app.add_flag("--cuda-graphs", cuda_graphs);
  CLI11_PARSE(app, argc, argv);
  keep_freed_memory();
  use_own_heap();
  use_threads(threads);
  const Json plan = read_json(rows);
  if (make) {
    save_model(random_model(plan["config"], 1), folder, {}, at::kBFloat16);
    return 0;
  }
  let_go_of_mapped_pages(low_memory);
  const Model base = load_model(folder, {compute_dtype("auto", parse_device(device)), device, /*keep_stored=*/true});
  const MethodRow& row = find_method(method_name);
  auto method = row.make();
  from_json(method->config(), parse_json(options, "--options"), row.name);
  Adapted adapted = attach(base, row, std::move(method), 1);
  std::vector<Batch> batches;
  for (auto& step : plan["steps"]) {
    Batch batch;
    for (auto& document : step) append_document(batch, document["ids"].get<std::vector<int64_t>>(), document["learned_from"].get<int64_t>());
    batches.push_back(std::move(batch));
  }
  OptimConfig optim;
  optim.learning_rate = 1e-4;
  optim.schedule = "constant";
  RecomputeRule rule = usual_recomputation(adapted);
  if (low_memory) rule = [](const Batch&) { return Recomputed{0, Recomputed::kAll}; };
  Trainer trainer(adapted, optim, 1 << 20, 1, rule, cuda_graphs);
  std::cout << "{\"ready\":true}" << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    const auto start = std::chrono::steady_clock::now();
    StepRecord record;
    const auto step = [&] {
      record = trainer.step({batches[static_cast<size_t>(trainer.done()) % batches.size()]});
      synchronise(base.device());  // the update is part of the step
    };
    Json profile;
    if (line == "profile") profile = profiled(step);
    else step();
    record.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    Json printed = record.to_json();
    if (!profile.is_null()) printed["profile"] = profile;
    printed["trained"] = trainable_parameters(*adapted.method);
    std::cout << json_line(printed) << std::endl;
  }
}
