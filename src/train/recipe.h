// A training run from its recipe to its output folder: what `graft train` does, as a library.
#pragma once
#include <string>
#include <vector>

#include "data/config.h"
#include "optim/optimizer.h"
#include "train/trainer.h"

namespace graft {

// Everything that defines a run. One flat list of keys: the recipe's YAML keys and, with dashes, the command's flags.
struct Recipe : Config {
  std::string model, out, method = "lora";
  Json data, eval_data;                   // a file or a list of files
  Json method_options = Json::object();   // in HF PEFT's names
  std::optional<std::string> method_config, init_adapter;
  bool from_scratch = false;
  std::optional<int64_t> steps, tokens;
  std::optional<double> epochs;
  int64_t seed = 0, threads = 0, eval_every = 0, save_every = 0, keep = 2;
  std::string dtype = "auto", device = "auto";
  bool gradient_checkpointing = false, low_memory = false, cuda_graphs = false;
  std::optional<std::string> max_memory;
  DataConfig data_config;
  OptimConfig optim;
  void visit(Fields& f) override;
};

// Loads everything that a run needs and checks that it fits together, then throws it away.
void check_recipe(const Recipe& recipe);

// What the largest step of this recipe needs in memory, as a table; runs nothing but a few short passes.
std::string memory_table(const Recipe& recipe);

// Trains and writes the output. Throws as the library does.
TrainResult run_recipe(Recipe recipe, bool resume);

// "file" or ["a", "b"] as a list; `key` names it in errors.
std::vector<std::string> file_list(const Json& value, const char* key);
at::ScalarType compute_dtype(const std::string& name, const at::Device& device);
void use_threads(int64_t threads);  // 0: as many as there are cores

}  // namespace graft
