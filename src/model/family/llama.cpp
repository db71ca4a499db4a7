// Llama 1, 2, 3.x (arXiv 2302.13971, 2307.09288, 2407.21783): RMS norms, rotary positions, grouped-query attention, SwiGLU.
//   x += O · attention(rope(Q n), rope(K n), V n),  n = norm1(x)
//   x += Down · (silu(Gate m) ⊙ Up m),               m = norm2(x)
#include <cmath>

#include "kernels/activation.h"
#include "kernels/norm.h"
#include "model/attention.h"
#include "core/torch.h"
#include "model/family.h"

namespace graft {
namespace llama {

ModelConfig config(const ConfigReader& r) {
  ModelConfig c;
  c.model_type = "llama";
  c.vocab_size = r.size("vocab_size");
  c.width = r.size("hidden_size");
  c.layers = r.size("num_hidden_layers");
  c.heads = r.size("num_attention_heads");
  c.kv_heads = r.size("num_key_value_heads", c.heads);
  if (!r.has("head_dim") && c.width % c.heads != 0) r.refuse("hidden_size", "a multiple of num_attention_heads");
  c.head_dim = r.size("head_dim", c.width / c.heads);
  if (c.heads % c.kv_heads != 0) r.refuse("num_key_value_heads", "a divisor of num_attention_heads");
  if (c.head_dim % 2 != 0) r.refuse("head_dim", "even");
  c.mlp_width = r.size("intermediate_size");
  c.max_positions = r.size("max_position_embeddings", 2048);
  c.norm_eps = r.number("rms_norm_eps", 1e-6);
  c.activation = r.text("hidden_act", "silu");
  if (c.activation != "silu" && c.activation != "swish") r.refuse("hidden_act", "silu (others are not supported for llama)");
  c.tied_head = r.flag("tie_word_embeddings", false);
  c.attention_bias = r.flag("attention_bias", false);
  c.mlp_bias = r.flag("mlp_bias", false);
  read_rope(r, c);
  c.attention_scale = 1 / std::sqrt(static_cast<double>(c.head_dim));
  return c;
}

void weights(Model& m, const WeightVisitor& visit) {
  const auto& c = m.config;
  m.tokens.path = "model.embed_tokens";
  visit("model.embed_tokens.weight", m.tokens.weight, {c.vocab_size, c.width}, false);
  const auto linear = [&](Linear& l, const std::string& path, int64_t out, int64_t in, bool bias) {
    l.path = path;
    visit(path + ".weight", l.weight, {out, in}, false);
    if (bias) visit(path + ".bias", l.bias, {out}, false);
  };
  const auto norm = [&](Norm& n, const std::string& path) {
    n.path = path;
    visit(path + ".weight", n.weight, {c.width}, false);
  };
  for (int64_t i = 0; i < c.layers; ++i) {
    Block& b = m.blocks[i];
    const std::string layer = "model.layers." + std::to_string(i) + ".", attention = layer + "self_attn.", mlp = layer + "mlp.";
    norm(b.norm1, layer + "input_layernorm");
    linear(b.q, attention + "q_proj", c.heads * c.head_dim, c.width, c.attention_bias);
    linear(b.k, attention + "k_proj", c.kv_heads * c.head_dim, c.width, c.attention_bias);
    linear(b.v, attention + "v_proj", c.kv_heads * c.head_dim, c.width, c.attention_bias);
    linear(b.o, attention + "o_proj", c.width, c.heads * c.head_dim, c.attention_bias);
    norm(b.norm2, layer + "post_attention_layernorm");
    linear(b.gate, mlp + "gate_proj", c.mlp_width, c.width, c.mlp_bias);
    linear(b.up, mlp + "up_proj", c.mlp_width, c.width, c.mlp_bias);
    linear(b.down, mlp + "down_proj", c.width, c.mlp_width, c.mlp_bias);
  }
  norm(m.final_norm, "model.norm");
  m.head.path = "lm_head";
  if (!c.tied_head) visit("lm_head.weight", m.head.weight, {c.vocab_size, c.width}, false);
}

Tensor block(const Model& m, int64_t i, const Tensor& input, const Sites& board, const Pass& pass) {
  const Block& b = m.blocks[i];
  const double eps = m.config.norm_eps;
  board.visited(Site::Norm1, i);
  const Tensor n = kernels::rms_norm(input, b.norm1.weight, eps);
  const Sites::Member qkv[] = {{Site::Q, &b.q}, {Site::K, &b.k}, {Site::V, &b.v}};
  const auto projected = board.linears(i, qkv, n);
  const Tensor mixed = attend(m, i, projected[0], projected[1], projected[2], board, pass);
  Tensor x = input + board.hidden(Site::AttnOut, i, board.linear(Site::O, i, b.o, mixed), input);
  board.visited(Site::Norm2, i);
  const Tensor h = kernels::rms_norm(x, b.norm2.weight, eps);
  const Sites::Member gate_up[] = {{Site::Gate, &b.gate}, {Site::Up, &b.up}};
  const auto gated = board.linears(i, gate_up, h);
  const Tensor inner = board.hidden(Site::MlpAct, i, kernels::swiglu(gated[0], gated[1]));
  x = x + board.hidden(Site::MlpOut, i, board.linear(Site::Down, i, b.down, inner), x);
  return board.hidden(Site::BlockOut, i, x);
}

Tensor final_norm(const Model& m, const Tensor& x) { return kernels::rms_norm(x, m.final_norm.weight, m.config.norm_eps); }

}  // namespace llama

extern const FamilyRow kLlama;
const FamilyRow kLlama{
    .model_type = "llama",
    .architecture = "LlamaForCausalLM",
    .title = "Llama 1, 2, 3.x and relatives with their layout",
    .config = llama::config,
    .weights = llama::weights,
    .block = llama::block,
    .final_norm = llama::final_norm,
    .sites = {Site::Q, Site::K, Site::V, Site::O, Site::Gate, Site::Up, Site::Down, Site::Head, Site::Embed, Site::Kv, Site::AttnOut, Site::MlpOut,
              Site::MlpAct, Site::BlockOut, Site::Norm1, Site::Norm2, Site::FinalNorm},
    .targets = {.low_rank = {"q_proj", "v_proj"},
                .scaling = {"k_proj", "v_proj", "down_proj"},
                .feed_forward = {"down_proj"},
                .norms = {"input_layernorm", "post_attention_layernorm", "norm"}},
};

}  // namespace graft
