// Command R: a parallel block with one layer norm without bias, rotary positions on neighbouring pairs, a scale on the logits;
// on request norms of queries and keys with a gain for each head.
#include "model/family.h"

namespace graft {
namespace cohere {

ModelConfig config(const ConfigReader& r) {
  ModelConfig c = read_usual(r, {.eps = "layer_norm_eps", .eps_default = 1e-5, .max_positions = 8192, .tied = true, .theta_default = 500000});
  c.norm = NormKind::Layer;
  c.parallel = true;
  c.rope_interleaved = true;
  c.qkv_bias = c.output_bias = r.flag("attention_bias", false);
  c.logit_scale = r.number("logit_scale", 0.0625);
  if (r.flag("use_qk_norm", false)) c.qk_norm = QkNorm::PerHead;
  return c;
}

Names names(const ModelConfig& c) {
  Names n = usual_names();
  n.norm2 = "";
  if (c.qk_norm != QkNorm::None) {
    n.q_norm = "self_attn.q_norm";
    n.k_norm = "self_attn.k_norm";
  }
  return n;
}

}  // namespace cohere

extern const FamilyRow kCohere;
const FamilyRow kCohere{
    .model_type = "cohere",
    .architecture = "CohereForCausalLM",
    .title = "Cohere Command R",
    .config = cohere::config,
    .names = cohere::names,
    .targets = {.low_rank = {"q_proj", "v_proj"},
                .scaling = {"k_proj", "v_proj", "down_proj"},
                .feed_forward = {"down_proj"},
                .norms = {"input_layernorm", "norm"}},
    .gguf_architecture = "command-r",
};

}  // namespace graft
