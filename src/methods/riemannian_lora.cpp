// Riemannian preconditioned LoRA (arXiv 2402.02347): LoRA whose gradients are scaled by the inverse Gram matrix of the other
// factor.
//   y = W x + b + s · B A x;  before the optimizer g_A ← (Bᵀ B + δ I)⁻¹ g_A, g_B ← g_B (A Aᵀ + δ I)⁻¹
// Trained, initial values, merging and files: LoRA's. In float32; factors of an embedding are left alone, as in PEFT.
// Deviation: the norm that clipping sees is that of the changed gradients; PEFT's optimizer changes them after clipping.
#include "core/torch.h"
#include "methods/common/lora_method.h"

namespace graft {
namespace {

struct RiemannianConfig : LoraConfig {
  double reg = 1e-2;
  void visit(Fields& f) override {
    LoraConfig::visit(f);
    f("reg", reg, "added to the diagonal of the Gram matrices before they are inverted", above(0));
  }
};

class RiemannianLora : public LoraWith<RiemannianConfig> {
 public:
  RiemannianLora() : LoraWith("riemannian_lora") {}
  void adjust_gradients() override {
    at::NoGradGuard no_grad;
    for (auto& edit : edits()) {
      Tensor &g_a = edit->a.mutable_grad(), &g_b = edit->b.mutable_grad();
      if (g_a.defined()) g_a = divided(g_a, at::mm(edit->b.t(), edit->b));
      if (g_b.defined()) g_b = divided(g_b.t(), at::mm(edit->a, edit->a.t())).t().contiguous();
    }
  }

 private:
  // (gram + δ I)⁻¹ g, by operations that never wait for a GPU.
  Tensor divided(const Tensor& g, const Tensor& gram) const {
    const Tensor damped = gram + options_.reg * at::eye(gram.size(0), gram.options());
    const Tensor lower = std::get<0>(at::linalg_cholesky_ex(damped));
    return at::linalg_solve_triangular(lower.t(), at::linalg_solve_triangular(lower, g, false), true);
  }
};

}  // namespace

extern const MethodRow kRiemannianLora;
const MethodRow kRiemannianLora{.name = "riemannian_lora",
                                .peft_type = "LORA",
                                .title = "Riemannian LoRA",
                                .paper = "arXiv 2402.02347",
                                .trains = "a low-rank update, its gradients scaled by the other factor",
                                .idea = Idea::LowRank,
                                .formula = "y = W x + b + α/r · B A x,  g_A ← (Bᵀ B + δ I)⁻¹ g_A,  g_B ← g_B (A Aᵀ + δ I)⁻¹",
                                .size = "r (in + out) a linear",
                                .cost = "LoRA and 2 r² (in + out) operations a linear and step",
                                .format = Format::Peft,
                                .mergeable = true,
                                .identity = true,
                                .learning_rate = 5e-4,
                                .make = []() -> std::unique_ptr<Method> { return std::make_unique<RiemannianLora>(); }};

}  // namespace graft
