#include "model/config.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "kernels/activation.h"

namespace graft {
namespace {
constexpr int64_t kLargest = int64_t{1} << 31;

// Keys with which some family of transformers changes its maths.
constexpr const char* kOptions[] = {
    "rope_scaling", "rope_parameters", "partial_rotary_factor", "rotary_pct", "rotary_dim", "rope_interleaved", "no_rope_layers",
    "sliding_window", "use_sliding_window", "layer_types", "attention_chunk_size", "alibi", "attn_logit_softcapping",
    "final_logit_softcapping", "query_pre_attn_scalar", "attention_multiplier", "embedding_multiplier", "residual_multiplier",
    "logits_scaling", "logit_scale", "qk_layernorm", "use_qk_norm", "qk_norm", "attention_bias", "mlp_bias", "use_bias", "bias",
    "use_qkv_bias", "enable_bias", "head_dim", "num_key_value_heads", "use_parallel_residual", "parallel_attn", "clip_qkv",
    "add_cross_attention", "quantization_config", "num_experts", "num_local_experts", "n_routed_experts", "is_encoder_decoder",
    "apply_residual_connection_post_layernorm", "scale_attn_by_inverse_layer_idx", "use_bidirectional_attention", "word_embed_proj_dim"};

}  // namespace

void ConfigReader::refuse(const std::string& key, const std::string& must) const {
  const Json value = json_.contains(key) ? json_.at(key) : Json();
  input_error("config", fmt::format("{}: {} must be {} but is {}", source_, key, must, json_line(value)));
}

int64_t ConfigReader::size(const char* key) const {
  if (!present(key)) input_error("config", fmt::format("{}: the key '{}' is missing", source_, key), "is this a Hugging Face model folder?");
  const Json& value = json_.at(key);
  if (!value.is_number_integer() || value.get<int64_t>() < 1 || value.get<int64_t>() > kLargest) refuse(key, "a positive integer");
  return value.get<int64_t>();
}
int64_t ConfigReader::size(const char* key, int64_t fallback) const { return has(key) ? size(key) : fallback; }
int64_t ConfigReader::size_or_null(const char* key, int64_t fallback) const {
  if (!present(key)) return fallback;
  return has(key) ? size(key) : 0;
}
int64_t ConfigReader::size_of(std::initializer_list<const char*> keys, int64_t largest) const {
  const char* chosen = nullptr;
  for (const char* key : keys)
    if (const bool there = has(key); there && !chosen) chosen = key;
  if (!chosen) chosen = *(keys.end() - 1);
  if (size(chosen) > largest) refuse(chosen, fmt::format("at most {}", largest));
  return size(chosen);
}

double ConfigReader::number(const char* key, double fallback) const {
  if (!has(key)) return fallback;
  if (!json_.at(key).is_number()) refuse(key, "a number");
  return json_.at(key).get<double>();
}
double ConfigReader::positive(const char* key, double fallback) const {
  const double value = number(key, fallback);
  if (!(value > 0) || !std::isfinite(value)) refuse(key, "a number above 0");
  return value;
}
bool ConfigReader::flag(const char* key, bool fallback) const {
  if (!has(key)) return fallback;
  if (!json_.at(key).is_boolean()) refuse(key, "true or false");
  return json_.at(key).get<bool>();
}
std::string ConfigReader::text(const char* key, const std::string& fallback) const {
  if (!has(key)) return fallback;
  if (!json_.at(key).is_string()) refuse(key, "text");
  return json_.at(key).get<std::string>();
}
std::string ConfigReader::activation(const char* key, const std::string& fallback) const {
  const std::string name = text(key, fallback);
  const auto& known = kernels::activation_names();
  if (std::find(known.begin(), known.end(), name) == known.end()) refuse(key, fmt::format("one of {}", fmt::join(known, ", ")));
  return name;
}
std::vector<double> ConfigReader::numbers(const char* key, int64_t count) const {
  std::vector<double> values;
  if (has(key) && json_.at(key).is_array())
    for (auto& item : json_.at(key))
      if (item.is_number()) values.push_back(item.get<double>());
  if (static_cast<int64_t>(values.size()) != count || !json_.at(key).is_array() || json_.at(key).size() != values.size())
    refuse(key, fmt::format("a list of {} numbers", count));
  return values;
}
void ConfigReader::must_be(const char* key, const Json& value) const {
  if (has(key) && json_.at(key) != value) refuse(key, json_line(value) + " (other values are not supported)");
}
void ConfigReader::refuse_unread(const std::string& model_type) const {
  for (const char* key : kOptions) {
    if (asked_.count(key) || !json_.contains(key)) continue;
    const Json& value = json_.at(key);
    if (value.is_null() || value == false || value == Json::object() || value == Json::array()) continue;
    input_error("config", fmt::format("{}: {} = {} is not an option of the family {}", source_, key, json_line(value), model_type),
                "nothing that changes the results is ignored; remove the key if it does not apply");
  }
}

ModelConfig read_usual(const ConfigReader& r, const UsualKeys& keys) {
  ModelConfig c;
  c.model_type = r.text("model_type", "");
  c.vocab_size = r.size("vocab_size");
  c.width = c.embedding_width = r.size("hidden_size");
  c.layers = r.size_of({"num_hidden_layers"}, kMostLayers);
  c.heads = r.size_of({"num_attention_heads"}, kMostHeads);
  c.kv_heads = keys.kv_heads ? keys.kv_heads : c.heads;
  if (keys.own_kv_heads) c.kv_heads = r.size("num_key_value_heads", c.kv_heads);
  else r.must_be("num_key_value_heads", c.heads);
  const bool dim_given = keys.own_head_dim && (keys.head_dim || r.has("head_dim"));
  if (!dim_given && c.width % c.heads != 0) r.refuse("hidden_size", "a multiple of num_attention_heads");
  c.head_dim = keys.head_dim ? keys.head_dim : c.width / c.heads;
  if (keys.own_head_dim) c.head_dim = r.size("head_dim", c.head_dim);
  else r.must_be("head_dim", c.head_dim);
  if (c.heads % c.kv_heads != 0) r.refuse("num_key_value_heads", "a divisor of num_attention_heads");
  c.mlp_width = r.size(keys.mlp_width);
  c.max_positions = r.size("max_position_embeddings", keys.max_positions);
  c.norm_eps = keys.eps ? r.positive(keys.eps, keys.eps_default) : keys.eps_default;
  c.activation = r.activation(keys.activation, keys.activation_default);
  c.tied_head = r.flag("tie_word_embeddings", keys.tied);
  if (keys.rope) {
    std::string name;
    const Json& block = rope_block(r, name);
    c.ropes.push_back(read_rope(r, c, block, name, keys));
  }
  c.layer.assign(static_cast<size_t>(c.layers), LayerOptions{keys.rope ? 0 : -1, 0, 1 / std::sqrt(static_cast<double>(c.head_dim))});
  return c;
}

void read_windows(const ConfigReader& r, ModelConfig& c, int64_t window, const std::function<bool(int64_t)>& by_default) {
  const bool listed = r.has("layer_types");
  if (listed && (!r.json()["layer_types"].is_array() || static_cast<int64_t>(r.json()["layer_types"].size()) != c.layers))
    r.refuse("layer_types", fmt::format("a list with an entry for each of {} layers", c.layers));
  for (int64_t i = 0; i < c.layers; ++i) {
    bool sliding = by_default(i);
    if (listed) {
      const Json& kind = r.json()["layer_types"][static_cast<size_t>(i)];
      if (kind != "full_attention" && kind != "sliding_attention") r.refuse("layer_types", "a list of \"full_attention\" and \"sliding_attention\"");
      sliding = kind == "sliding_attention";
    }
    if (sliding && !window) r.refuse("sliding_window", "set, since there are layers with a window");
    if (sliding) c.layer[static_cast<size_t>(i)].window = window;
  }
}

}  // namespace graft
