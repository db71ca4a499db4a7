// LoRA-FA (arXiv 2308.03303): LoRA whose A keeps its random start.
//   y = W x + b + s · B A x;  before the optimizer g_B ← g_B (A Aᵀ + 1e-8 I)⁺ / s²
// Trained: B [out, r]. Init: A kaiming and frozen, B 0: the identity. Merges and writes files as LoRA. The changed gradient is
// the one whose step in B A comes nearest to the step of a full update; the plain method is this without it. As in PEFT it is
// there always. Deviations from PEFT: computed in float32 where PEFT multiplies in bfloat16; the norm that clipping sees is that
// of the changed gradients, where PEFT's optimizer changes them after clipping; an embedding cannot be a target (its A starts at
// 0).
#include "core/torch.h"
#include "methods/common/lora_method.h"

namespace graft {
namespace {

class LoraFa : public LoraWith<> {
 public:
  LoraFa() : LoraWith("lora_fa") {}
  void start_training(int64_t) override {
    at::NoGradGuard no_grad;
    inverses_.clear();
    for (auto& edit : edits()) {
      const Tensor gram = at::mm(edit->a, edit->a.t());
      inverses_.push_back(at::linalg_pinv(gram + 1e-8 * at::eye(gram.size(0), gram.options())) / (edit->scale * edit->scale));
    }
  }
  void adjust_gradients() override {
    at::NoGradGuard no_grad;
    for (size_t i = 0; i < inverses_.size(); ++i)
      if (Tensor& g = edits()[i]->b.mutable_grad(); g.defined()) g = at::mm(g, inverses_[i]);
  }
  // A may be another one after a resume.
  void load_state(const NamedTensors& tensors, const std::string& source) override {
    LoraMethod::load_state(tensors, source);
    start_training(0);
  }

 protected:
  bool trains_a() const override { return false; }
  bool adapts_embeddings() const override { return false; }

 private:
  std::vector<Tensor> inverses_;  // (A Aᵀ + 1e-8 I)⁺ / s² of every edit
};

}  // namespace

extern const MethodRow kLoraFa;
const MethodRow kLoraFa{.name = "lora_fa",
                        .peft_type = "LORA",
                        .title = "LoRA-FA",
                        .paper = "arXiv 2308.03303",
                        .trains = "the B of a low-rank update; A stays as it was drawn",
                        .idea = Idea::LowRank,
                        .formula = "y = W x + b + α/r · B A x,  A frozen,  g_B ← g_B (A Aᵀ)⁻¹ / s²",
                        .size = "r · out a linear",
                        .cost = "LoRA without the gradient and the moments of A",
                        .format = Format::Peft,
                        .mergeable = true,
                        .identity = true,
                        .learning_rate = 5e-4,
                        .make = []() -> std::unique_ptr<Method> { return std::make_unique<LoraFa>(); }};

}  // namespace graft
