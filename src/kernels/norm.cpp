#include "kernels/norm.h"

#include <ATen/Parallel.h>

#include "core/autograd.h"
#include "kernels/cpu/elementwise_kernel.h"
#include "kernels/cuda/fused.h"
#include "kernels/recompute.h"
#include "kernels/twins.h"

namespace graft::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

bool norm_in_float(const Tensor& x) { return x.is_cpu() && x.scalar_type() == at::kFloat; }

struct Normalised {
  Tensor y, scales;  // scales [rows, 1]
};

Normalised rms_value(const Tensor& x, const Tensor& gain, double eps) {
  if (!norm_in_float(x)) {
    const Tensor scales = at::rsqrt(x.square().mean(-1, true) + eps);
    return {x * scales * gain, scales};
  }
  const int64_t rows = x.size(0), width = x.size(1);
  Tensor y = at::empty_like(x), scales = at::empty({rows, 1}, x.options());
  const float *xp = x.const_data_ptr<float>(), *gp = gain.const_data_ptr<float>();
  float *yp = y.mutable_data_ptr<float>(), *sp = scales.mutable_data_ptr<float>();
  const auto& kernels = cpu::elementwise_kernels();
  at::parallel_for(0, rows, cpu::kRowsPerTask, [&](int64_t begin, int64_t end) {
    kernels.rms_forward(end - begin, width, xp + begin * width, gp, static_cast<float>(eps), yp + begin * width, sp + begin);
  });
  return {y, scales};
}

// dx = scale · (g − x · scale² · mean(g · x)) with g = dy · gain; the gain's slope is Σ dy · x · scale over the rows.
variable_list rms_slopes(const Tensor& x, const Tensor& gain, const Tensor& scales, const Tensor& dy, bool need_x, bool need_gain) {
  if (!norm_in_float(x)) {
    const Tensor g = dy * gain, n = x * scales;
    return {need_x ? (g - n * (g * n).mean(-1, true)) * scales : Tensor(), need_gain ? (dy * n).sum(0) : Tensor()};
  }
  const int64_t rows = x.size(0), width = x.size(1), tasks = (rows + cpu::kRowsPerTask - 1) / cpu::kRowsPerTask;
  Tensor dx = need_x ? at::empty_like(x) : Tensor(), sums = need_gain ? at::zeros({tasks, width}, x.options()) : Tensor();
  const float *xp = x.const_data_ptr<float>(), *gp = gain.const_data_ptr<float>(), *sp = scales.const_data_ptr<float>(), *dp = dy.const_data_ptr<float>();
  float *dxp = need_x ? dx.mutable_data_ptr<float>() : nullptr, *sums_p = need_gain ? sums.mutable_data_ptr<float>() : nullptr;
  const auto& kernels = cpu::elementwise_kernels();
  at::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t row = task * cpu::kRowsPerTask, offset = row * width;
      kernels.rms_backward(std::min(cpu::kRowsPerTask, rows - row), width, xp + offset, gp, sp + row, dp + offset, dxp ? dxp + offset : nullptr,
                           sums_p ? sums_p + task * width : nullptr);
    }
  });
  return {dx, need_gain ? sums.sum(0) : Tensor()};
}

struct RmsNormFunction : torch::autograd::Function<RmsNormFunction> {
  static Tensor forward(AutogradContext* ctx, const Tensor& input, const Tensor& weight, double eps) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const Tensor x = input.contiguous();
    const Normalised n = rms_value(x, weight.to(x.scalar_type()).contiguous(), eps);
    ctx->save_for_backward({x, weight, n.scales});
    ctx->saved_data["eps"] = eps;
    return n.y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1];
    const auto slopes = rms_slopes(x, weight.to(x.scalar_type()).contiguous(), saved[2], grads[0].contiguous(), ctx->needs_input_grad(0), weight.requires_grad());
    return {slopes[0], slopes[1].defined() ? slopes[1].to(weight.scalar_type()) : Tensor(), Tensor()};
  }
  static Tensor again(AutogradContext* ctx) {
    const auto saved = ctx->get_saved_variables();
    return rms_value(saved[0], saved[1].to(saved[0].scalar_type()).contiguous(), ctx->saved_data["eps"].toDouble()).y;
  }
};
const bool rms_norm_computes_again = computes_again<RmsNormFunction>();

struct LayerNormalised {
  Tensor y, moments;  // moments [rows, 2]: mean and scale
};

LayerNormalised layer_value(const Tensor& x, const Tensor& gain, const Tensor& shift, double eps) {
  const int64_t width = x.size(-1), rows = x.numel() / width;
  Tensor y = at::empty_like(x), moments = at::empty({rows, 2}, x.options());
  const float *xp = x.const_data_ptr<float>(), *gp = gain.defined() ? gain.const_data_ptr<float>() : nullptr;
  const float* shift_p = shift.defined() ? shift.const_data_ptr<float>() : nullptr;
  float *yp = y.mutable_data_ptr<float>(), *mp = moments.mutable_data_ptr<float>();
  const auto& kernels = cpu::elementwise_kernels();
  at::parallel_for(0, rows, cpu::kRowsPerTask, [&](int64_t begin, int64_t end) {
    kernels.layer_forward(end - begin, width, xp + begin * width, gp, shift_p, static_cast<float>(eps), yp + begin * width, mp + 2 * begin);
  });
  return {y, moments};
}

