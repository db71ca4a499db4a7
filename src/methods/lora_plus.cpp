// LoRA+ (arXiv 2402.12354): LoRA whose B learns loraplus_lr_ratio times as fast as its A.
//   y = W x + b + s · B A x;  rates: A η, B λ η, factors of an embedding a peak rate of their own
// Trained, initial values, merging and files: LoRA's. As in PEFT, λ goes to everything with one dimension too (biases, DoRA's
// magnitudes), and the run's rate to whole modules and token rows. The embedding's rate follows the schedule of the run.
// Deviation: weight decay is the run's for all of them; PEFT's optimizer has a loraplus_weight_decay of its own and no other.
#include "core/check.h"
#include "methods/common/lora_method.h"

namespace graft {
namespace {

struct LoraPlusConfig : LoraConfig {
  double loraplus_lr_ratio = 16, loraplus_lr_embedding = 1e-6;
  void visit(Fields& f) override {
    LoraConfig::visit(f);
    f("loraplus_lr_ratio", loraplus_lr_ratio, "learning rate of B over the run's, which is that of A", at_least(1));
    f("loraplus_lr_embedding", loraplus_lr_embedding, "peak learning rate of an embedding's factors", above(0));
  }
};

class LoraPlus : public LoraWith<LoraPlusConfig> {
 public:
  LoraPlus() : LoraWith("lora_plus") {}
  void attach(AttachContext& context) override {
    LoraMethod::attach(context);
    for (auto& p : params_) {
      if (p.name.find(".lora_embedding_") != std::string::npos)
        p.own_lr = options_.loraplus_lr_embedding;
      else if (p.name.find(".lora_B.") != std::string::npos || p.value.dim() == 1)
        p.lr_factor = options_.loraplus_lr_ratio;
    }
  }
};

}  // namespace

extern const MethodRow kLoraPlus;
const MethodRow kLoraPlus{.name = "lora_plus",
                          .peft_type = "LORA",
                          .title = "LoRA+",
                          .paper = "arXiv 2402.12354",
                          .trains = "a low-rank update, B with a larger learning rate than A",
                          .idea = Idea::LowRank,
                          .formula = "y = W x + b + α/r · B A x,  rate of B = 16 · rate of A",
                          .size = "r (in + out) a linear",
                          .cost = "as LoRA",
                          .format = Format::Peft,
                          .mergeable = true,
                          .identity = true,
                          .learning_rate = 1e-4,
                          .make = []() -> std::unique_ptr<Method> { return std::make_unique<LoraPlus>(); }};

}  // namespace graft
