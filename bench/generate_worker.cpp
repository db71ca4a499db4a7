// The graft side of the generation benchmark. Builds a model of a given shape with random weights and a LoRA adapter with random
// factors, writes both where another program can load them, then generates greedily once for each line on standard input and prints
// what it took.
//   bench_generate_worker FOLDER PLAN.json [--threads N] [--float32-values]
// PLAN.json: {"config": {...}, "r": 16, "new_tokens": n, "cases": {"NAME": [[ids of a prompt], ...]}}; a line is "NAME plain" or "NAME lora".
#include <CLI/CLI.hpp>

#include <chrono>
#include <iostream>

#include "adapter/folder.h"
#include "core/json.h"
#include "core/system.h"
#include "core/torch.h"
#include "eval/generate.h"
#include "model/loader.h"
#include "train/recipe.h"

int main(int argc, char** argv) {
  using namespace graft;
  CLI::App app{"greedy generation"};
  std::filesystem::path folder, file;
  int64_t threads = 0;
  bool float32_values = false;
  app.add_option("folder", folder)->required();
  app.add_option("plan", file)->required();
  app.add_option("--threads", threads);
  app.add_flag("--float32-values", float32_values);
  CLI11_PARSE(app, argc, argv);
  keep_freed_memory();
  use_threads(threads);
  const Json plan = read_json(file);
  const int64_t r = plan["r"].get<int64_t>();
  Model model = random_model(plan["config"], 1);
  if (!float32_values) model = converted(model, at::kBFloat16, at::kCPU);
  save_model(model, folder, {}, float32_values ? at::kFloat : at::kBFloat16);
  model = {};
  const Model base = load_model(folder, {at::kFloat, "cpu", /*keep_stored=*/true});  // as the command does
  auto method = find_method("lora").make();
  from_json(method->config(), {{"r", r}, {"lora_alpha", 2 * r}, {"target_modules", "all-linear"}, {"init_lora_weights", false}}, "lora");
  Adapted lora = attach(base, find_method("lora"), std::move(method), 1);
  save_adapter(lora, folder / "adapter", folder);
  const Adapted plain = bare(base);
  GenerateConfig config;
  config.max_new_tokens = plan["new_tokens"].get<int64_t>();
  std::cout << "{\"ready\":true}" << std::endl;
  for (std::string name, what; std::cin >> name >> what;) {
    const Adapted& adapted = what == "lora" ? lora : plain;
    const auto prompts = plan["cases"][name].get<std::vector<std::vector<int64_t>>>();
    const auto start = std::chrono::steady_clock::now();
    auto first = start;  // when every prompt has its first token
    size_t seen = 0;
    const auto continuations = generate(adapted.model, adapted.sites, prompts, {}, config, [&](size_t, int64_t) {
      if (++seen == prompts.size()) first = std::chrono::steady_clock::now();
    });
    const auto end = std::chrono::steady_clock::now();
    std::cout << json_line({{"seconds", std::chrono::duration<double>(end - start).count()},
                            {"first", std::chrono::duration<double>(first - start).count()},
                            {"ids", continuations}})
              << std::endl;
  }
}
