// OLMo 2 (arXiv 2501.00656): Llama's block with RMS norms behind the sub-layers only, and on all queries and keys at once.
#include "model/family.h"

namespace graft {
namespace olmo2 {

ModelConfig config(const ConfigReader& r) {
  ModelConfig c = read_usual(r, {.eps_default = 1e-5});
  c.qkv_bias = c.output_bias = r.flag("attention_bias", false);
  c.qk_norm = QkNorm::Width;
  return c;
}

Names names(const ModelConfig&) {
  Names n = usual_names();
  n.norm1 = n.norm2 = "";
  n.post_norm1 = "post_attention_layernorm";
  n.post_norm2 = "post_feedforward_layernorm";
  n.q_norm = "self_attn.q_norm";
  n.k_norm = "self_attn.k_norm";
  return n;
}

}  // namespace olmo2

extern const FamilyRow kOlmo2;
const FamilyRow kOlmo2{
    .model_type = "olmo2",
    .architecture = "Olmo2ForCausalLM",
    .title = "OLMo 2",
    .config = olmo2::config,
    .names = olmo2::names,
    .targets = {.low_rank = {"q_proj", "v_proj"},
                .scaling = {"k_proj", "v_proj", "down_proj"},
                .feed_forward = {"down_proj"},
                .norms = {"post_attention_layernorm", "post_feedforward_layernorm", "norm"}},
    .gguf_architecture = "olmo2",
};

}  // namespace graft
