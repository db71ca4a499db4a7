// Phi-1, 1.5 and 2 (arXiv 2309.05463): one layer norm for a parallel block, partly rotated heads, biases everywhere, on the
// head too.
#include "model/family.h"

namespace graft {
namespace phi {

ModelConfig config(const ConfigReader& r) {
  ModelConfig c = read_usual(r, {.eps = "layer_norm_eps", .eps_default = 1e-5, .activation_default = "gelu_new", .own_head_dim = false,
                                 .rotary = "partial_rotary_factor", .rotary_default = 0.5});
  c.norm = NormKind::Layer;
  c.norm_bias = true;
  c.parallel = true;
  c.qkv_bias = c.output_bias = c.mlp_bias = c.head_bias = true;
  if (r.flag("qk_layernorm", false)) c.qk_norm = QkNorm::Head;
  c.qk_norm_bias = true;
  return c;
}

Names names(const ModelConfig& c) {
  Names n = usual_names();
  n.final_norm = "model.final_layernorm";
  n.norm2 = n.gate = "";
  n.o = "self_attn.dense";
  n.up = "mlp.fc1";
  n.down = "mlp.fc2";
  if (c.qk_norm != QkNorm::None) {
    n.q_norm = "self_attn.q_layernorm";
    n.k_norm = "self_attn.k_layernorm";
  }
  return n;
}

}  // namespace phi

extern const FamilyRow kPhi;
const FamilyRow kPhi{
    .model_type = "phi",
    .architecture = "PhiForCausalLM",
    .title = "Phi-1, 1.5 and 2",
    .config = phi::config,
    .names = phi::names,
    .targets = {.low_rank = {"q_proj", "v_proj", "fc1", "fc2"},
                .scaling = {"q_proj", "v_proj", "fc2"},
                .feed_forward = {"fc2"},
                .norms = {"input_layernorm", "final_layernorm"}},
};

}  // namespace graft
