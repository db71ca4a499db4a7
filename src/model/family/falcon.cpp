// Falcon (arXiv 2311.16867): a parallel block with one norm (7B) or two (40B and 180B), one weight for queries, keys and
// values in three layouts, rotary positions or ALiBi, serial blocks in the first small models.
#include "model/family.h"

namespace graft {
namespace falcon {

ModelConfig config(const ConfigReader& source) {
  Json json = source.json();  // with the usual keys where the family has its own or old ones
  const bool grouped = source.flag("new_decoder_architecture", false), multi_query = source.flag("multi_query", true);
  const int64_t width = source.size_of({"n_embed", "hidden_size"}), heads = source.size("num_attention_heads");
  json["hidden_size"] = width;
  json["ffn_hidden_size"] = source.size("ffn_hidden_size", 4 * width);
  const ConfigReader r(json, source.source());
  const bool alibi = source.flag("alibi", false);
  ModelConfig c = read_usual(r, {.eps = "layer_norm_epsilon", .eps_default = 1e-5, .activation = "activation", .activation_default = "gelu",
                                 .mlp_width = "ffn_hidden_size", .own_kv_heads = false, .own_head_dim = false, .tied = true, .rope = !alibi});
  for (const char* key : {"rope_scaling", "rope_parameters", "head_dim", "num_key_value_heads"}) source.has(key);  // read above
  c.norm = NormKind::Layer;
  c.norm_bias = true;
  c.qkv_bias = c.output_bias = c.mlp_bias = source.flag("bias", false);
  c.parallel = source.flag("parallel_attn", true);
  if (alibi) c.alibi = Alibi::Rounded;
  source.must_be("apply_residual_connection_post_layernorm", false);
  if (grouped) {  // a key for each query head, as the reference keeps them in its cache
    c.qkv_groups = source.size("num_kv_heads", heads);
    if (heads % c.qkv_groups != 0) source.refuse("num_kv_heads", "a divisor of num_attention_heads");
    source.must_be("parallel_attn", true);
  } else if (multi_query) {
    c.kv_heads = 1;
  } else {
    c.qkv_groups = heads;
  }
  const int64_t norms = source.size("num_ln_in_parallel_attn", grouped ? 2 : 1);
  if (norms > (grouped ? 2 : 1)) source.refuse("num_ln_in_parallel_attn", grouped ? "1 or 2" : "1");
  c.own_mlp_norm = norms == 2;
  return c;
}

Names names(const ModelConfig& c) {
  Names n;
  n.tokens = "transformer.word_embeddings";
  n.layers = "transformer.h.";
  n.final_norm = "transformer.ln_f";
  n.qkv = "self_attention.query_key_value";
  n.o = "self_attention.dense";
  n.up = "mlp.dense_h_to_4h";
  n.down = "mlp.dense_4h_to_h";
  n.norm1 = "input_layernorm";
  if (!c.parallel) n.norm2 = "post_attention_layernorm";
  if (c.parallel && c.own_mlp_norm) {
    n.norm1 = "ln_attn";
    n.norm2 = "ln_mlp";
  }
  return n;
}

}  // namespace falcon

extern const FamilyRow kFalcon;
const FamilyRow kFalcon{
    .model_type = "falcon",
    .architecture = "FalconForCausalLM",
    .title = "Falcon",
    .config = falcon::config,
    .names = falcon::names,
    .targets = {.low_rank = {"query_key_value"},
                .scaling = {"query_key_value", "dense_4h_to_h"},
                .feed_forward = {"dense_4h_to_h"},
                .norms = {"input_layernorm", "post_attention_layernorm", "ln_f"}},
};

}  // namespace graft
