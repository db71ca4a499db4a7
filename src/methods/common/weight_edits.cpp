#include "methods/common/weight_edits.h"

#include <torch/csrc/autograd/autograd.h>

#include <functional>

#include "core/autograd.h"
#include "kernels/dropout.h"
#include "kernels/gemm.h"
#include "kernels/linear.h"
#include "kernels/recompute.h"
#include "kernels/twins.h"

namespace graft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Computed = std::function<Tensor()>;

struct ComputedHolder : torch::CustomClassHolder {
  Computed matrix;
};

// y = x Mᵀ for a matrix M in the dtype of x that `matrix` computes from the leaves `trained`.
struct ComputedLinear : torch::autograd::Function<ComputedLinear> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, at::TensorList trained, const Computed* matrix) {
    at::NoGradGuard no_grad;
    auto holder = c10::make_intrusive<ComputedHolder>();
    holder->matrix = *matrix;
    ctx->saved_data["holder"] = c10::IValue::make_capsule(holder);
    variable_list kept{kernels::kept_input(ctx, "x", x)};
    kept.insert(kept.end(), trained.begin(), trained.end());
    ctx->save_for_backward(kept);
    return kernels::product_t(x, (*matrix)());
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const auto kept = ctx->get_saved_variables();
    const variable_list trained(kept.begin() + 1, kept.end());
    auto holder = c10::static_intrusive_pointer_cast<ComputedHolder>(ctx->saved_data["holder"].toCapsule());
    Tensor matrix;
    {
      at::AutoGradMode grad(true);
      matrix = holder->matrix();
    }
    variable_list grads{ctx->needs_input_grad(0) ? kernels::product(dy[0], matrix.detach()) : Tensor()};
    const Tensor dm = kernels::product_over_rows(dy[0], kernels::input_again(ctx, "x", kept[0]), dy[0].scalar_type());
    for (auto& g : torch::autograd::grad({matrix}, trained, {dm}, {}, false, /*allow_unused=*/true)) grads.push_back(g);
    grads.push_back(Tensor());  // the function pointer
    return grads;
  }
};

Tensor computed_linear(const Tensor& x, const std::vector<Tensor>& trained, const Computed& matrix) {
  if (kernels::composed_only()) return kernels::linear_composed(x, matrix(), {});
  if (!at::GradMode::is_enabled()) return kernels::product_t(x, matrix());
  return ComputedLinear::apply(x, at::TensorList(trained), &matrix);
}

Tensor zeros_and_ones(int64_t n, double p, const Tensor& like) {
  return (kernels::dropout(at::ones({n}, like.options().requires_grad(false)), p) > 0).to(like.scalar_type());
}

}  // namespace

Tensor DeltaEdit::linear(const Linear& base, const Tensor& x, bool training) const {
  if (!training || !drops.any()) return without_drops(base, x);
  const Tensor y = kernels::linear(x, base.weight, base.bias);
  if (drops.whole > 0 && !zeros_and_ones(1, drops.whole, x).item<bool>()) return y;
  Tensor update = side(base, drops.input > 0 ? kernels::dropout(x, drops.input) : x);
  if (drops.rows > 0) {
    const Tensor rows = zeros_and_ones(base.out(), drops.rows, x);
    update = update * (drops.rows_scaled ? rows / rows.mean().clamp_min(1e-6) : rows);
  }
  return y + update;
}

// The closures live until the backward pass and so does the edit, which the sites hold.
Tensor DeltaEdit::without_drops(const Linear& base, const Tensor& x) const {
  const auto dtype = trained.front().scalar_type();
  if (x.scalar_type() != dtype) return kernels::linear(x, base.weight, base.bias) + side(base, x);
  const Tensor y = computed_linear(x, trained, [this, weight = base.weight.detach(), dtype] {
    const Tensor wide = weight.to(dtype);
    return wide + delta(wide);
  });
  return base.bias.defined() ? y + base.bias.to(dtype) : y;
}

Tensor DeltaEdit::side(const Linear& base, const Tensor& x) const {
  return computed_linear(x, trained,
                         [this, weight = base.weight.detach(), wide = trained.front().scalar_type(), narrow = x.scalar_type()] {
                           return delta(weight.to(wide)).to(narrow);
                         });
}

std::optional<Linear> DeltaEdit::merged(const Linear& base) const {
  at::NoGradGuard no_grad;
  Linear result = base;
  const Tensor weight = base.weight.to(trained.front().scalar_type());
  result.weight = weight + delta(weight);
  return result;
}

Tensor UpdateEdit::delta(const Tensor& weight) const {
  return update(at::eye(weight.size(1), weight.options())).t();
}

Tensor UpdateEdit::without_drops(const Linear& base, const Tensor& x) const {
  return kernels::linear(x, base.weight, base.bias) + side(base, x);
}

Tensor UpdateEdit::side(const Linear&, const Tensor& x) const {
  return update(x.to(trained.front().scalar_type())).to(x.scalar_type());
}

Tensor FactorsEdit::delta(const Tensor&) const {
  const auto [a, b, scale] = factors();
  return at::mm(b, a) * scale;
}

std::optional<LowRank> FactorsEdit::low_rank(bool training) const {
  if (training && drops.any()) return std::nullopt;
  return factors();
}

Tensor FactorsEdit::without_drops(const Linear& base, const Tensor& x) const {
  if (base.bias.defined() && base.bias.requires_grad()) return kernels::linear(x, base.weight, base.bias) + side(base, x);
  const auto [a, b, scale] = factors();
  return kernels::low_rank_linears(x, {{base.weight, base.bias, a, b, scale}})[0];
}

Tensor FactorsEdit::side(const Linear&, const Tensor& x) const {
  const auto [a, b, scale] = factors();
  return (at::mm(at::mm(x.to(a.scalar_type()), a.t()), b.t()) * scale).to(x.scalar_type());
}

}  // namespace graft