// The slopes of x, gain and shift.
variable_list layer_slopes(const Tensor& x, const Tensor& gain, const Tensor& moments, const Tensor& dy, bool need_x, bool need_gain, bool need_shift) {
  const int64_t width = x.size(-1), rows = x.numel() / width, tasks = (rows + cpu::kRowsPerTask - 1) / cpu::kRowsPerTask;
  const auto sums = [&](bool need) { return need ? at::zeros({tasks, width}, x.options()) : Tensor(); };
  Tensor dx = need_x ? at::empty_like(x) : Tensor(), gain_sums = sums(need_gain), shift_sums = sums(need_shift);
  const auto memory = [](Tensor& t) { return t.defined() ? t.mutable_data_ptr<float>() : nullptr; };
  const float *xp = x.const_data_ptr<float>(), *gp = gain.defined() ? gain.const_data_ptr<float>() : nullptr;
  const float *mp = moments.const_data_ptr<float>(), *dp = dy.const_data_ptr<float>();
  float *dxp = memory(dx), *gain_p = memory(gain_sums), *shift_p = memory(shift_sums);
  const auto& kernels = cpu::elementwise_kernels();
  at::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t row = task * cpu::kRowsPerTask, offset = row * width;
      kernels.layer_backward(std::min(cpu::kRowsPerTask, rows - row), width, xp + offset, gp, mp + 2 * row, dp + offset, dxp ? dxp + offset : nullptr,
                             gain_p ? gain_p + task * width : nullptr, shift_p ? shift_p + task * width : nullptr);
    }
  });
  return {dx, need_gain ? gain_sums.sum(0) : Tensor(), need_shift ? shift_sums.sum(0) : Tensor()};
}

struct LayerNormFunction : torch::autograd::Function<LayerNormFunction> {
  static Tensor forward(AutogradContext* ctx, const Tensor& input, const std::optional<Tensor>& weight, const std::optional<Tensor>& bias, double eps) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto dense = [](const std::optional<Tensor>& t) { return t ? t->contiguous() : Tensor(); };
    const Tensor x = input.contiguous(), gain = dense(weight), shift = dense(bias);
    const LayerNormalised n = layer_value(x, gain, shift, eps);
    ctx->save_for_backward({x, gain, n.moments, shift});
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["gain"] = weight && weight->requires_grad();
    ctx->saved_data["shift"] = bias && bias->requires_grad();
    return n.y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    auto slopes = layer_slopes(saved[0], saved[1], saved[2], grads[0].contiguous(), ctx->needs_input_grad(0), ctx->saved_data["gain"].toBool(),
                               ctx->saved_data["shift"].toBool());
    slopes.push_back(Tensor());
    return slopes;
  }
  static Tensor again(AutogradContext* ctx) {
    const auto saved = ctx->get_saved_variables();
    return layer_value(saved[0], saved[1], saved[3], ctx->saved_data["eps"].toDouble()).y;
  }
};
const bool layer_norm_computes_again = computes_again<LayerNormFunction>();

}  // namespace

Tensor rms_norm_composed(const Tensor& x, const Tensor& weight, double eps) {
  return x * at::rsqrt(x.square().mean(-1, true) + eps) * weight;
}

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  if (!composed_only() && x.dim() == 2 && cuda::has_kernels(x)) return cuda::rms_norm(x, weight, eps);
  if (x.scalar_type() == at::kHalf || x.scalar_type() == at::kBFloat16) return rms_norm(x.to(at::kFloat), weight.to(at::kFloat), eps).to(x.scalar_type());
  if (composed_only() || x.dim() != 2) return rms_norm_composed(x, weight, eps);
  return RmsNormFunction::apply(x, weight, eps);
}

Tensor layer_norm_composed(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  const auto as_x = [&](const Tensor& t) { return t.defined() ? t.to(x.scalar_type()) : t; };  // trained ones are wider
  return at::layer_norm(x, {x.size(-1)}, as_x(weight), as_x(bias), eps);
}

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  const auto fits = [](const Tensor& t) { return !t.defined() || norm_in_float(t); };
  if (composed_only() || !norm_in_float(x) || !fits(weight) || !fits(bias) || x.numel() == 0) return layer_norm_composed(x, weight, bias, eps);
  const auto given = [](const Tensor& t) { return t.defined() ? std::optional<Tensor>(t) : std::nullopt; };
  return LayerNormFunction::apply(x, given(weight), given(bias), eps);
}

}  // namespace graft::kernels
