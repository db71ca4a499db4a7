#include "kernels/rope.h"

#include <ATen/Parallel.h>

#include "core/autograd.h"
#include "kernels/twins.h"
#include "kernels/cpu.h"
#include "kernels/cuda/fused.h"

namespace graft::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

template <class T>
GRAFT_VECTORISED void turn(const T* x, const T* cos, const T* sin, T* y, int64_t heads, int64_t dim, int64_t half, T direction) {
  for (int64_t h = 0; h < heads; ++h, x += dim, y += dim) {
#pragma omp simd
    for (int64_t i = 0; i < half; ++i) {
      const T first = x[i], second = x[i + half], s = direction * sin[i];
      y[i] = first * cos[i] - second * s;
      y[i + half] = second * cos[i] + first * s;
    }
    for (int64_t i = 2 * half; i < dim; ++i) y[i] = x[i];
  }
}

template <class T>
GRAFT_VECTORISED void turn_neighbours(const T* x, const T* cos, const T* sin, T* y, int64_t heads, int64_t dim, int64_t half, T direction) {
  for (int64_t h = 0; h < heads; ++h, x += dim, y += dim) {
#pragma omp simd
    for (int64_t i = 0; i < half; ++i) {
      const T first = x[2 * i], second = x[2 * i + 1], s = direction * sin[i];
      y[2 * i] = first * cos[i] - second * s;
      y[2 * i + 1] = second * cos[i] + first * s;
    }
    for (int64_t i = 2 * half; i < dim; ++i) y[i] = x[i];
  }
}

Tensor turned(const Tensor& input, const Tensor& cos, const Tensor& sin, double direction, bool interleaved) {
  const Tensor x = input.contiguous();
  Tensor y = at::empty_like(x);
  const int64_t tokens = x.size(0), heads = x.size(1), dim = x.size(2), half = cos.size(1);
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    const T *xp = x.const_data_ptr<T>(), *cp = cos.const_data_ptr<T>(), *sp = sin.const_data_ptr<T>();
    T* yp = y.mutable_data_ptr<T>();
    at::parallel_for(0, tokens, 32, [&](int64_t begin, int64_t end) {
      const auto step = interleaved ? turn_neighbours<T> : turn<T>;
      for (int64_t t = begin; t < end; ++t)
        step(xp + t * heads * dim, cp + t * half, sp + t * half, yp + t * heads * dim, heads, dim, half, T(direction));
    });
  };
  if (x.scalar_type() == at::kDouble) run(double{});
  else run(float{});
  return y;
}

// The backward pass of a rotation is the opposite rotation; nothing but the angles is kept.
struct RopeFunction : torch::autograd::Function<RopeFunction> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& cos, const Tensor& sin, bool interleaved) {
    at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({cos, sin});
    ctx->saved_data["interleaved"] = interleaved;
    return turned(x, cos, sin, 1, interleaved);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    return {turned(grads[0], saved[0], saved[1], -1, ctx->saved_data["interleaved"].toBool()), Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor rope_composed(const Tensor& x, const Tensor& cos, const Tensor& sin, bool interleaved) {
  const int64_t half = cos.size(1);
  const Tensor c = cos.unsqueeze(1), s = sin.unsqueeze(1), rest = x.narrow(2, 2 * half, x.size(2) - 2 * half), turning = x.narrow(2, 0, 2 * half);
  if (interleaved) {
    const Tensor pairs = turning.unflatten(2, {half, 2}), first = pairs.select(3, 0), second = pairs.select(3, 1);
    return at::cat({at::stack({first * c - second * s, second * c + first * s}, 3).flatten(2), rest}, 2);
  }
  const Tensor first = turning.narrow(2, 0, half), second = turning.narrow(2, half, half);
  return at::cat({first * c - second * s, second * c + first * s, rest}, 2);
}

Tensor rope(const Tensor& x, const Tensor& cos, const Tensor& sin, bool interleaved) {
  if (!composed_only() && cuda::has_kernels(x)) return cuda::rope(x, cos, sin, interleaved);
  const bool fused = !composed_only() && x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble) && cos.scalar_type() == x.scalar_type();
  return fused ? RopeFunction::apply(x, cos.contiguous(), sin.contiguous(), interleaved) : rope_composed(x, cos, sin, interleaved);
}

}  // namespace graft::kernels
