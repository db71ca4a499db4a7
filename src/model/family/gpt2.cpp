// GPT-2 (Radford et al., 2019): layer norms before the sub-layers, learned positions, one stored weight for queries, keys and
// values (Conv1D, [in, out]), tanh-approximated GELU.
#include <cmath>

#include "model/family.h"

namespace graft {
namespace gpt2 {

ModelConfig config(const ConfigReader& r) {
  ModelConfig c;
  c.model_type = "gpt2";
  c.vocab_size = r.size("vocab_size");
  c.width = c.embedding_width = r.size_of({"hidden_size", "n_embd"});
  c.layers = r.size_of({"num_hidden_layers", "n_layer"}, kMostLayers);
  c.heads = c.kv_heads = r.size_of({"num_attention_heads", "n_head"}, kMostHeads);
  if (c.width % c.heads != 0) r.refuse("n_embd", "a multiple of n_head");
  c.head_dim = c.width / c.heads;
  c.mlp_width = r.size("n_inner", 4 * c.width);
  c.max_positions = r.size("max_position_embeddings", r.size("n_positions", 1024));
  c.norm = NormKind::Layer;
  c.norm_eps = r.positive("layer_norm_epsilon", 1e-5);
  c.activation = r.activation("activation_function", "gelu_new");
  c.tied_head = r.flag("tie_word_embeddings", true);
  c.norm_bias = c.qkv_bias = c.output_bias = c.mlp_bias = c.conv1d = true;
  r.must_be("add_cross_attention", false);
  const double scale = r.flag("scale_attn_weights", true) ? 1 / std::sqrt(static_cast<double>(c.head_dim)) : 1;
  const bool by_layer = r.flag("scale_attn_by_inverse_layer_idx", false);
  for (int64_t i = 0; i < c.layers; ++i) c.layer.push_back({-1, 0, by_layer ? scale / static_cast<double>(i + 1) : scale});
  return c;
}

Names names(const ModelConfig&) {
  Names n;
  n.tokens = "transformer.wte";
  n.positions = "transformer.wpe";
  n.layers = "transformer.h.";
  n.final_norm = "transformer.ln_f";
  n.norm1 = "ln_1";
  n.norm2 = "ln_2";
  n.qkv = "attn.c_attn";
  n.o = "attn.c_proj";
  n.up = "mlp.c_fc";
  n.down = "mlp.c_proj";
  return n;
}

}  // namespace gpt2

extern const FamilyRow kGpt2;
const FamilyRow kGpt2{
    .model_type = "gpt2",
    .architecture = "GPT2LMHeadModel",
    .title = "GPT-2",
    .config = gpt2::config,
    .names = gpt2::names,
    .targets = {.low_rank = {"c_attn"},
                .scaling = {"c_attn", "mlp.c_proj"},
                .feed_forward = {"mlp.c_proj"},
                .norms = {"ln_1", "ln_2", "ln_f"}},
    .gguf_architecture = "gpt2",
};

}  // namespace graft
