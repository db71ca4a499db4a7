// The table of weights: from a family's names and a config's flags to every stored tensor with its shape.
#include "model/family.h"

namespace graft {
namespace {

using Shape = std::vector<int64_t>;

class WeightTable {
 public:
  WeightTable(Model& model, const WeightVisitor& visit) : model_(model), c_(model.config), names_(model.family->names(model.config)), visit_(visit) {}

  void run() {
    embedding(model_.tokens, names_.tokens, {c_.vocab_size, c_.embedding_width});
    embedding(model_.positions, names_.positions, {c_.max_positions + c_.position_offset, c_.width});
    norm(model_.embed_norm, names_.embed_norm, {c_.width}, c_.norm_bias);
    linear(model_.project_in, names_.project_in, c_.width, c_.embedding_width, false);
    linear(model_.project_out, names_.project_out, c_.embedding_width, c_.width, false);
    for (int64_t i = 0; i < c_.layers; ++i) block(model_.blocks[static_cast<size_t>(i)], names_.layers + std::to_string(i));
    norm(model_.final_norm, names_.final_norm, {c_.width}, c_.norm_bias);
    model_.head.path = names_.head;
    const std::string head = names_.head_in_file.empty() ? names_.head : names_.head_in_file;
    if (!c_.tied_head) visit_(head + ".weight", model_.head.weight, {c_.vocab_size, c_.embedding_width}, false);
    if (c_.head_bias) visit_(head + ".bias", model_.head.bias, {c_.vocab_size}, false);
  }

 private:
  void block(Block& b, const std::string& path) {
    b.path = path;
    const auto at = [&](const std::string& name) { return name.empty() ? name : path + "." + name; };
    const int64_t q = c_.heads * c_.head_dim, kv = c_.kv_heads * c_.head_dim;
    const int64_t qkv = c_.qkv_groups ? q + 2 * c_.qkv_groups * c_.head_dim : q + 2 * kv;
    norm(b.norm1, at(names_.norm1), {c_.width}, c_.norm_bias);
    linear(b.q, at(names_.q), q, c_.width, c_.qkv_bias);
    linear(b.k, at(names_.k), kv, c_.width, c_.qkv_bias);
    linear(b.v, at(names_.v), kv, c_.width, c_.qkv_bias);
    linear(b.qkv, at(names_.qkv), qkv, c_.width, c_.qkv_bias);
    head_norms(b.q_norms, at(names_.q_norm), c_.heads);
    head_norms(b.k_norms, at(names_.k_norm), c_.kv_heads);
    linear(b.o, at(names_.o), c_.width, q, c_.output_bias);
    norm(b.post_norm1, at(names_.post_norm1), {c_.width}, c_.norm_bias);
    norm(b.norm2, at(names_.norm2), {c_.width}, c_.norm_bias);
    linear(b.gate, at(names_.gate), c_.mlp_width, c_.width, c_.mlp_bias);
    linear(b.up, at(names_.up), c_.mlp_width, c_.width, c_.mlp_bias);
    linear(b.gate_up, at(names_.gate_up), 2 * c_.mlp_width, c_.width, c_.mlp_bias);
    linear(b.down, at(names_.down), c_.width, c_.mlp_width, c_.mlp_bias);
    norm(b.post_norm2, at(names_.post_norm2), {c_.width}, c_.norm_bias);
  }

  void embedding(Embedding& e, const std::string& path, const Shape& shape) {
    e.path = path;
    if (!path.empty()) visit_(path + ".weight", e.weight, shape, false);
  }
  void linear(Linear& l, const std::string& path, int64_t out, int64_t in, bool bias) {
    l.path = path;
    l.conv1d = c_.conv1d;
    if (path.empty()) return;
    visit_(path + ".weight", l.weight, c_.conv1d ? Shape{in, out} : Shape{out, in}, c_.conv1d);
    if (bias) visit_(path + ".bias", l.bias, {out}, false);
  }
  void norm(Norm& n, const std::string& path, const Shape& shape, bool bias) {
    n.path = path;
    n.gain = c_.norm_gain;
    if (path.empty() || !n.gain) return;
    visit_(path + ".weight", n.weight, shape, false);
    if (bias) visit_(path + ".bias", n.bias, shape, false);
  }
  void head_norms(std::vector<Norm>& norms, const std::string& path, int64_t heads) {
    if (c_.qk_norm == QkNorm::None) return;
    const bool modules = c_.qk_norm == QkNorm::PerHeadModules;
    norms.resize(static_cast<size_t>(modules ? heads : 1));
    const Shape shape = c_.qk_norm == QkNorm::Width     ? Shape{heads * c_.head_dim}
                        : c_.qk_norm == QkNorm::PerHead ? Shape{heads, c_.head_dim}
                                                        : Shape{c_.head_dim};
    for (size_t i = 0; i < norms.size(); ++i) norm(norms[i], modules ? path + ".norms." + std::to_string(i) : path, shape, c_.qk_norm_bias);
  }

  Model& model_;
  const ModelConfig& c_;
  const Names names_;
  const WeightVisitor& visit_;
};

}  // namespace

Names usual_names() {
  Names n;
  n.tokens = "model.embed_tokens";
  n.layers = "model.layers.";
  n.final_norm = "model.norm";
  n.norm1 = "input_layernorm";
  n.norm2 = "post_attention_layernorm";
  n.q = "self_attn.q_proj";
  n.k = "self_attn.k_proj";
  n.v = "self_attn.v_proj";
  n.o = "self_attn.o_proj";
  n.gate = "mlp.gate_proj";
  n.up = "mlp.up_proj";
  n.down = "mlp.down_proj";
  return n;
}

void visit_weights(Model& model, const WeightVisitor& visit) { WeightTable(model, visit).run(); }

}  // namespace graft
