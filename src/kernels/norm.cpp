#include "kernels/norm.h"

#include <ATen/Parallel.h>

#include <cmath>

#include "core/autograd.h"
#include "kernels/cpu.h"
#include "kernels/recompute.h"
#include "kernels/twins.h"

namespace graft::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

template <class T>
GRAFT_VECTORISED T forward_row(const T* x, const T* weight, T* y, int64_t width, double eps) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < width; ++i) sum += x[i] * x[i];
  const T scale = T(1) / std::sqrt(sum / T(width) + T(eps));
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) y[i] = x[i] * scale * weight[i];
  return scale;
}

// dx = scale · (g − x · scale² · mean(g·x)) with g = dy · weight
template <class T>
GRAFT_VECTORISED void backward_row(const T* x, const T* weight, const T* dy, T scale, T* dx, int64_t width) {
  T dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t i = 0; i < width; ++i) dot += dy[i] * weight[i] * x[i];
  const T shift = dot * scale * scale / T(width);
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) dx[i] = scale * (dy[i] * weight[i] - x[i] * shift);
}

constexpr int64_t kRowsPerTask = 16;

struct RmsNormFunction : torch::autograd::Function<RmsNormFunction> {
  static Tensor forward(AutogradContext* ctx, const Tensor& input, const Tensor& weight, double eps) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const Tensor x = input.contiguous(), w = weight.to(x.scalar_type()).contiguous();
    const auto [y, scales] = output(x, w, eps);
    ctx->saved_data["eps"] = eps;
    ctx->save_for_backward({x, weight, scales});
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], &scales = saved[2];
    const Tensor dy = grads[0].contiguous(), w = weight.to(x.scalar_type()).contiguous();
    const int64_t rows = x.size(0), width = x.size(1);
    Tensor dx, dw;
    if (ctx->needs_input_grad(0)) {
      dx = at::empty_like(x);
      const auto run = [&](auto zero) {
        using T = decltype(zero);
        const T *xp = x.const_data_ptr<T>(), *wp = w.const_data_ptr<T>(), *gp = dy.const_data_ptr<T>(), *sp = scales.const_data_ptr<T>();
        T* dp = dx.mutable_data_ptr<T>();
        at::parallel_for(0, rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
          for (int64_t r = begin; r < end; ++r)
            backward_row(xp + r * width, wp, gp + r * width, sp[r], dp + r * width, width);
        });
      };
      if (x.scalar_type() == at::kDouble) run(double{});
      else run(float{});
    }
    if (weight.requires_grad()) dw = (dy * x * scales.unsqueeze(1)).sum(0).to(weight.scalar_type());
    return {dx, dw, Tensor()};
  }
  static Tensor again(AutogradContext* ctx) {
    const auto saved = ctx->get_saved_variables();
    return output(saved[0], saved[1].to(saved[0].scalar_type()).contiguous(), ctx->saved_data["eps"].toDouble()).first;
  }

 private:
  // y and the scale of each row.
  static std::pair<Tensor, Tensor> output(const Tensor& x, const Tensor& w, double eps) {
    const int64_t rows = x.size(0), width = x.size(1);
    Tensor y = at::empty_like(x), scales = at::empty({rows}, x.options());
    const auto run = [&](auto zero) {
      using T = decltype(zero);
      const T *xp = x.const_data_ptr<T>(), *wp = w.const_data_ptr<T>();
      T *yp = y.mutable_data_ptr<T>(), *sp = scales.mutable_data_ptr<T>();
      at::parallel_for(0, rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) sp[r] = forward_row(xp + r * width, wp, yp + r * width, width, eps);
      });
    };
    if (x.scalar_type() == at::kDouble) run(double{});
    else run(float{});
    return {y, scales};
  }
};
const bool rms_norm_computes_again = computes_again<RmsNormFunction>();

bool fused_here(const Tensor& x) { return !composed_only() && x.is_cpu() && x.dim() == 2 && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble); }

}  // namespace

Tensor rms_norm_composed(const Tensor& x, const Tensor& weight, double eps) {
  return x * at::rsqrt(x.square().mean(-1, true) + eps) * weight;
}

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  if (x.scalar_type() == at::kHalf || x.scalar_type() == at::kBFloat16) return rms_norm(x.to(at::kFloat), weight.to(at::kFloat), eps).to(x.scalar_type());
  if (!fused_here(x)) return rms_norm_composed(x, weight, eps);
  return RmsNormFunction::apply(x, weight, eps);
}

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  return at::layer_norm(x, {x.size(-1)}, weight, bias, eps);
}

}  // namespace graft::kernels
