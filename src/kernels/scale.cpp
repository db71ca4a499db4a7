#include "kernels/scale.h"

#include <ATen/Parallel.h>

#include "core/autograd.h"
#include "kernels/cpu/elementwise_kernel.h"
#include "kernels/recompute.h"
#include "kernels/twins.h"

namespace graft::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct ScaledFunction : torch::autograd::Function<ScaledFunction> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& factor) {
    at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({x, factor});
    return x * factor;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto saved = ctx->get_saved_variables();
    const Tensor x = saved[0].contiguous(), factor = saved[1].contiguous(), dy = grads[0].contiguous();
    const bool need_x = ctx->needs_input_grad(0), need_factor = ctx->needs_input_grad(1);
    const int64_t rows = x.size(0), width = x.size(1), tasks = (rows + cpu::kRowsPerTask - 1) / cpu::kRowsPerTask;
    Tensor dx = need_x ? at::empty_like(x) : Tensor(), sums = need_factor ? at::zeros({tasks, width}, x.options()) : Tensor();
    const float *xp = x.const_data_ptr<float>(), *fp = factor.const_data_ptr<float>(), *dp = dy.const_data_ptr<float>();
    float *dxp = need_x ? dx.mutable_data_ptr<float>() : nullptr, *sums_p = need_factor ? sums.mutable_data_ptr<float>() : nullptr;
    const auto& kernels = cpu::elementwise_kernels();
    at::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t row = task * cpu::kRowsPerTask, offset = row * width;
        kernels.scale_backward(std::min(cpu::kRowsPerTask, rows - row), width, xp + offset, fp, dp + offset, dxp ? dxp + offset : nullptr,
                               sums_p ? sums_p + task * width : nullptr);
      }
    });
    return {dx, need_factor ? sums.sum(0) : Tensor()};
  }
  static Tensor again(AutogradContext* ctx) {
    const auto saved = ctx->get_saved_variables();
    return saved[0] * saved[1];
  }
};
const bool scaled_computes_again = computes_again<ScaledFunction>();

bool in_float(const Tensor& x) { return x.is_cpu() && x.scalar_type() == at::kFloat; }

}  // namespace

Tensor scaled(const Tensor& x, const Tensor& factor) {
  if (composed_only() || !at::GradMode::is_enabled() || !in_float(x) || !in_float(factor)) return scaled_composed(x, factor);
  return ScaledFunction::apply(x, factor);
}

Tensor scaled_composed(const Tensor& x, const Tensor& factor) { return x * factor; }

}  // namespace graft::kernels
