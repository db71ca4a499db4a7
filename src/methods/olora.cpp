// OLoRA (arXiv 2406.01775): LoRA that starts from the first columns and rows of the weight's QR decomposition.
//   W = Q R;  B = Q[:, :r], A = R[:r], the base becomes W − s · B A;  y = (W − s · B0 A0) x + b + s · B A x
// Trained and merging: LoRA's. The identity at the start up to rounding. The same as lora with init_lora_weights = "olora". Files
// are plain LoRA of twice the rank (lora.cpp). PEFT's own fails for weights that are stored [in, out] (GPT-2); here they work.
#include "methods/common/lora_method.h"

namespace graft {
namespace {

class Olora : public LoraWith<> {
 public:
  Olora() : LoraWith("olora") { options_.init_lora_weights = "olora"; }
};

}  // namespace

extern const MethodRow kOlora;
const MethodRow kOlora{
    .name = "olora",
    .peft_type = "LORA",
    .title = "OLoRA",
    .paper = "arXiv 2406.01775",
    .trains = "a low-rank update that starts from orthonormal columns of the weights",
    .idea = Idea::LowRank,
    .formula = "y = (W − s · B0 A0) x + b + s · B A x,  B0, A0 = the first r columns of Q and rows of R,  W = Q R",
    .size = "r (in + out) a linear; twice that in the file",
    .cost = "as LoRA, and one QR a linear at the start",
    .format = Format::Peft,
    .mergeable = true,
    .identity = true,
    .learning_rate = 2e-4,
    .make = []() -> std::unique_ptr<Method> { return std::make_unique<Olora>(); }};

}  // namespace graft
