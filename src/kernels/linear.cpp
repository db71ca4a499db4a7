#include "kernels/linear.h"

#include <algorithm>

#include "core/autograd.h"
#include "core/mapped_file.h"
#include "kernels/gemm.h"
#include "kernels/recompute.h"
#include "kernels/thin.h"
#include "kernels/twins.h"
#include "kernels/views.h"

namespace graft::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

Tensor in_dtype_of(const Tensor& weight, const Tensor& x) {
  return weight.scalar_type() == x.scalar_type() ? weight : weight.to(x.scalar_type());
}

// A result of the right shape that takes no memory and no time.
Tensor without_values(const Tensor& x, const Tensor& weight) { return at::zeros({1, 1}, x.options()).expand({x.size(0), weight.size(0)}); }

// `trainable` holds the weights and the biases that there are, in order: what autograd sees beside x.
struct LinearsFunction : torch::autograd::Function<LinearsFunction> {
  static variable_list forward(AutogradContext* ctx, const Tensor& x, at::TensorList /*trainable*/, const std::vector<Tensor>* weights_and_biases, bool values_needed) {
    at::AutoDispatchBelowADInplaceOrView guard;
    LaidOutRows rows;
    variable_list outputs, kept{Tensor()};
    std::vector<int64_t> with_bias;
    for (size_t i = 0; i < weights_and_biases->size(); i += 2) {
      const Tensor &weight = (*weights_and_biases)[i], &bias = (*weights_and_biases)[i + 1];
      if (weight.requires_grad() && !kept[0].defined()) kept[0] = kept_input(ctx, "x", x);
      kept.push_back(weight);
      with_bias.push_back(bias.defined());
      outputs.push_back(values_needed ? product_t(x, weight, bias, &rows) : without_values(x, weight));
    }
    ctx->save_for_backward(kept);
    ctx->saved_data["with_bias"] = with_bias;
    return outputs;
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const auto kept = ctx->get_saved_variables();
    const auto with_bias = ctx->saved_data["with_bias"].toIntVector();
    at::AutoDispatchBelowADInplaceOrView guard;
    variable_list grads(1);
    Tensor dx, x;
    for (size_t i = 0; i < dy.size(); ++i) {
      const Tensor& weight = kept[1 + i];
      if (ctx->needs_input_grad(0)) {
        if (dx.defined()) add_product(dx, dy[i], weight);
        else dx = product(dy[i], weight);
      }
      const bool trained = ctx->needs_input_grad(grads.size());
      if (trained && !x.defined()) x = input_again(ctx, "x", kept[0]);
      grads.push_back(trained ? product_over_rows(dy[i], x, weight.scalar_type()) : Tensor());
      if (with_bias[i]) grads.push_back(ctx->needs_input_grad(grads.size()) ? dy[i].sum(0) : Tensor());
    }
    grads[0] = dx;
    grads.insert(grads.end(), 2, Tensor());  // the pointer, values_needed
    return grads;
  }
};

// `factors` holds A and B of each member that has them, in order: what autograd sees beside x.
struct LowRankFunction : torch::autograd::Function<LowRankFunction> {
  static variable_list forward(AutogradContext* ctx, const Tensor& x, at::TensorList factors, const std::vector<LowRankLinear>* group, bool values_needed) {
    at::AutoDispatchBelowADInplaceOrView guard;
    std::vector<Tensor> all_a;
    for (size_t i = 0; i < factors.size(); i += 2) all_a.push_back(factors[i]);
    const Tensor stacked = in_dtype_of(all_a.size() == 1 ? all_a[0] : at::cat(all_a), x);
    const Tensor s = product_t(x, stacked);  // [tokens, sum of r], times each member's scale
    variable_list outputs, kept{kept_input(ctx, "x", x), s, stacked};
    std::vector<double> scales;  // of those with factors
    for (auto& member : *group)
      if (member.a.defined()) scales.push_back(member.scale);
    const bool one_scale = std::all_of(scales.begin(), scales.end(), [&](double scale) { return scale == scales[0]; });
    if (one_scale && scales[0] != 1) s.mul_(scales[0]);
    int64_t column = 0;
    LaidOutRows rows;
    for (auto& member : *group) {
      Tensor b, own;
      if (member.a.defined()) {
        b = in_dtype_of(member.b, x);
        own = some_columns(s, column, member.a.size(0));
        if (!one_scale) own.mul_(member.scale);
        column += own.size(1);
      }
      outputs.push_back(values_needed ? output(x, member, own, b, rows) : without_values(x, member.weight));
      kept.push_back(member.weight);
      kept.push_back(b);
    }
    ctx->save_for_backward(kept);
    ctx->saved_data["scales"] = scales;
    return outputs;
  }
  // x Wᵀ + bias + own · bᵀ.
  static Tensor output(const Tensor& x, const LowRankLinear& member, const Tensor& own, const Tensor& b, LaidOutRows& rows) {
    if (own.defined() && adds_for_nothing(x, member.weight)) {
      Tensor y = product_t(own, b, member.bias);
      add_product_t(y, x, member.weight, 1, &rows);
      return y;
    }
    Tensor y = product_t(x, member.weight, member.bias, &rows);
    if (own.defined()) add_product_t(y, own, b, 1);
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const auto kept = ctx->get_saved_variables();
    const Tensor &s = kept[1], &stacked = kept[2];
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto scales = ctx->saved_data["scales"].toDoubleVector();
    const at::ScalarType wide = at::promote_types(s.scalar_type(), at::kFloat);  // of the factors' gradients
    Tensor ds = at::empty_like(s);
    variable_list grads{Tensor()};
    int64_t column = 0;
    for (size_t i = 0, side = 0; i < dy.size(); ++i) {
      const Tensor& b = kept[4 + 2 * i];
      if (!b.defined()) continue;
      const int64_t r = b.size(1);
      Tensor piece = some_columns(ds, column, r);
      product_into(piece, dy[i], b, scales[side]);
      grads.push_back(Tensor());  // A's, below
      grads.push_back(product_over_rows(dy[i], some_columns(s, column, r), wide));
      column += r;
      ++side;
    }
    if (ctx->needs_input_grad(0)) {
      const bool first = adds_for_nothing(s, kept[3]);
      Tensor dx = first ? product(ds, stacked) : Tensor();
      for (size_t i = 0; i < dy.size(); ++i) {
        const Tensor& weight = kept[3 + 2 * i];
        if (dx.defined()) add_product(dx, dy[i], weight);
        else dx = product(dy[i], weight);
      }
      if (!first) add_product_t(dx, ds, transposed(stacked), 1);
      grads[0] = dx;
    }
    const Tensor da = product_over_rows(ds, input_again(ctx, "x", kept[0]), wide);  // [sum of r, in]
    int64_t row = 0;
    for (size_t i = 1; i < grads.size(); i += 2) {
      const int64_t r = grads[i + 1].size(1);
      grads[i] = some_rows(da, row, r);
      row += r;
    }
    grads.insert(grads.end(), 2, Tensor());  // the group pointer, values_needed
    return grads;
  }
};

}  // namespace

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, bool values_needed) {
  if (composed_only()) return linear_composed(x, weight, bias);
  if (!at::GradMode::is_enabled()) return product_t(x, weight, bias);
  return linears(x, {weight, bias}, values_needed)[0];
}

