// SmolLM3: Llama's block; every fourth layer has no positions (NoPE, arXiv 2501.18795), and a window there on request.
#include "model/family.h"

namespace graft {
namespace smollm3 {

ModelConfig config(const ConfigReader& r) {
  ModelConfig c = read_usual(r, {.kv_heads = 4, .max_positions = 32768, .tied = true, .theta_default = 2000000});
  c.qkv_bias = c.output_bias = r.flag("attention_bias", false);
  c.mlp_bias = r.flag("mlp_bias", false);
  const int64_t interval = r.size("no_rope_layer_interval", 4);
  if (r.has("no_rope_layers")) {  // despite its name: 1 where there are rotary positions
    const auto rotary = r.numbers("no_rope_layers", c.layers);
    for (size_t i = 0; i < rotary.size(); ++i) c.layer[i].rope = rotary[i] != 0 ? 0 : -1;
  } else {
    for (int64_t i = 0; i < c.layers; ++i) c.layer[static_cast<size_t>(i)].rope = (i + 1) % interval != 0 ? 0 : -1;
  }
  const int64_t given = r.size_or_null("sliding_window", 0), window = r.flag("use_sliding_window", false) ? given : 0;
  read_windows(r, c, window, [&](int64_t i) { return window && c.layer[static_cast<size_t>(i)].rope < 0; });
  return c;
}

Names names(const ModelConfig&) { return usual_names(); }

}  // namespace smollm3

extern const FamilyRow kSmolLm3;
const FamilyRow kSmolLm3{
    .model_type = "smollm3",
    .architecture = "SmolLM3ForCausalLM",
    .title = "SmolLM3",
    .config = smollm3::config,
    .names = smollm3::names,
    .targets = {.low_rank = {"q_proj", "v_proj"},
                .scaling = {"k_proj", "v_proj", "down_proj"},
                .feed_forward = {"down_proj"},
                .norms = {"input_layernorm", "post_attention_layernorm", "norm"}},
    .gguf_architecture = "smollm3",
    .gguf_permutes_qk = true,
};

}  // namespace graft
