// LoRA (arXiv 2106.09685), rsLoRA (arXiv 2312.03732) and DoRA (arXiv 2402.09353).
//   LoRA    y = W x + b + s · B A drop(x),  s = α / r;  rsLoRA: s = α / √r
//   DoRA    V = W + s·BA, n = ‖rows of V‖ (a constant in the backward pass), m trained:
//           y = W x + b + (m/n − 1) ⊙ (W x') + (m/n) ⊙ s·B A x',  x' = drop(x)
// Trained: A [r, in], B [out, r] and m [out]; at the token embedding A [r, vocab], B [width, r], m [width]. Init: A kaiming, B 0
// (embedding: A 0, B normal), m = ‖rows of W‖: the identity; others in common/lora_start.h. Merges: W + s·BA, or (m/n) ⊙ V.
// Beside them: biases, whole modules, single token rows (common/companions.h).
// An adapter that starts from PiSSA or OLoRA is written as the plain LoRA that it is against the untouched base:
// A* = [A; A0], B* = [B, −B0], r* = 2r, α* = 2α (rsLoRA: √2 α).
// Deviations: a name in target_modules or a pattern's key that matches nothing is an error; so are two keys of a pattern that
// give one module different values; tied embeddings that are adapted as one are one pair of factors, which merge once.
#include "methods/common/lora_method.h"

namespace graft {
namespace {

class Lora : public LoraWith<> {
 public:
  explicit Lora(bool rslora = false, bool dora = false) : LoraWith("lora") { options_.use_rslora = rslora, options_.use_dora = dora; }
};

}  // namespace

extern const MethodRow kLora, kRsLora, kDora;
const MethodRow kLora{.name = "lora",
                      .peft_type = "LORA",
                      .title = "LoRA",
                      .paper = "arXiv 2106.09685",
                      .trains = "a low-rank update of the weights",
                      .idea = Idea::LowRank,
                      .formula = "y = W x + b + α/r · B A x",
                      .size = "r (in + out) a linear",
                      .cost = "2 r (in + out) operations a token and pass beside the base's 2 in · out; none after merging",
                      .format = Format::Peft,
                      .mergeable = true,
                      .identity = true,
                      .learning_rate = 5e-4,
                      .make = []() -> std::unique_ptr<Method> { return std::make_unique<Lora>(); }};
const MethodRow kRsLora{.name = "rslora",
                        .peft_type = "LORA",
                        .title = "rsLoRA",
                        .paper = "arXiv 2312.03732",
                        .trains = "a low-rank update of the weights, scaled by alpha / sqrt(r)",
                        .idea = Idea::LowRank,
                        .formula = "y = W x + b + α/√r · B A x",
                        .size = "r (in + out) a linear",
                        .cost = "as LoRA",
                        .format = Format::Peft,
                        .mergeable = true,
                        .identity = true,
                        .learning_rate = 5e-4,
                        .make = []() -> std::unique_ptr<Method> { return std::make_unique<Lora>(true, false); }};
const MethodRow kDora{.name = "dora",
                      .peft_type = "LORA",
                      .title = "DoRA",
                      .paper = "arXiv 2402.09353",
                      .trains = "a low-rank update of the weights and the rows' magnitudes",
                      .idea = Idea::LowRank,
                      .formula = "y = W x + b + (m/n − 1) ⊙ W x + m/n ⊙ s · B A x,  n = ‖rows of W + s · B A‖",
                      .size = "r (in + out) + out a linear",
                      .cost = "LoRA and the norms of the rows: r in · out operations a step, not a token",
                      .format = Format::Peft,
                      .mergeable = true,
                      .identity = true,
                      .learning_rate = 5e-4,
                      .make = []() -> std::unique_ptr<Method> { return std::make_unique<Lora>(false, true); }};

}  // namespace graft
