// Qwen 3 (arXiv 2505.09388): Llama's block with RMS norms on each query and key head.
#include "model/family.h"

namespace graft {
namespace qwen3 {

ModelConfig config(const ConfigReader& r) {
  ModelConfig c = read_usual(r, {.kv_heads = 32, .head_dim = 128, .max_positions = 32768});
  c.qkv_bias = c.output_bias = r.flag("attention_bias", false);
  c.qk_norm = QkNorm::Head;
  const int64_t given = r.size_or_null("sliding_window", 4096), full = static_cast<int64_t>(r.number("max_window_layers", 28));
  const int64_t window = r.flag("use_sliding_window", false) ? given : 0;
  read_windows(r, c, window, [&](int64_t i) { return window && i >= full; });
  return c;
}

Names names(const ModelConfig&) {
  Names n = usual_names();
  n.q_norm = "self_attn.q_norm";
  n.k_norm = "self_attn.k_norm";
  return n;
}

}  // namespace qwen3

extern const FamilyRow kQwen3;
const FamilyRow kQwen3{
    .model_type = "qwen3",
    .architecture = "Qwen3ForCausalLM",
    .title = "Qwen 3 (dense)",
    .config = qwen3::config,
    .names = qwen3::names,
    .targets = {.low_rank = {"q_proj", "v_proj"},
                .scaling = {"q_proj", "v_proj", "down_proj"},
                .feed_forward = {"down_proj"},
                .norms = {"post_attention_layernorm"}},
    .gguf_architecture = "qwen3",
};

}  // namespace graft
