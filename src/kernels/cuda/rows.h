// The arithmetic of the GPU kernels, a row at a time, for both compilers: kernels.cu runs it on a GPU, host.cpp on a CPU, where
// tests compare it with the composed operations. A row is shared by `lanes` threads, of which this is number `lane`; each takes
// packs of N neighbouring elements. Sums are float32 whatever the element is.
#pragma once
#include <cmath>
#include <cstdint>

#include "kernels/cuda/kernels.h"

#if defined(__CUDACC__)
#define GRAFT_BOTH __host__ __device__ __forceinline__
#else
#define GRAFT_BOTH inline
#endif

namespace graft::kernels::cuda {

// N elements that are read and written as one.
template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T at[N];
};
template <int N, class T>
GRAFT_BOTH Pack<T, N> load(const T* from, int64_t element) {
  return *reinterpret_cast<const Pack<T, N>*>(from + element);
}
template <int N, class T>
GRAFT_BOTH void store(T* to, int64_t element, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(to + element) = pack;
}
template <class T>
GRAFT_BOTH float number(T x) {
  return static_cast<float>(x);
}

// --- root-mean-square norm: y = x · s · w with s = 1 / √(mean(x²) + eps) ---

// This lane's share of Σ x².
template <int N, class T>
GRAFT_BOTH float square_sum(const T* x, int64_t width, int lane, int lanes) {
  float sum = 0;
  for (int64_t i = int64_t{N} * lane; i < width; i += int64_t{N} * lanes) {
    const auto xs = load<N>(x, i);
    for (int j = 0; j < N; ++j) sum += number(xs.at[j]) * number(xs.at[j]);
  }
  return sum;
}
GRAFT_BOTH float norm_scale(float squares, int64_t width, float eps) { return 1.0f / sqrtf(squares / static_cast<float>(width) + eps); }

template <int N, class T, class W>
GRAFT_BOTH void norm_write(const T* x, const W* weight, float scale, T* y, int64_t width, int lane, int lanes) {
  for (int64_t i = int64_t{N} * lane; i < width; i += int64_t{N} * lanes) {
    const auto xs = load<N>(x, i);
    const auto ws = load<N>(weight, i);
    Pack<T, N> out;
    for (int j = 0; j < N; ++j) out.at[j] = T(number(xs.at[j]) * scale * number(ws.at[j]));
    store<N>(y, i, out);
  }
}

// This lane's share of Σ dy · w · x.
template <int N, class T, class W>
GRAFT_BOTH float norm_dot(const T* x, const W* weight, const T* dy, int64_t width, int lane, int lanes) {
  float sum = 0;
  for (int64_t i = int64_t{N} * lane; i < width; i += int64_t{N} * lanes) {
    const auto xs = load<N>(x, i), ds = load<N>(dy, i);
    const auto ws = load<N>(weight, i);
    for (int j = 0; j < N; ++j) sum += number(ds.at[j]) * number(ws.at[j]) * number(xs.at[j]);
  }
  return sum;
}

// dx = s · (dy · w − x · s² · mean(dy · w · x))
template <int N, class T, class W>
GRAFT_BOTH void norm_gradient(const T* x, const W* weight, const T* dy, float scale, float dot, T* dx, int64_t width, int lane, int lanes) {
  const float shift = dot * scale * scale / static_cast<float>(width);
  for (int64_t i = int64_t{N} * lane; i < width; i += int64_t{N} * lanes) {
    const auto xs = load<N>(x, i), ds = load<N>(dy, i);
    const auto ws = load<N>(weight, i);
    Pack<T, N> out;
    for (int j = 0; j < N; ++j) out.at[j] = T(scale * (number(ds.at[j]) * number(ws.at[j]) - number(xs.at[j]) * shift));
    store<N>(dx, i, out);
  }
}

// The weight's gradient in one column, over some rows: Σ dy · x · s.
template <class T>
GRAFT_BOTH float norm_column(const T* x, const T* dy, const float* scales, int64_t first, int64_t last, int64_t width, int64_t column) {
  float sum = 0;
  for (int64_t r = first; r < last; ++r) sum += number(dy[r * width + column]) * number(x[r * width + column]) * scales[r];
  return sum;
}

// --- rotary positions of one head ---

// Element `slot` of a head: a pair that turns below `half`, then those that pass through.
template <class T>
GRAFT_BOTH void rope_slot(const T* x, const T* cos, const T* sin, T* y, int64_t slot, int64_t half, float direction, bool interleaved) {
  if (slot >= half) {
    y[half + slot] = x[half + slot];
    return;
  }
  const int64_t a = interleaved ? 2 * slot : slot, b = interleaved ? a + 1 : slot + half;
  const float first = number(x[a]), second = number(x[b]), c = number(cos[slot]), s = direction * number(sin[slot]);
  y[a] = T(first * c - second * s);
  y[b] = T(second * c + first * s);
}

