// Adapter folders: HF PEFT's (adapter_config.json, adapter_model.safetensors) and, for bottleneck adapters, AdapterHub's
// (adapter_config.json, adapter.safetensors). Methods that train the base itself write a model folder instead.
#pragma once
#include <filesystem>
#include <string>

#include "methods/method.h"

namespace graft {

// What an adapter folder says about itself, before any base model is loaded.
struct AdapterFile {
  const MethodRow* row = nullptr;
  Json config;                     // the method's part
  std::string base_model;          // as the file names it; may be empty
  std::filesystem::path folder;    // where it was found: the given folder, or the only adapter inside
  std::filesystem::path weights;
  std::string adapter_name = "default";
  NamedTensors tensors;            // with the adapter's name in keys rewritten to "default"
};
// Reads and checks the folder, or the only adapter in a sub-folder of it. Throws Fault::Input for a missing or broken file, Fault::Usage for a peft_type or an option
// that is not supported. Unknown options are refused unless they are switched off.
AdapterFile read_adapter(const std::filesystem::path& folder);

// A method with the options of a configuration file alone (adapter_config.json), nothing attached.
std::unique_ptr<Method> method_from_config(const std::filesystem::path& config_file, const MethodRow*& row);

// The base as the adapter's file wants it: where the file holds the whole embedding or head, that one.
Model base_for_adapter(const Model& base, const AdapterFile& file);

// The base with the folder's adapter in place, ready to run or to train on.
Adapted load_adapter(const Model& base, const std::filesystem::path& folder);

// Writes the adapter under a temporary name and renames; a model folder for Format::ModelFolder (`base_folder` gives the
// tokenizer files). Returns the bytes of the weights' files.
int64_t save_adapter(Adapted& adapted, const std::filesystem::path& folder, const std::filesystem::path& base_folder);

}  // namespace graft
