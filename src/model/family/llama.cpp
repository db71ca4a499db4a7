// Llama 1, 2, 3.x (arXiv 2302.13971, 2307.09288, 2407.21783): RMS norms, rotary positions, grouped-query attention, SwiGLU.
#include "model/family.h"

namespace graft {
namespace llama {

ModelConfig config(const ConfigReader& r) {
  ModelConfig c = read_usual(r, {});
  c.qkv_bias = c.output_bias = r.flag("attention_bias", false);
  c.mlp_bias = r.flag("mlp_bias", false);
  return c;
}

Names names(const ModelConfig&) { return usual_names(); }

}  // namespace llama

extern const FamilyRow kLlama;
const FamilyRow kLlama{
    .model_type = "llama",
    .architecture = "LlamaForCausalLM",
    .title = "Llama 1, 2, 3.x and relatives with their layout",
    .config = llama::config,
    .names = llama::names,
    .targets = {.low_rank = {"q_proj", "v_proj"},
                .scaling = {"k_proj", "v_proj", "down_proj"},
                .feed_forward = {"down_proj"},
                .norms = {"input_layernorm", "post_attention_layernorm", "norm"}},
    .gguf_architecture = "llama",
    .gguf_permutes_qk = true,
};

}  // namespace graft
