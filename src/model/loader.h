// Models from and to Hugging Face folders: config.json, model*.safetensors, tokenizer files.
#pragma once
#include <filesystem>
#include <optional>

#include "model/family.h"

namespace graft {

struct LoadOptions {
  std::optional<at::ScalarType> dtype;  // unset: float32 (half-precision files are converted once)
  std::string device = "cpu";           // "cpu", "cuda", "cuda:1", "auto"
  // Matrices keep the file's bf16 or f16 and are converted product by product: half the memory, the same results.
  bool keep_stored = false;
};

// Reads and checks the whole folder before any work. Weights that are stored in the wanted dtype
// stay memory-mapped (on the CPU), others are converted. Throws Fault::Input for a
// missing or broken file, an unknown model_type, a missing, mis-shaped or non-floating tensor.
Model load_model(const std::filesystem::path& folder, const LoadOptions& options = {});

// A model of this config with random weights as the reference initialises them (normal, std initializer_range; norms 1;
// biases 0), drawn from the seed.
Model random_model(const Json& config, uint64_t seed);

// Writes config.json and model.safetensors (sharded above `shard_bytes`) and copies the tokenizer's and other small files
// of `source` when given. Tensors are stored in `dtype`.
void save_model(const Model& model, const std::filesystem::path& folder, const std::filesystem::path& source, at::ScalarType dtype,
                int64_t shard_bytes = int64_t{5} << 30);

ModelConfig read_model_config(const std::filesystem::path& folder);
at::Device parse_device(const std::string& name);  // throws Fault::Usage

}  // namespace graft
