// PSOFT (arXiv 2505.11235): a turn inside the space of the weight's r largest singular components, all else fixed.
//   y = W x + b + s · B (R − I) A x,  A = V_rᵀ, B = U_r S_r / s, s = psoft_alpha / r
//   R = diag(b) (I + Q)(I − Q)⁻¹ diag(a),  Q = U − Uᵀ; use_cayley_neumann: the series of oft.cpp
// Trained: the strict upper triangle U, the vectors a and b [r]. Init U = 0, a = b = 1: the identity. Merges: W + s · B (R − I)
// A. A and B are not in the file: they come from the base's weight at each start (in float32, so another base gives another
// adapter). psoft_svd = "lowrank" draws from torch's generator as PEFT does, with random_seed.
#include <ATen/CPUGeneratorImpl.h>

#include "core/check.h"
#include "core/torch.h"
#include "kernels/dropout.h"
#include "kernels/linear.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/svd.h"
#include "methods/common/turned_input.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct PsoftConfig : WeightMethodConfig {
  int64_t r = 32, psoft_alpha = 32, psoft_svd_lowrank_niter = 10, random_seed = 0, num_cayley_neumann_terms = 5;
  double psoft_dropout = 0;
  std::string ab_svd_init = "psoft_init", psoft_svd = "full";
  bool psoft_orth = true, psoft_mag_a = true, psoft_mag_b = true, use_cayley_neumann = false, init_weights = true;
  std::optional<double> cayley_neumann_eps;
  void visit(Fields& f) override {
    f("r", r, "number of singular components that are turned", at_least(1));
    f("psoft_alpha", psoft_alpha, "the update is scaled by psoft_alpha / r, and B by the inverse", at_least(1));
    f("psoft_dropout", psoft_dropout, "dropout on the update's input", between(0, 0.999));
    f("ab_svd_init", ab_svd_init, "singular values in B, or their roots in A and B", one_of({"psoft_init", "pissa_init"}));
    f("psoft_svd", psoft_svd, "how the components are found: exactly, or by random projection", one_of({"full", "lowrank"}));
    f("psoft_svd_lowrank_niter", psoft_svd_lowrank_niter, "lowrank: rounds of refinement", between(0, 1000));
    f("random_seed", random_seed, "lowrank: seed of the projection", at_least(0));
    f("psoft_orth", psoft_orth, "false: R is a free matrix");
    f("psoft_mag_b", psoft_mag_b, "factors of the turned components");
    f("psoft_mag_a", psoft_mag_a, "factors of the components before they are turned");
    f("use_cayley_neumann", use_cayley_neumann, "a series in place of the inverse: orthogonal only while the turn is small");
    f("num_cayley_neumann_terms", num_cayley_neumann_terms, "its terms", at_least(2));
    f("cayley_neumann_eps", cayley_neumann_eps, "with the series: the largest norm of Q, which is scaled down to it; null: none",
      above(0));
    f("init_weights", init_weights, "true: no turn at the start; false: random");
    visit_common(f, nullptr, true);
  }
};

struct PsoftEdit : WeightEdit {
  Tensor a, b;                             // [r, in], [out, r], frozen
  Tensor turn, before, behind, positions;  // the triangle or R itself; [r] or undefined
  int64_t terms = 0;                       // 0: exact
  double scale = 1, dropout = 0;
  std::optional<double> most;

  Tensor r_minus_identity() const {
    const int64_t r = a.size(0);
    const Tensor identity = at::eye(r, turn.options());
    Tensor result = turn;
    if (positions.defined()) {
      Tensor q = skew_symmetric(turn, positions, r);
      if (terms && most) q = q * (*most / q.norm().clamp_min(*most));
      result = (terms ? cayley_series(q, terms) : cayley(q))[0] + identity;
    }
    if (behind.defined()) result = behind.unsqueeze(1) * result;
    if (before.defined()) result = result * before;
    return result - identity;
  }
  Tensor linear(const Linear& base, const Tensor& x, bool training) const override {
    const Tensor low = kernels::linear(training && dropout > 0 ? kernels::dropout(x, dropout) : x, a, {});
    const Tensor turned = at::mm(low, (r_minus_identity() * scale).t().to(low.scalar_type()));
    return kernels::linear(x, base.weight, base.bias) + kernels::linear(turned, b, {});
  }
  std::optional<Linear> merged(const Linear& base) const override {
    at::NoGradGuard no_grad;
    Linear result = base;
    result.weight = base.weight.to(turn.scalar_type()) + at::linalg_multi_dot({b, r_minus_identity() * scale, a});
    return result;
  }
};

