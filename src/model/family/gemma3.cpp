// Gemma 3, the text model (arXiv 2503.19786): Gemma 2 with norms on queries and keys instead of soft caps, five windowed
// layers to one without, and other rotary frequencies in the windowed ones.
#include <cmath>

#include "model/family.h"

namespace graft {
namespace gemma3 {

// Rotary options of the two kinds of layer: rope_parameters names them by kind; the old style has rope_theta and
// rope_scaling for the layers that see everything and rope_local_base_freq for the others.
void read_ropes(const ConfigReader& r, ModelConfig& c) {
  static const Json none = nullptr;
  UsualKeys global{.theta_default = 1000000}, local{.theta = "rope_local_base_freq", .theta_default = 10000};
  const Json& nested = r.has("rope_parameters") ? r.json().at("rope_parameters") : none;
  const auto part = [&](const char* kind) -> const Json& { return nested.is_object() && nested.contains(kind) ? nested.at(kind) : none; };
  if (!nested.is_null() && !nested.is_object()) r.refuse("rope_parameters", "a mapping");
  for (auto& [key, value] : nested.items())
    if (key != "full_attention" && key != "sliding_attention")
      r.refuse("rope_parameters", "a mapping with full_attention and sliding_attention");
  Json full = part("full_attention").is_object() ? part("full_attention") : Json::object();
  if (r.has("rope_scaling")) {
    if (!r.json().at("rope_scaling").is_object()) r.refuse("rope_scaling", "a mapping");
    full.update(r.json().at("rope_scaling"));
  }
  c.ropes.push_back(read_rope(r, c, full, "rope_parameters.full_attention", global));
  c.ropes.push_back(read_rope(r, c, part("sliding_attention"), "rope_parameters.sliding_attention", local));
}

ModelConfig config(const ConfigReader& r) {
  ModelConfig c = read_usual(r, {.activation = "hidden_activation", .activation_default = "gelu_pytorch_tanh", .kv_heads = 4, .head_dim = 256,
                                 .max_positions = 131072, .tied = true, .rope = false});
  r.must_be("hidden_act", c.activation);
  r.must_be("use_bidirectional_attention", false);
  read_ropes(r, c);
  c.norm = NormKind::RmsPlusOne;
  c.qk_norm = QkNorm::Head;
  c.qkv_bias = c.output_bias = r.flag("attention_bias", false);
  c.token_scale = std::sqrt(static_cast<double>(c.width));
  r.must_be("attn_logit_softcapping", nullptr);  // the reference has the key and does nothing with it
  if (r.has("final_logit_softcapping")) c.logit_softcap = r.positive("final_logit_softcapping", 1);
  const double scale = 1 / std::sqrt(r.positive("query_pre_attn_scalar", 256));
  const int64_t pattern = r.size("sliding_window_pattern", 6), window = r.size_or_null("sliding_window", 4096);
  const auto sliding = [&](int64_t i) { return (i + 1) % pattern != 0; };
  read_windows(r, c, window, sliding);
  for (int64_t i = 0; i < c.layers; ++i) {
    LayerOptions& layer = c.layer[static_cast<size_t>(i)];
    layer.scale = scale;
    layer.rope = layer.window ? 1 : 0;
  }
  return c;
}

Names names(const ModelConfig&) {
  Names n = usual_names();
  n.q_norm = "self_attn.q_norm";
  n.k_norm = "self_attn.k_norm";
  n.post_norm1 = "post_attention_layernorm";
  n.norm2 = "pre_feedforward_layernorm";
  n.post_norm2 = "post_feedforward_layernorm";
  return n;
}

}  // namespace gemma3

extern const FamilyRow kGemma3;
const FamilyRow kGemma3{
    .model_type = "gemma3_text",
    .architecture = "Gemma3ForCausalLM",
    .title = "Gemma 3, text",
    .config = gemma3::config,
    .names = gemma3::names,
    .targets = {.low_rank = {"q_proj", "v_proj"},
                .scaling = {"q_proj", "v_proj", "down_proj"},
                .feed_forward = {"down_proj"},
                .norms = {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm", "norm"}},
    .gguf_architecture = "gemma3",
};

}  // namespace graft
