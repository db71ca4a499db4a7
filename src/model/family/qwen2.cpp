// Qwen 2 and 2.5 (arXiv 2407.10671): Llama's block with biases on queries, keys and values, and windows in the upper layers
// where use_sliding_window asks for them.
#include "model/family.h"

namespace graft {
namespace qwen2 {

ModelConfig config(const ConfigReader& r) {
  ModelConfig c = read_usual(r, {.kv_heads = 32, .max_positions = 32768});
  c.qkv_bias = true;
  const int64_t given = r.size_or_null("sliding_window", 4096), full = static_cast<int64_t>(r.number("max_window_layers", 28));
  const int64_t window = r.flag("use_sliding_window", false) ? given : 0;
  read_windows(r, c, window, [&](int64_t i) { return window && i >= full; });
  return c;
}

Names names(const ModelConfig&) { return usual_names(); }

}  // namespace qwen2

extern const FamilyRow kQwen2;
const FamilyRow kQwen2{
    .model_type = "qwen2",
    .architecture = "Qwen2ForCausalLM",
    .title = "Qwen 2 and 2.5",
    .config = qwen2::config,
    .names = qwen2::names,
    .targets = {.low_rank = {"q_proj", "v_proj"},
                .scaling = {"q_proj", "v_proj", "down_proj"},
                .feed_forward = {"down_proj"},
                .norms = {"post_attention_layernorm"}},
    .gguf_architecture = "qwen2",
};

}  // namespace graft
