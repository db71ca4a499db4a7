// A model's shape and options, read from Hugging Face's config.json. What differs between families is data in here and in
// the names of the weights (model/family.h); one block (model/block.cpp) runs them all.
#pragma once
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/json.h"

namespace graft {

// Rotary positions. How frequencies are stretched, by transformers' names: "default", "linear", "dynamic" (by the
// document's length), "llama3", "yarn", "longrope" (two sets of factors, chosen by the document's length), "proportional".
struct Rope {
  std::string kind = "default";
  double theta = 10000;
  int64_t dim = 0;  // how many dimensions of a head turn; the rest pass through
  double factor = 1, attention_factor = 1;  // the latter multiplies cos and sin
  double low_freq_factor = 1, high_freq_factor = 4;
  double beta_fast = 32, beta_slow = 1;
  bool truncate = true;
  double proportion = 1;
  int64_t original_max_positions = 0;
  std::vector<double> short_factor, long_factor;
  bool by_length() const { return kind == "dynamic" || kind == "longrope"; }  // of the whole document
};

enum class NormKind {
  Rms,         // x / rms(x) · g
  RmsPlusOne,  // x / rms(x) · (1 + g)
  Layer,       // layer norm
};
// What the norms of queries and keys run over: a head with one gain for all heads, a head with a gain of its own (stored as
// one tensor, or as a module for each head), or the whole width before it is split into heads.
enum class QkNorm { None, Head, PerHead, PerHeadModules, Width };
// Biases that grow with the key's index (arXiv 2108.12409). Rounded: as Falcon computes them, in bfloat16 and times 1/√head_dim.
enum class Alibi { None, Exact, Rounded };

// What may differ from layer to layer.
struct LayerOptions {
  int rope = 0;        // index into ModelConfig::ropes; -1: no positions in this layer
  int64_t window = 0;  // above 0: sliding window
  double scale = 1;    // multiplies q·k
};

struct ModelConfig {
  std::string model_type;
  int64_t vocab_size = 0, width = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, mlp_width = 0, max_positions = 0;

  NormKind norm = NormKind::Rms;
  double norm_eps = 1e-5;
  bool norm_gain = true, norm_bias = false;
  QkNorm qk_norm = QkNorm::None;
  bool qk_norm_bias = false;

  // The residual stream. Serial: attention, then MLP. Parallel: both read the block's input; without a second norm they share
  // the first. norm_after: the norms stand behind the sums. residual_from_norm: the sums start from the normed input.
  bool parallel = false, norm_after = false, residual_from_norm = false;
  bool own_mlp_norm = true, final_norm = true;  // whether the MLP of a parallel block has a norm of its own; one behind the blocks
  double residual_scale = 1;  // multiplies what a sub-layer adds

  bool conv1d = false;        // weights stored as [in, out]
  bool qkv_bias = false, output_bias = false, mlp_bias = false, head_bias = false, tied_head = false;
  // A fused qkv weight: 0: all queries, all keys, all values; above 0: for each of so many groups its queries, a key, a value.
  int64_t qkv_groups = 0;
  std::string activation;     // gated where the names have a gate

  std::vector<Rope> ropes;
  bool rope_interleaved = false;  // pairs are neighbours instead of halves
  int64_t position_offset = 0;    // rows in front of the learned positions' table
  Alibi alibi = Alibi::None;
  double attention_softcap = 0;
  std::vector<LayerOptions> layer;

  int64_t embedding_width = 0;    // differs from width where projections stand between
  double token_scale = 1;         // multiplies token embeddings
  double input_scale = 1;         // multiplies all input rows, virtual tokens too
  double logit_scale = 1, logit_softcap = 0;

  std::optional<int64_t> bos_id, eos_id;
  Json raw;                       // the file as it was, to be written back beside changed weights
};

// What is allocated for each layer or head before any weight is looked at is bounded.
inline constexpr int64_t kMostLayers = 4096, kMostHeads = 65536;

// Typed access to config.json with errors that name the file's key, its value and what is allowed (Fault::Input). It
// remembers which keys were asked for: an option that a family does not know is not ignored, see refuse_unread.
class ConfigReader {
 public:
  ConfigReader(const Json& json, std::string source) : json_(json), source_(std::move(source)) {}
  bool has(const char* key) const { return present(key) && !json_.at(key).is_null(); }  // null counts as absent
  int64_t size(const char* key) const;                                                  // required, 1 or more
  int64_t size(const char* key, int64_t fallback) const;
  // Absent: fallback; null: 0.
  int64_t size_or_null(const char* key, int64_t fallback) const;
  // The first of several names that is there; the last one is required.
  int64_t size_of(std::initializer_list<const char*> keys, int64_t largest = int64_t{1} << 31) const;
  double number(const char* key, double fallback) const;
  double positive(const char* key, double fallback) const;
  bool flag(const char* key, bool fallback) const;
  std::string text(const char* key, const std::string& fallback) const;
  std::string activation(const char* key, const std::string& fallback) const;
  std::vector<double> numbers(const char* key, int64_t count) const;  // required list of this length
  // The option must have this value (or be absent); anything else is an error that names it.
  void must_be(const char* key, const Json& value) const;
  // Options that change the maths of some family, are set here and were not asked for: an error.
  void refuse_unread(const std::string& model_type) const;
  const Json& json() const { return json_; }
  const std::string& source() const { return source_; }
  [[noreturn]] void refuse(const std::string& key, const std::string& must) const;

 private:
  bool present(const char* key) const {
    asked_.insert(key);
    return json_.contains(key);
  }
  const Json& json_;
  std::string source_;
  mutable std::set<std::string> asked_;
};

// What families with the usual keys (hidden_size, num_attention_heads, ...) do not share: keys and transformers' defaults.
struct UsualKeys {
  const char* eps = "rms_norm_eps";     // nullptr: no option
  double eps_default = 1e-6;
  const char* activation = "hidden_act";
  const char* activation_default = "silu";
  const char* mlp_width = "intermediate_size";
  int64_t kv_heads = 0, head_dim = 0;  // defaults; 0: as many as heads, width / heads
  bool own_kv_heads = true, own_head_dim = true;  // false: fixed to these
  int64_t max_positions = 2048;
  bool tied = false;
  const char* theta = "rope_theta";
  double theta_default = 10000;
  const char* rotary = nullptr;  // key of the rotated part of a head; nullptr: all of it, no option
  double rotary_default = 1;
  bool rope = true;
  int64_t original_positions = 0;  // original_max_position_embeddings; 0: what the rotary options say
};
ModelConfig read_usual(const ConfigReader& reader, const UsualKeys& keys);

// The block of rotary options: null, rope_scaling (old style) or rope_parameters (new style). Needs head_dim and max_positions.
Rope read_rope(const ConfigReader& reader, const ModelConfig& config, const Json& block, const std::string& name, const UsualKeys& keys);
// rope_scaling or rope_parameters of the file, whichever is there.
const Json& rope_block(const ConfigReader& reader, std::string& name);

// Gives a window to the layers that layer_types calls "sliding_attention"; without that list, to those of `by_default`.
void read_windows(const ConfigReader& reader, ModelConfig& config, int64_t window, const std::function<bool(int64_t layer)>& by_default);

}  // namespace graft