Tensor linear_composed(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const Tensor y = at::matmul(x, in_dtype_of(weight, x).t());
  return bias.defined() ? y + in_dtype_of(bias, x) : y;
}

std::vector<Tensor> linears(const Tensor& x, const std::vector<Tensor>& weights_and_biases, bool values_needed) {
  if (composed_only()) return linears_composed(x, weights_and_biases);
  if (at::GradMode::is_enabled()) {
    std::vector<Tensor> trainable;
    for (auto& t : weights_and_biases)
      if (t.defined()) trainable.push_back(t);
    return LinearsFunction::apply(x, at::TensorList(trainable), &weights_and_biases, values_needed);
  }
  LaidOutRows rows;
  std::vector<Tensor> outputs;
  for (size_t i = 0; i < weights_and_biases.size(); i += 2) outputs.push_back(product_t(x, weights_and_biases[i], weights_and_biases[i + 1], &rows));
  return outputs;
}

std::vector<Tensor> linears_composed(const Tensor& x, const std::vector<Tensor>& weights_and_biases) {
  std::vector<Tensor> outputs;
  for (size_t i = 0; i < weights_and_biases.size(); i += 2) outputs.push_back(linear_composed(x, weights_and_biases[i], weights_and_biases[i + 1]));
  return outputs;
}

namespace {

// Without gradients nothing is kept, and joining the A matrices would cost more than it saves.
std::vector<Tensor> low_rank_outputs(const Tensor& x, const std::vector<LowRankLinear>& group) {
  LaidOutRows rows;
  std::vector<Tensor> outputs;
  for (auto& member : group) {
    outputs.push_back(product_t(x, member.weight, member.bias, &rows));
    if (member.a.defined()) add_product_t(outputs.back(), product_t(x, in_dtype_of(member.a, x)), in_dtype_of(member.b, x), member.scale);
  }
  return outputs;
}

}  // namespace

std::vector<Tensor> low_rank_linears(const Tensor& x, const std::vector<LowRankLinear>& group, bool values_needed) {
  if (composed_only()) return low_rank_linears_composed(x, group);
  if (!at::GradMode::is_enabled()) return low_rank_outputs(x, group);
  std::vector<Tensor> factors;
  for (auto& member : group)
    if (member.a.defined()) factors.insert(factors.end(), {member.a, member.b});
  return LowRankFunction::apply(x, at::TensorList(factors), &group, values_needed);
}

std::vector<Tensor> low_rank_linears_composed(const Tensor& x, const std::vector<LowRankLinear>& group) {
  std::vector<Tensor> outputs;
  for (auto& member : group) {
    Tensor y = linear_composed(x, member.weight, member.bias);
    if (member.a.defined()) y = y + at::matmul(at::matmul(x, in_dtype_of(member.a, x).t()), in_dtype_of(member.b, x).t()) * member.scale;
    outputs.push_back(y);
  }
  return outputs;
}

Tensor row_norms(const LowRankLinear& linear) {
  at::NoGradGuard no_grad;
  if (!low_rank_rows_here(linear.weight, linear.a, linear.b)) return row_norms_composed(linear);
  const Tensor norms = low_rank_row_norms(linear.weight, linear.a, linear.b, linear.scale);
  let_go(linear.weight);
  return norms;
}

Tensor row_norms_composed(const LowRankLinear& linear) {
  at::NoGradGuard no_grad;
  return (linear.weight.detach().to(linear.a.scalar_type()) + at::mm(linear.b, linear.a).mul_(linear.scale)).norm(2, 1);
}

}  // namespace graft::kernels
