// HRA (arXiv 2405.17484): the weight times a chain of Householder reflections.
//   W' = W Q,  Q = H_0 … H_(r−1),  H_i = I − 2 û_i û_iᵀ
// The chain is one thin product: Q = I − U M Uᵀ with M⁻¹ = ½ I + (strict upper triangle of Uᵀ U), so that x goes through 2 r in
// operations instead of W. With apply_GS the columns are made orthogonal first, which gives Q = I − 2 U (Uᵀ U)⁻¹ Uᵀ.
// Trained: U [in, r]. Init: columns in equal pairs, whose reflections cancel: the identity for even r. Merges: W Q.
// Deviations: an odd r is refused where PEFT starts away from the base with a warning. PEFT's apply_GS divides by 0 at equal
// pairs; we draw all columns independently with it, which is not the identity.
#include "core/check.h"
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/turned_input.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct HraConfig : WeightMethodConfig {
  int64_t r = 8;
  bool apply_gs = false, init_weights = true;
  void visit(Fields& f) override {
    f("r", r, "number of reflections", at_least(1));
    f("apply_GS", apply_gs, "make the reflections' directions orthogonal (Gram-Schmidt)");
    f("init_weights", init_weights, "true: reflections in pairs that cancel; false: random");
    visit_common(f, "hra_only");
  }
};

struct HraEdit : TurnedInput {
  Tensor u;  // [in, r]
  bool orthogonal = false;

  Tensor turned(const Tensor& rows, bool back) const override {
    const Tensor unit = u / u.norm(2, 0, true), gram = at::mm(unit.t(), unit);
    const Tensor half = 0.5 * (orthogonal ? gram : at::eye(u.size(1), u.options()));
    Tensor first = unit, second = orthogonal
                                      ? times_inverse(unit, half)
                                      : at::linalg_solve_triangular(half + gram.triu(1), unit, /*upper=*/true, /*left=*/false);
    if (back) std::swap(first, second);
    const Tensor wide = rows.to(u.scalar_type());  // reflections all but cancel: narrow dtypes would lose what is left
    return at::addmm(wide, at::mm(wide, first), second.t(), 1, -1).to(rows.scalar_type());
  }
  at::ScalarType dtype() const override { return u.scalar_type(); }
};

class Hra : public WeightMethod {
 public:
  Hra() : WeightMethod("hra", config_) {}

 protected:
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    const int64_t in = linear.in(), r = config_.r;
    if (r > in) does_not_fit(linear, fmt::format("r must be in 1..{} but is {}", in, r), "choose a smaller r");
    const bool pairs = config_.init_weights && !config_.apply_gs;
    if (pairs && r % 2 && !context.loading)
      usage_error("hra", fmt::format("r = {} is odd: one reflection has no other that cancels it at the start", r),
                  "choose an even r, or init_weights = false");
    const auto options = adapter_options(context.model);
    auto edit = std::make_shared<HraEdit>();
    edit->orthogonal = config_.apply_gs;
    const Tensor start = kaiming_uniform({in, pairs ? (r + 1) / 2 : r}, options, context.generator);
    edit->u = param(linear, "hra_u", pairs ? start.repeat_interleave(2, 1).narrow(1, 0, r).contiguous() : start, false);
    return edit;
  }

 private:
  HraConfig config_;
};

}  // namespace

extern const MethodRow kHra;
const MethodRow kHra{.name = "hra",
                     .peft_type = "HRA",
                     .title = "HRA",
                     .paper = "arXiv 2405.17484",
                     .trains = "the directions of a chain of reflections of the inputs",
                     .idea = Idea::Orthogonal,
                     .formula = "y = W H_0 … H_(r−1) x + b,  H_i = I − 2 û_i û_iᵀ",
                     .size = "r in a linear",
                     .cost = "4 r in operations a token and pass beside the base's 2 in · out; none after merging",
                     .format = Format::Peft,
                     .mergeable = true,
                     .identity = true,
                     .learning_rate = 1e-3,
                     .make = []() -> std::unique_ptr<Method> { return std::make_unique<Hra>(); }};

}  // namespace graft
