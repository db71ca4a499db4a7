// Granite 3: Llama's block with multipliers on embeddings, scores, residual sums and logits.
#include "model/family.h"

namespace graft {
namespace granite {

ModelConfig config(const ConfigReader& r) {
  ModelConfig c = read_usual(r, {});
  c.qkv_bias = c.output_bias = r.flag("attention_bias", false);
  c.mlp_bias = r.flag("mlp_bias", false);
  c.input_scale = r.number("embedding_multiplier", 1);
  c.residual_scale = r.number("residual_multiplier", 1);
  c.logit_scale = 1 / r.positive("logits_scaling", 1);
  const double scale = r.number("attention_multiplier", 1);
  for (auto& layer : c.layer) layer.scale = scale;
  return c;
}

Names names(const ModelConfig&) { return usual_names(); }

}  // namespace granite

extern const FamilyRow kGranite;
const FamilyRow kGranite{
    .model_type = "granite",
    .architecture = "GraniteForCausalLM",
    .title = "Granite 3 (dense)",
    .config = granite::config,
    .names = granite::names,
    .targets = {.low_rank = {"q_proj", "v_proj"},
                .scaling = {"k_proj", "v_proj", "down_proj"},
                .feed_forward = {"down_proj"},
                .norms = {"input_layernorm", "post_attention_layernorm", "norm"}},
    .gguf_architecture = "granite",
    .gguf_permutes_qk = true,
};

}  // namespace graft
