// StarCoder 2 (arXiv 2402.19173): grouped-query attention with a window, layer norms, a plain MLP, biases.
#include "model/family.h"

namespace graft {
namespace starcoder2 {

ModelConfig config(const ConfigReader& r) {
  ModelConfig c = read_usual(r, {.eps = "norm_epsilon", .eps_default = 1e-5, .activation_default = "gelu_pytorch_tanh", .kv_heads = 2,
                                 .max_positions = 4096, .tied = true});
  c.norm = NormKind::Layer;
  c.norm_bias = true;
  c.qkv_bias = c.output_bias = c.mlp_bias = r.flag("use_bias", true);
  const int64_t window = r.size_or_null("sliding_window", 0);
  for (auto& layer : c.layer) layer.window = window;
  return c;
}

Names names(const ModelConfig&) {
  Names n = usual_names();
  n.gate = "";
  n.up = "mlp.c_fc";
  n.down = "mlp.c_proj";
  return n;
}

}  // namespace starcoder2

extern const FamilyRow kStarcoder2;
const FamilyRow kStarcoder2{
    .model_type = "starcoder2",
    .architecture = "Starcoder2ForCausalLM",
    .title = "StarCoder 2",
    .config = starcoder2::config,
    .names = starcoder2::names,
    .targets = {.low_rank = {"q_proj", "v_proj"},
                .scaling = {"k_proj", "v_proj", "c_proj"},
                .feed_forward = {"c_proj"},
                .norms = {"input_layernorm", "post_attention_layernorm", "norm"}},
    .gguf_architecture = "starcoder2",
};

}  // namespace graft
