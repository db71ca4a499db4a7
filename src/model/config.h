// A model's shape and options, read from Hugging Face's config.json.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"

namespace graft {

// How rotary frequencies are stretched. "default": not at all; "linear": all by `factor`; "llama3": by wave length.
struct RopeScaling {
  std::string kind = "default";
  double factor = 1, low_freq_factor = 1, high_freq_factor = 4;
  int64_t original_max_positions = 8192;
};

struct ModelConfig {
  std::string model_type;
  int64_t vocab_size = 0, width = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, mlp_width = 0, max_positions = 0;
  double norm_eps = 1e-5;
  std::string activation;
  bool tied_head = false, attention_bias = false, mlp_bias = false;
  double rope_theta = 10000;
  RopeScaling rope;
  double attention_scale = 0;        // multiplies q·k
  std::optional<int64_t> bos_id, eos_id;
  Json raw;                          // the file as it was, to be written back beside changed weights
};

// Typed access to config.json with errors that name the file's key, its value and what is allowed (Fault::Input).
class ConfigReader {
 public:
  ConfigReader(const Json& json, std::string source) : json_(json), source_(std::move(source)) {}
  bool has(const char* key) const { return json_.contains(key) && !json_.at(key).is_null(); }
  int64_t size(const char* key) const;                              // required, 1 or more
  int64_t size(const char* key, int64_t fallback) const;
  double number(const char* key, double fallback) const;
  bool flag(const char* key, bool fallback) const;
  std::string text(const char* key, const std::string& fallback) const;
  // The option must have this value (or be absent); anything else is an error that names it.
  void must_be(const char* key, const Json& value) const;
  const Json& json() const { return json_; }
  [[noreturn]] void refuse(const std::string& key, const std::string& must) const;

 private:
  const Json& json_;
  std::string source_;
};

// rope_theta, rope_scaling (old style) or rope_parameters (new style).
void read_rope(const ConfigReader& reader, ModelConfig& config);

}  // namespace graft
