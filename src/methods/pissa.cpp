// PiSSA (arXiv 2404.02948): LoRA on the r largest singular components of the weight.
//   W = U S Vᵀ;  B = U_r √(S_r / s), A = √(S_r / s) V_rᵀ, the base becomes W − s · B A;  y = (W − s · B0 A0) x + b + s · B A x
// Trained and merging: LoRA's. The identity at the start up to rounding. The same as lora with init_lora_weights = "pissa", and
// "pissa_niter_4" for a randomised decomposition is an option here too. Files are plain LoRA of twice the rank (lora.cpp); PEFT's
// own need the decomposition again.
#include "methods/common/lora_method.h"

namespace graft {
namespace {

class Pissa : public LoraWith<> {
 public:
  Pissa() : LoraWith("pissa") { options_.init_lora_weights = "pissa"; }
};

}  // namespace

extern const MethodRow kPissa;
const MethodRow kPissa{.name = "pissa",
                       .peft_type = "LORA",
                       .title = "PiSSA",
                       .paper = "arXiv 2404.02948",
                       .trains = "the largest singular components of the weights",
                       .idea = Idea::LowRank,
                       .formula = "y = (W − s · B0 A0) x + b + s · B A x,  B0 A0 = the r largest singular components of W / s",
                       .size = "r (in + out) a linear; twice that in the file",
                       .cost = "as LoRA, and one SVD a linear at the start",
                       .format = Format::Peft,
                       .mergeable = true,
                       .identity = true,
                       .learning_rate = 2e-4,
                       .make = []() -> std::unique_ptr<Method> { return std::make_unique<Pissa>(); }};

}  // namespace graft
