// An adapter in another form: as a plain LoRA, as llama.cpp's GGUF.
#pragma once
#include <filesystem>
#include <optional>

#include "methods/method.h"

namespace graft {

// One linear's update as factors: ΔW ≈ B A.
struct FactoredUpdate {
  Site site = Site::Q;
  int64_t layer = -1;
  std::string path;
  bool conv1d = false;
  Tensor a, b;       // [r, in], [out, r]; the scale is in b
  double error = 0;  // ‖ΔW − BA‖ / ‖ΔW‖; 0 where the factors are the update's own
  bool embedding = false;  // of the token embedding, [vocab, width] as (BA)ᵀ
};

struct LoraConversion {
  std::vector<FactoredUpdate> updates;  // of the linears that change
  double error = 0;                     // the same quotient over all of them
  std::vector<std::string> lost;        // tensors that change but are no linear's weight
};

// The weight changes from `base` to `changed` (the same model with an adapter folded in, or fine-tuned). Where `adapted` knows
// a module's own factors of at most `rank` they are taken as they are, otherwise the best approximation of that rank is (by a
// singular value decomposition). No rank: own factors everywhere; a module without them throws Fault::Usage.
LoraConversion factor_updates(const Model& base, const Model& changed, const Adapted* adapted, std::optional<int64_t> rank);

// Writes a PEFT folder of a plain LoRA with these updates; `copies`: whole embeddings beside them.
void save_lora(const std::vector<FactoredUpdate>& updates, const std::filesystem::path& folder, const std::string& base_model, const NamedTensors& copies = {});

// Writes llama.cpp's layout of a LoRA adapter: <weight>.lora_a and .lora_b in float32. Its runtime scales by alpha / rank with
// one alpha, so every other scale goes into B. An update that it cannot hold, or a family it does not know, throws Fault::Usage.
void save_gguf_lora(const LoraConversion& conversion, const Model& base, const std::filesystem::path& file);

}  // namespace graft
