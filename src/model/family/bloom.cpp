// BLOOM (arXiv 2211.05100): layer norms, one of them behind the embeddings, ALiBi instead of positions, one weight for
// queries, keys and values, interleaved by head.
#include <cmath>

#include "model/family.h"

namespace graft {
namespace bloom {

ModelConfig config(const ConfigReader& r) {
  ModelConfig c;
  c.model_type = "bloom";
  c.vocab_size = r.size("vocab_size");
  c.width = c.embedding_width = r.size_of({"n_embed", "hidden_size"});
  c.layers = r.size_of({"num_hidden_layers", "n_layer"}, kMostLayers);
  c.heads = c.kv_heads = c.qkv_groups = r.size_of({"num_attention_heads", "n_head"}, kMostHeads);
  if (c.width % c.heads != 0) r.refuse("n_head", "a divisor of hidden_size");
  c.head_dim = c.width / c.heads;
  c.mlp_width = 4 * c.width;
  c.max_positions = r.size("seq_length", 2048);  // what it was trained with; there is no limit
  c.norm = NormKind::Layer;
  c.norm_eps = r.positive("layer_norm_epsilon", 1e-5);
  c.activation = "gelu_new";
  c.tied_head = r.flag("tie_word_embeddings", true);
  c.norm_bias = c.qkv_bias = c.output_bias = c.mlp_bias = true;
  c.residual_from_norm = r.flag("apply_residual_connection_post_layernorm", false);
  c.alibi = Alibi::Exact;
  c.layer.assign(static_cast<size_t>(c.layers), LayerOptions{-1, 0, 1 / std::sqrt(static_cast<double>(c.head_dim))});
  return c;
}

Names names(const ModelConfig&) {
  Names n;
  n.tokens = "transformer.word_embeddings";
  n.embed_norm = "transformer.word_embeddings_layernorm";
  n.layers = "transformer.h.";
  n.final_norm = "transformer.ln_f";
  n.norm1 = "input_layernorm";
  n.norm2 = "post_attention_layernorm";
  n.qkv = "self_attention.query_key_value";
  n.o = "self_attention.dense";
  n.up = "mlp.dense_h_to_4h";
  n.down = "mlp.dense_4h_to_h";
  return n;
}

}  // namespace bloom

extern const FamilyRow kBloom;
const FamilyRow kBloom{
    .model_type = "bloom",
    .architecture = "BloomForCausalLM",
    .title = "BLOOM",
    .config = bloom::config,
    .names = bloom::names,
    .targets = {.low_rank = {"query_key_value"},
                .scaling = {"query_key_value", "mlp.dense_4h_to_h"},
                .feed_forward = {"mlp.dense_4h_to_h"},
                .norms = {"input_layernorm", "post_attention_layernorm", "ln_f"}},
};

}  // namespace graft
