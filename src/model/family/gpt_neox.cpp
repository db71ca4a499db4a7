// GPT-NeoX and Pythia (arXiv 2204.06745, 2304.01373): a parallel block with two layer norms, partly rotated heads, one weight
// for queries, keys and values, interleaved by head.
#include "model/family.h"

namespace graft {
namespace gpt_neox {

ModelConfig config(const ConfigReader& r) {
  ModelConfig c = read_usual(r, {.eps = "layer_norm_eps", .eps_default = 1e-5, .activation_default = "gelu", .own_kv_heads = false,
                                 .own_head_dim = false, .theta = "rotary_emb_base", .rotary = "rotary_pct", .rotary_default = 0.25});
  c.norm = NormKind::Layer;
  c.norm_bias = c.mlp_bias = true;
  c.qkv_bias = c.output_bias = r.flag("attention_bias", true);
  c.qkv_groups = c.heads;
  c.parallel = r.flag("use_parallel_residual", true);
  return c;
}

Names names(const ModelConfig&) {
  Names n;
  n.tokens = "gpt_neox.embed_in";
  n.layers = "gpt_neox.layers.";
  n.final_norm = "gpt_neox.final_layer_norm";
  n.head_in_file = "embed_out";
  n.norm1 = "input_layernorm";
  n.norm2 = "post_attention_layernorm";
  n.qkv = "attention.query_key_value";
  n.o = "attention.dense";
  n.up = "mlp.dense_h_to_4h";
  n.down = "mlp.dense_4h_to_h";
  return n;
}

}  // namespace gpt_neox

extern const FamilyRow kGptNeoX;
const FamilyRow kGptNeoX{
    .model_type = "gpt_neox",
    .architecture = "GPTNeoXForCausalLM",
    .title = "GPT-NeoX and Pythia",
    .config = gpt_neox::config,
    .names = gpt_neox::names,
    .targets = {.low_rank = {"query_key_value"},
                .scaling = {"query_key_value", "dense_4h_to_h"},
                .feed_forward = {"dense_4h_to_h"},
                .norms = {"input_layernorm", "post_attention_layernorm", "final_layer_norm"}},
};

}  // namespace graft
