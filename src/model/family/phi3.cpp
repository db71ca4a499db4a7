// Phi-3, 3.5 and 4 (arXiv 2404.14219): Llama's block with fused weights for queries, keys and values and for gate and up, a
// window, and "longrope", which older files call "su" or "yarn".
#include "model/family.h"

namespace graft {
namespace phi3 {

ModelConfig config(const ConfigReader& r) {
  UsualKeys keys{.eps_default = 1e-5, .max_positions = 4096, .rotary = "partial_rotary_factor", .rope = false,
                 .original_positions = 4096};
  ModelConfig c = read_usual(r, keys);
  std::string name;
  Json block = rope_block(r, name);
  if (block.is_object())
    for (const char* key : {"rope_type", "type"})
      if (block.contains(key) && (block[key] == "su" || block[key] == "yarn")) block[key] = "longrope";
  c.ropes.push_back(read_rope(r, c, block, name, keys));
  if (c.ropes[0].kind != "default" && c.ropes[0].kind != "longrope") r.refuse(name, "of the type default or longrope for phi3");
  const int64_t window = r.size_or_null("sliding_window", 0);
  for (auto& layer : c.layer) {
    layer.rope = 0;
    layer.window = window;
  }
  return c;
}

Names names(const ModelConfig&) {
  Names n = usual_names();
  n.q = n.k = n.v = n.gate = n.up = "";
  n.qkv = "self_attn.qkv_proj";
  n.gate_up = "mlp.gate_up_proj";
  return n;
}

}  // namespace phi3

extern const FamilyRow kPhi3;
const FamilyRow kPhi3{
    .model_type = "phi3",
    .architecture = "Phi3ForCausalLM",
    .title = "Phi-3, 3.5 and 4",
    .config = phi3::config,
    .names = phi3::names,
    .targets = {.low_rank = {"qkv_proj"},
                .scaling = {"qkv_proj", "down_proj"},
                .feed_forward = {"down_proj"},
                .norms = {"input_layernorm", "post_attention_layernorm", "norm"}},
    .gguf_architecture = "phi3",
    .registered = {Site::O, Site::Qkv},
};

}  // namespace graft
