// GPT-2 (Radford et al., 2019): layer norms before the sub-layers, learned positions, one stored weight for q, k and v
// (Conv1D, [in, out]), tanh-approximated GELU.
//   x += O · attention(Qkv n),        n = norm1(x)
//   x += Down · gelu(Up m),            m = norm2(x)
#include <cmath>

#include "core/check.h"
#include "core/torch.h"
#include "kernels/activation.h"
#include "kernels/norm.h"
#include "model/attention.h"
#include "model/family.h"

namespace graft {
namespace gpt2 {

ModelConfig config(const ConfigReader& r) {
  ModelConfig c;
  c.model_type = "gpt2";
  c.vocab_size = r.size("vocab_size");
  c.width = r.size("n_embd");
  c.layers = r.size("n_layer");
  c.heads = c.kv_heads = r.size("n_head");
  if (c.width % c.heads != 0) r.refuse("n_embd", "a multiple of n_head");
  c.head_dim = c.width / c.heads;
  c.mlp_width = r.size("n_inner", 4 * c.width);
  c.max_positions = r.size("n_positions", 1024);
  c.norm_eps = r.number("layer_norm_epsilon", 1e-5);
  c.activation = r.text("activation_function", "gelu_new");
  kernels::check_activation(c.activation, "config");
  c.tied_head = r.flag("tie_word_embeddings", true);
  c.attention_bias = c.mlp_bias = true;
  r.must_be("add_cross_attention", false);
  r.must_be("scale_attn_by_inverse_layer_idx", false);
  c.attention_scale = r.flag("scale_attn_weights", true) ? 1 / std::sqrt(static_cast<double>(c.head_dim)) : 1;
  return c;
}

void weights(Model& m, const WeightVisitor& visit) {
  const auto& c = m.config;
  m.tokens.path = "transformer.wte";
  m.positions.path = "transformer.wpe";
  visit("transformer.wte.weight", m.tokens.weight, {c.vocab_size, c.width}, false);
  visit("transformer.wpe.weight", m.positions.weight, {c.max_positions, c.width}, false);
  const auto conv1d = [&](Linear& l, const std::string& path, int64_t out, int64_t in) {
    l.path = path;
    l.conv1d = true;
    visit(path + ".weight", l.weight, {in, out}, true);
    visit(path + ".bias", l.bias, {out}, false);
  };
  const auto norm = [&](Norm& n, const std::string& path) {
    n.path = path;
    visit(path + ".weight", n.weight, {c.width}, false);
    visit(path + ".bias", n.bias, {c.width}, false);
  };
  for (int64_t i = 0; i < c.layers; ++i) {
    Block& b = m.blocks[i];
    const std::string layer = "transformer.h." + std::to_string(i) + ".";
    norm(b.norm1, layer + "ln_1");
    conv1d(b.qkv, layer + "attn.c_attn", 3 * c.width, c.width);
    conv1d(b.o, layer + "attn.c_proj", c.width, c.width);
    norm(b.norm2, layer + "ln_2");
    conv1d(b.up, layer + "mlp.c_fc", c.mlp_width, c.width);
    conv1d(b.down, layer + "mlp.c_proj", c.width, c.mlp_width);
  }
  norm(m.final_norm, "transformer.ln_f");
  m.head.path = "lm_head";
  if (!c.tied_head) visit("lm_head.weight", m.head.weight, {c.vocab_size, c.width}, false);
}

Tensor block(const Model& m, int64_t i, const Tensor& input, const Sites& board, const Pass& pass) {
  const Block& b = m.blocks[i];
  const double eps = m.config.norm_eps;
  board.visited(Site::Norm1, i);
  const Tensor n = kernels::layer_norm(input, b.norm1.weight, b.norm1.bias, eps);
  const auto qkv = board.linear(Site::Qkv, i, b.qkv, n).chunk(3, 1);
  const Tensor mixed = attend(m, i, qkv[0].contiguous(), qkv[1].contiguous(), qkv[2].contiguous(), board, pass);
  Tensor x = input + board.hidden(Site::AttnOut, i, board.linear(Site::O, i, b.o, mixed), input);
  board.visited(Site::Norm2, i);
  const Tensor h = kernels::layer_norm(x, b.norm2.weight, b.norm2.bias, eps);
  const Tensor inner = board.hidden(Site::MlpAct, i, kernels::activate(board.linear(Site::Up, i, b.up, h), m.config.activation));
  x = x + board.hidden(Site::MlpOut, i, board.linear(Site::Down, i, b.down, inner), x);
  return board.hidden(Site::BlockOut, i, x);
}

Tensor final_norm(const Model& m, const Tensor& x) { return kernels::layer_norm(x, m.final_norm.weight, m.final_norm.bias, m.config.norm_eps); }

}  // namespace gpt2

extern const FamilyRow kGpt2;
const FamilyRow kGpt2{
    .model_type = "gpt2",
    .architecture = "GPT2LMHeadModel",
    .title = "GPT-2",
    .config = gpt2::config,
    .weights = gpt2::weights,
    .block = gpt2::block,
    .final_norm = gpt2::final_norm,
    .sites = {Site::Qkv, Site::O, Site::Up, Site::Down, Site::Head, Site::Embed, Site::Kv, Site::AttnOut, Site::MlpOut, Site::MlpAct, Site::BlockOut,
              Site::Norm1, Site::Norm2, Site::FinalNorm},
    .targets = {.low_rank = {"c_attn"},
                .scaling = {"c_attn", "mlp.c_proj"},
                .feed_forward = {"mlp.c_proj"},
                .norms = {"ln_1", "ln_2", "ln_f"}},
};

}  // namespace graft
