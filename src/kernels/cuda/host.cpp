#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <initializer_list>

#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/rows.h"

namespace graft::kernels::cuda {
namespace {

constexpr int kLanes = 32;  // as many as a row of a GPU's kernel has at least

template <class T, class W>
struct HostNorm {
  const NormCall& call;
  const T *x = static_cast<const T*>(call.x), *dy = static_cast<const T*>(call.dy);
  const W* weight = static_cast<const W*>(call.weight);

  template <int N>
  void forward() const {
    for (int64_t r = 0; r < call.rows; ++r) {
      float squares = 0;
      for (int lane = 0; lane < kLanes; ++lane) squares += square_sum<N>(x + r * call.width, call.width, lane, kLanes);
      call.scales[r] = norm_scale(squares, call.width, call.eps);
      for (int lane = 0; lane < kLanes; ++lane)
        norm_write<N>(x + r * call.width, weight, call.scales[r], static_cast<T*>(call.y) + r * call.width, call.width, lane, kLanes);
    }
  }
  template <int N>
  void backward() const {
    for (int64_t r = 0; call.dx && r < call.rows; ++r) {
      const int64_t at = r * call.width;
      float dot = 0;
      for (int lane = 0; lane < kLanes; ++lane) dot += norm_dot<N>(x + at, weight, dy + at, call.width, lane, kLanes);
      for (int lane = 0; lane < kLanes; ++lane)
        norm_gradient<N>(x + at, weight, dy + at, call.scales[r], dot, static_cast<T*>(call.dx) + at, call.width, lane, kLanes);
    }
    const int64_t parts = norm_partials(call.rows), each = (call.rows + parts - 1) / parts;
    for (int64_t p = 0; call.weight_partials && p < parts; ++p)
      for (int64_t c = 0; c < call.width; ++c)
        call.weight_partials[p * call.width + c] =
            norm_column(x, dy, call.scales, p * each, std::min(call.rows, (p + 1) * each), call.width, c);
  }
};

template <class F>
const char* host_elements(Element element, Element weight, const F& f) {
  return with_elements<c10::Half, c10::BFloat16>(element, weight, f);
}

const char* norm_forward(const NormCall& call, void*) {
  return host_elements(call.element, call.weight_element, [&](auto t, auto w) -> const char* {
    const HostNorm<decltype(t), decltype(w)> norm{call};
    if (norm_packs<decltype(t), decltype(w)>(call)) norm.template forward<16 / sizeof(t)>();
    else norm.template forward<1>();
    return nullptr;
  });
}

const char* norm_backward(const NormCall& call, void*) {
  return host_elements(call.element, call.weight_element, [&](auto t, auto w) -> const char* {
    const HostNorm<decltype(t), decltype(w)> norm{call};
    if (norm_packs<decltype(t), decltype(w)>(call)) norm.template backward<16 / sizeof(t)>();
    else norm.template backward<1>();
    return nullptr;
  });
}

const char* rope(const RopeCall& call, void*) {
  return host_elements(call.element, call.element, [&](auto t, auto) -> const char* {
    using T = decltype(t);
    for (int64_t row = 0; row < call.tokens * call.heads; ++row) {
      const T *x = static_cast<const T*>(call.x) + row * call.dim, *cos = static_cast<const T*>(call.cos) + row / call.heads * call.half;
      const T* sin = static_cast<const T*>(call.sin) + row / call.heads * call.half;
      T* y = static_cast<T*>(call.y) + row * call.dim;
      constexpr int N = 16 / sizeof(T);
      if (rope_packs<T>(call))
        for (int64_t slot = 0; slot < call.half; slot += N) rope_slots<N>(x, cos, sin, y, slot, call.half, call.direction);
      else
        for (int64_t slot = 0; slot < call.dim - call.half; ++slot) rope_slot(x, cos, sin, y, slot, call.half, call.direction, call.interleaved);
    }
    return nullptr;
  });
}

template <class T, int N>
void gated_range(const GatedCall& call) {
  const auto in = [](const void* p) { return static_cast<const T*>(p); };
  const auto out = [](void* p) { return static_cast<T*>(p); };
  for (int64_t i = 0; i < call.count; i += N)
    if (call.dy) gated_gradient<N>(call.kind, in(call.gate), in(call.up), in(call.dy), out(call.dgate), out(call.dup), i);
    else gated_value<N>(call.kind, in(call.gate), in(call.up), out(call.y), i);
}

const char* gated(const GatedCall& call, void*) {
  return host_elements(call.element, call.element, [&](auto t, auto) -> const char* {
    using T = decltype(t);
    if (gated_packs<T>(call)) gated_range<T, 16 / sizeof(T)>(call);
    else gated_range<T, 1>(call);
    return nullptr;
  });
}

template <class T, int N>
void loss_rows(const LossCall& call) {
  for (int64_t row = 0; row < call.rows; ++row) {
    T* logits = static_cast<T*>(call.logits) + row * call.vocab;
    const float target_z = call.scale * number(logits[call.targets[row]]);
    SoftmaxSums sums = kNoLogits;
    for (int lane = 0; lane < kLanes; ++lane) sums = joined(sums, softmax_sums<N>(logits, call.scale, call.vocab, lane, kLanes));
    call.losses[row] = loss_of(sums, target_z, call.smoothing, call.vocab);
    for (int lane = 0; call.slope && lane < kLanes; ++lane)
      loss_slope<N>(logits, sums, call.targets[row], call.scale, call.smoothing, call.vocab, lane, kLanes);
  }
}

const char* loss(const LossCall& call, void*) {
  return host_elements(call.element, call.element, [&](auto t, auto) -> const char* {
    using T = decltype(t);
    if (loss_packs<T>(call)) loss_rows<T, 16 / sizeof(T)>(call);
    else loss_rows<T, 1>(call);
    return nullptr;
  });
}

}  // namespace

const RowKernels& host_kernels() {
  static const RowKernels kernels{norm_forward, norm_backward, rope, gated, gated, loss};
  return kernels;
}

#ifndef GRAFT_CUDA_KERNELS
const RowKernels& device_kernels() { return host_kernels(); }  // never asked for: see has_kernels
#endif

}  // namespace graft::kernels::cuda
