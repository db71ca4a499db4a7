// Gemma (arXiv 2403.08295): Llama's block with gains of 1 + g, GeGLU, token embeddings times √width, the head tied to them.
#include <cmath>

#include "model/family.h"

namespace graft {
namespace gemma {

ModelConfig config(const ConfigReader& r) {
  ModelConfig c = read_usual(r, {.activation_default = "gelu_pytorch_tanh", .kv_heads = 16, .head_dim = 256, .max_positions = 8192, .tied = true});
  if (c.activation == "gelu") c.activation = "gelu_pytorch_tanh";  // the first releases said so and meant this
  r.must_be("hidden_activation", c.activation);
  r.must_be("use_bidirectional_attention", false);
  c.norm = NormKind::RmsPlusOne;
  c.qkv_bias = c.output_bias = r.flag("attention_bias", false);
  c.token_scale = std::sqrt(static_cast<double>(c.width));
  return c;
}

Names names(const ModelConfig&) { return usual_names(); }

}  // namespace gemma

extern const FamilyRow kGemma;
const FamilyRow kGemma{
    .model_type = "gemma",
    .architecture = "GemmaForCausalLM",
    .title = "Gemma",
    .config = gemma::config,
    .names = gemma::names,
    .targets = {.low_rank = {"q_proj", "v_proj"},
                .scaling = {"q_proj", "v_proj", "down_proj"},
                .feed_forward = {"down_proj"},
                .norms = {"input_layernorm", "post_attention_layernorm", "norm"}},
    .gguf_architecture = "gemma",
};

}  // namespace graft
