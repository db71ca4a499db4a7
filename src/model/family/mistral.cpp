// Mistral (arXiv 2310.06825): Llama's block with a sliding window in every layer.
#include "model/family.h"

namespace graft {
namespace mistral {

ModelConfig config(const ConfigReader& r) {
  ModelConfig c = read_usual(r, {.kv_heads = 8, .max_positions = 131072});
  const int64_t window = r.size_or_null("sliding_window", 4096);
  for (auto& layer : c.layer) layer.window = window;
  return c;
}

Names names(const ModelConfig&) { return usual_names(); }

}  // namespace mistral

extern const FamilyRow kMistral;
const FamilyRow kMistral{
    .model_type = "mistral",
    .architecture = "MistralForCausalLM",
    .title = "Mistral",
    .config = mistral::config,
    .names = mistral::names,
    .targets = {.low_rank = {"q_proj", "v_proj"},
                .scaling = {"k_proj", "v_proj", "down_proj"},
                .feed_forward = {"down_proj"},
                .norms = {"input_layernorm", "post_attention_layernorm", "norm"}},
    .gguf_architecture = "llama",
    .gguf_permutes_qk = true,
};

}  // namespace graft
