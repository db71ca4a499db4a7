// Gemma 2 (arXiv 2408.00118): Gemma with norms before and behind each sub-layer, soft caps on scores and logits, and a window
// in every other layer.
#include <cmath>

#include "model/family.h"

namespace graft {
namespace gemma2 {

ModelConfig config(const ConfigReader& r) {
  ModelConfig c = read_usual(r, {.activation = "hidden_activation", .activation_default = "gelu_pytorch_tanh", .kv_heads = 4, .head_dim = 256,
                                 .max_positions = 8192, .tied = true});
  r.must_be("hidden_act", c.activation);
  r.must_be("use_bidirectional_attention", false);
  c.norm = NormKind::RmsPlusOne;
  c.qkv_bias = c.output_bias = r.flag("attention_bias", false);
  c.token_scale = std::sqrt(static_cast<double>(c.width));
  const auto cap = [&](const char* key, double fallback) { return r.json().contains(key) && !r.has(key) ? 0.0 : r.positive(key, fallback); };
  c.attention_softcap = cap("attn_logit_softcapping", 50);
  c.logit_softcap = cap("final_logit_softcapping", 30);
  const double scale = 1 / std::sqrt(r.positive("query_pre_attn_scalar", 256));
  for (auto& layer : c.layer) layer.scale = scale;
  read_windows(r, c, r.size_or_null("sliding_window", 4096), [](int64_t i) { return i % 2 == 0; });
  return c;
}

Names names(const ModelConfig&) {
  Names n = usual_names();
  n.post_norm1 = "post_attention_layernorm";
  n.norm2 = "pre_feedforward_layernorm";
  n.post_norm2 = "post_feedforward_layernorm";
  return n;
}

}  // namespace gemma2

extern const FamilyRow kGemma2;
const FamilyRow kGemma2{
    .model_type = "gemma2",
    .architecture = "Gemma2ForCausalLM",
    .title = "Gemma 2",
    .config = gemma2::config,
    .names = gemma2::names,
    .targets = {.low_rank = {"q_proj", "v_proj"},
                .scaling = {"q_proj", "v_proj", "down_proj"},
                .feed_forward = {"down_proj"},
                .norms = {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm", "norm"}},
    .gguf_architecture = "gemma2",
};

}  // namespace graft
