// What most commands share: --model, --adapter, --device, --dtype, --threads, and the model that they name.
#pragma once
#include <CLI/CLI.hpp>

#include "data/examples.h"
#include "methods/method.h"

namespace graft {

struct ModelFlags {
  std::string model, adapter, device = "cpu", dtype = "auto";
  int64_t threads = 0;
  void add(CLI::App& app, bool with_adapter = true);
  Adapted load() const;  // the base alone, or with the adapter in place
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
