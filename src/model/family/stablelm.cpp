// StableLM (arXiv 2402.17834): Llama's block with layer norms and partly rotated heads; on request a parallel block with one
// norm, and a norm for each query and key head.
#include "model/family.h"

namespace graft {
namespace stablelm {

ModelConfig config(const ConfigReader& r) {
  ModelConfig c = read_usual(r, {.eps = "layer_norm_eps", .eps_default = 1e-5, .own_head_dim = false, .max_positions = 4096,
                                 .rotary = "partial_rotary_factor", .rotary_default = 0.25});
  c.norm = NormKind::Layer;
  c.norm_bias = true;
  c.qkv_bias = r.flag("use_qkv_bias", false);
  c.parallel = r.flag("use_parallel_residual", false);
  if (r.flag("qk_layernorm", false)) c.qk_norm = QkNorm::PerHeadModules;
  return c;
}

Names names(const ModelConfig& c) {
  Names n = usual_names();
  if (c.parallel) n.norm2 = "";
  if (c.qk_norm != QkNorm::None) {
    n.q_norm = "self_attn.q_layernorm";
    n.k_norm = "self_attn.k_layernorm";
  }
  return n;
}

}  // namespace stablelm

extern const FamilyRow kStableLm;
const FamilyRow kStableLm{
    .model_type = "stablelm",
    .architecture = "StableLmForCausalLM",
    .title = "StableLM",
    .config = stablelm::config,
    .names = stablelm::names,
    .targets = {.low_rank = {"q_proj", "v_proj"},
                .scaling = {"k_proj", "v_proj", "down_proj"},
                .feed_forward = {"down_proj"},
                .norms = {"input_layernorm", "post_attention_layernorm", "norm"}},
    .gguf_architecture = "stablelm",
};

}  // namespace graft