class Psoft : public WeightMethod {
 public:
  Psoft() : WeightMethod("psoft", config_) {}

 protected:
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    const int64_t r = config_.r, most = std::min(linear.in(), linear.out());
    if (r > most)
      does_not_fit(linear, fmt::format("r must be in 1..min(in, out) = {} but is {}", most, r),
                   "choose a smaller r or other target_modules");
    if (config_.psoft_orth && r < 2) does_not_fit(linear, "one component cannot turn", "choose a larger r");
    const auto options = adapter_options(context.model);
    auto edit = std::make_shared<PsoftEdit>();
    edit->scale = static_cast<double>(config_.psoft_alpha) / static_cast<double>(r);
    edit->dropout = config_.psoft_dropout;
    edit->terms = config_.use_cayley_neumann ? config_.num_cayley_neumann_terms : 0;
    edit->most = config_.cayley_neumann_eps;
    start_from(linear, *edit, options);
    const auto noise = [&](at::IntArrayRef shape) {
      return normal(shape, config_.init_weights ? 0 : 0.1, options, context.generator);
    };
    if (config_.psoft_orth) {
      edit->positions = upper_triangle(r, context.model.device());
      edit->turn = param(linear, "psoft_R.weight", noise({edit->positions.size(0)}), false);
    } else {
      edit->turn = param(linear, "psoft_R.weight", at::eye(r, options) + noise({r, r}), false);
    }
    if (config_.psoft_mag_b) edit->behind = param(linear, "psoft_R.vector_b", ones({r}, options), false);
    if (config_.psoft_mag_a) edit->before = param(linear, "psoft_R.vector_a", ones({r}, options), false);
    return edit;
  }

 private:
  void start_from(const Linear& linear, PsoftEdit& edit, const at::TensorOptions& options) const {
    at::NoGradGuard no_grad;
    const Tensor weight = linear.weight.detach().to(options);
    at::Generator generator = at::detail::createCPUGenerator(static_cast<uint64_t>(config_.random_seed));
    const Svd svd = config_.psoft_svd == "full" ? exact_svd(weight)
                                                : randomised_svd(weight, config_.r, config_.psoft_svd_lowrank_niter, generator);
    const Tensor u = svd.u.narrow(1, 0, config_.r), vh = svd.vh.narrow(0, 0, config_.r),
                 s = svd.s.narrow(0, 0, config_.r) / edit.scale;
    const bool shared = config_.ab_svd_init == "pissa_init";
    edit.a = (shared ? s.sqrt().unsqueeze(1) * vh : vh).contiguous();
    edit.b = (u * (shared ? s.sqrt() : s)).contiguous();
  }
  PsoftConfig config_;
};

}  // namespace

extern const MethodRow kPsoft;
const MethodRow kPsoft{.name = "psoft",
                       .peft_type = "PSOFT",
                       .title = "PSOFT",
                       .paper = "arXiv 2505.11235",
                       .trains = "a turn of the weight's largest singular components",
                       .idea = Idea::Orthogonal,
                       .formula = "y = W x + b + U_r S_r (R − I) V_rᵀ x,  R = diag(b) (I + Q)(I − Q)⁻¹ diag(a)",
                       .size = "r (r − 1) / 2 + 2 r a linear",
                       .cost = "LoRA's, without gradients of A and B; a singular value decomposition of each weight at the start",
                       .format = Format::Peft,
                       .mergeable = true,
                       .identity = true,
                       .learning_rate = 1e-3,
                       .make = []() -> std::unique_ptr<Method> { return std::make_unique<Psoft>(); }};

}  // namespace graft
