// OPT (arXiv 2205.01068): layer norms before the sub-layers (behind them in the 350M model, whose embeddings are also narrower
// than its blocks), learned positions from row 2 of their table on, ReLU.
#include "model/family.h"

namespace graft {
namespace opt {

ModelConfig config(const ConfigReader& r) {
  ModelConfig c = read_usual(r, {.eps = nullptr, .eps_default = 1e-5, .activation = "activation_function", .activation_default = "relu",
                                 .mlp_width = "ffn_dim", .own_kv_heads = false, .own_head_dim = false, .tied = true, .rope = false});
  c.norm = NormKind::Layer;
  c.norm_gain = c.norm_bias = r.flag("layer_norm_elementwise_affine", true);
  c.qkv_bias = c.output_bias = c.mlp_bias = r.flag("enable_bias", true);
  c.norm_after = !r.flag("do_layer_norm_before", true);
  c.final_norm = !c.norm_after && !r.flag("_remove_final_layer_norm", false);
  c.embedding_width = r.size("word_embed_proj_dim", c.width);
  c.position_offset = 2;
  return c;
}

Names names(const ModelConfig& c) {
  Names n = usual_names();
  n.tokens = "model.decoder.embed_tokens";
  n.positions = "model.decoder.embed_positions";
  n.layers = "model.decoder.layers.";
  n.final_norm = c.final_norm ? "model.decoder.final_layer_norm" : "";
  if (c.embedding_width != c.width) {
    n.project_in = "model.decoder.project_in";
    n.project_out = "model.decoder.project_out";
  }
  n.norm1 = "self_attn_layer_norm";
  n.norm2 = "final_layer_norm";
  n.o = "self_attn.out_proj";
  n.gate = "";
  n.up = "fc1";
  n.down = "fc2";
  return n;
}

}  // namespace opt

extern const FamilyRow kOpt;
const FamilyRow kOpt{
    .model_type = "opt",
    .architecture = "OPTForCausalLM",
    .title = "OPT",
    .config = opt::config,
    .names = opt::names,
    .targets = {.low_rank = {"q_proj", "v_proj"},
                .scaling = {"q_proj", "k_proj", "fc2"},
                .feed_forward = {"fc2"},
                .norms = {"self_attn_layer_norm", "final_layer_norm"}},
    .registered = {Site::K, Site::V, Site::Q, Site::O},
};

}  // namespace graft