// `slot` and the N − 1 behind it, where pairs lie half a head apart and nothing passes through.
template <int N, class T>
GRAFT_BOTH void rope_slots(const T* x, const T* cos, const T* sin, T* y, int64_t slot, int64_t half, float direction) {
  const auto first = load<N>(x, slot), second = load<N>(x, slot + half), cs = load<N>(cos, slot), ss = load<N>(sin, slot);
  Pack<T, N> low, high;
  for (int j = 0; j < N; ++j) {
    const float a = number(first.at[j]), b = number(second.at[j]), c = number(cs.at[j]), s = direction * number(ss.at[j]);
    low.at[j] = T(a * c - b * s);
    high.at[j] = T(b * c + a * s);
  }
  store<N>(y, slot, low);
  store<N>(y, slot + half, high);
}

// --- gated activations: y = act(gate) · up ---

struct Activated {
  float value, slope;
};
GRAFT_BOTH Activated activated(Gate kind, float x) {
  if (kind == Gate::Silu) {
    const float sigmoid = 1.0f / (1.0f + expf(-x));
    return {x * sigmoid, sigmoid * (1.0f + x * (1.0f - sigmoid))};
  }
  if (kind == Gate::GeluErf) {
    const float below = 0.5f * (1.0f + erff(x * 0.70710678118654752f));
    return {x * below, below + x * 0.39894228040143268f * expf(-0.5f * x * x)};
  }
  const float k = 0.79788456080286536f, cubic = 0.044715f;
  const float t = tanhf(k * (x + cubic * x * x * x));
  return {0.5f * x * (1.0f + t), 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * k * (1.0f + 3.0f * cubic * x * x)};
}

template <int N, class T>
GRAFT_BOTH void gated_value(Gate kind, const T* gate, const T* up, T* y, int64_t i) {
  const auto gs = load<N>(gate, i), us = load<N>(up, i);
  Pack<T, N> out;
  for (int j = 0; j < N; ++j) out.at[j] = T(activated(kind, number(gs.at[j])).value * number(us.at[j]));
  store<N>(y, i, out);
}
template <int N, class T>
GRAFT_BOTH void gated_gradient(Gate kind, const T* gate, const T* up, const T* dy, T* dgate, T* dup, int64_t i) {
  const auto gs = load<N>(gate, i), us = load<N>(up, i), ds = load<N>(dy, i);
  Pack<T, N> to_gate, to_up;
  for (int j = 0; j < N; ++j) {
    const Activated act = activated(kind, number(gs.at[j]));
    to_gate.at[j] = T(number(ds.at[j]) * number(us.at[j]) * act.slope);
    to_up.at[j] = T(number(ds.at[j]) * act.value);
  }
  store<N>(dgate, i, to_gate);
  store<N>(dup, i, to_up);
}

// --- cross entropy of a row of logits, z = scale · logit: −Σ t · log softmax(z), with t = smoothing / vocab + (1 − smoothing) at the
// target; its slope is scale · (softmax(z) − t) ---

struct SoftmaxSums {
  float peak, total, sum;  // largest z, Σ exp(z − peak), Σ z
};
GRAFT_BOTH SoftmaxSums joined(SoftmaxSums a, SoftmaxSums b) {
  const float peak = fmaxf(a.peak, b.peak);
  return {peak, a.total * expf(a.peak - peak) + b.total * expf(b.peak - peak), a.sum + b.sum};
}
constexpr SoftmaxSums kNoLogits{-3.0e38f, 0, 0};

// This lane's share.
template <int N, class T>
GRAFT_BOTH SoftmaxSums softmax_sums(const T* logits, float scale, int64_t vocab, int lane, int lanes) {
  SoftmaxSums sums = kNoLogits;
  for (int64_t i = int64_t{N} * lane; i < vocab; i += int64_t{N} * lanes) {
    const auto xs = load<N>(logits, i);
    SoftmaxSums pack = kNoLogits;
    for (int j = 0; j < N; ++j) pack.peak = fmaxf(pack.peak, scale * number(xs.at[j]));
    for (int j = 0; j < N; ++j) {
      const float z = scale * number(xs.at[j]);
      pack.total += expf(z - pack.peak);
      pack.sum += z;
    }
    sums = joined(sums, pack);
  }
  return sums;
}
GRAFT_BOTH double loss_of(SoftmaxSums sums, float target_z, float smoothing, int64_t vocab) {
  return static_cast<double>(sums.peak) + static_cast<double>(logf(sums.total)) - static_cast<double>(1.0f - smoothing) * static_cast<double>(target_z) -
         static_cast<double>(smoothing) * static_cast<double>(sums.sum) / static_cast<double>(vocab);
}
template <int N, class T>
GRAFT_BOTH void loss_slope(T* logits, SoftmaxSums sums, int64_t target, float scale, float smoothing, int64_t vocab, int lane, int lanes) {
  const float factor = 1.0f / sums.total, beside = smoothing / static_cast<float>(vocab);
  for (int64_t i = int64_t{N} * lane; i < vocab; i += int64_t{N} * lanes) {
    const auto xs = load<N>(logits, i);
    Pack<T, N> out;
    for (int j = 0; j < N; ++j) {
      const float wanted = beside + (i + j == target ? 1.0f - smoothing : 0.0f);
      out.at[j] = T(scale * (expf(scale * number(xs.at[j]) - sums.peak) * factor - wanted));
    }
    store<N>(logits, i, out);
  }
}

}  // namespace graft::kernels::cuda
