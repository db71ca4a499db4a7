// What most commands share: --model, --adapter and how several join, --device, --dtype, --threads, and the model that they name.
#pragma once
#include <CLI/CLI.hpp>

#include "adapter/compose.h"
#include "data/examples.h"
#include "methods/method.h"

namespace graft {

// --adapter (any number of them), --weights, --compose.
struct AdapterFlags {
  std::vector<std::string> folders;
  std::string weights, compose = "sum";
  void add(CLI::App& app);
  std::vector<double> weight_list() const;             // one for each folder
  Compose how() const;
  std::vector<Part> load(const Model& base) const;     // named by their folders
};

struct ModelFlags {
  std::string model, device = "cpu", dtype = "auto";
  AdapterFlags adapters;
  int64_t threads = 0;
  void add(CLI::App& app);
  Model load_base() const;
  Adapted load() const;  // the base alone, or with the adapters in place
};

// --data and the options of reading it.
struct DataFlags {
  std::vector<std::string> files;
  std::string columns, prompt_template, response_template, chat_template;
  int64_t max_length = 0;
  void add(CLI::App& app, bool required);
  std::vector<Example> load(const Tokenizer& tokenizer, const Adapted& adapted, const std::string& model_folder) const;
};

// "1,2,3" as ids; throws Fault::Usage.
std::vector<int64_t> parse_ids(const std::string& text);

}  // namespace graft
