// The GPU's launchers of rows.h. All of these operations are bound by memory: what counts is that each array is read and written once.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/rows.h"

namespace graft::kernels::cuda {
namespace {

constexpr int kWarp = 32, kMostLanes = 1024, kThreads = 256;

const char* launched() {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
cudaStream_t as_stream(void* stream) { return static_cast<cudaStream_t>(stream); }

template <class F>
const char* device_elements(Element element, Element weight, const F& f) {
  return with_elements<__half, __nv_bfloat16>(element, weight, f);
}

__device__ float from_lane(float value, int offset) { return __shfl_xor_sync(0xffffffffu, value, offset); }
__device__ SoftmaxSums from_lane(SoftmaxSums value, int offset) {
  return {from_lane(value.peak, offset), from_lane(value.total, offset), from_lane(value.sum, offset)};
}
__device__ float joined(float a, float b) { return a + b; }

// What the threads of one row have together: a warp (blockDim.x = 32), or the whole block (blockDim.y = 1). All of them get it.
template <class V>
__device__ V over_row(V value, V nothing) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value = joined(value, from_lane(value, offset));
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  if (warps == 1) return value;
  __shared__ V parts[kMostLanes / kWarp];
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  if (lane == 0) parts[warp] = value;
  __syncthreads();
  value = lane < warps ? parts[lane] : nothing;
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value = joined(value, from_lane(value, offset));
  return value;
}
__device__ float row_sum(float value) { return over_row(value, 0.0f); }

// Threads for rows of `width` elements in packs of `pack`: a warp for each of several short rows, or a block for a long one.
struct RowGrid {
  dim3 threads, blocks;
  RowGrid(int64_t rows, int64_t width, int pack) {
    const int64_t wanted = (width + pack - 1) / pack, lanes = std::min<int64_t>(kMostLanes, (wanted + kWarp - 1) / kWarp * kWarp);
    threads = dim3(static_cast<unsigned>(lanes), lanes == kWarp ? kThreads / kWarp : 1);
    blocks = dim3(static_cast<unsigned>((rows + threads.y - 1) / threads.y));
  }
};
__device__ int64_t own_row() { return static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; }

template <int N, class T, class W>
__global__ void norm_forward_kernel(NormCall call) {
  const int64_t row = own_row();
  if (row >= call.rows) return;  // whole warps only: a row of a block with several has one warp
  const T* x = static_cast<const T*>(call.x) + row * call.width;
  const int lane = static_cast<int>(threadIdx.x), lanes = static_cast<int>(blockDim.x);
  const float scale = norm_scale(row_sum(square_sum<N>(x, call.width, lane, lanes)), call.width, call.eps);
  if (lane == 0) call.scales[row] = scale;
  norm_write<N>(x, static_cast<const W*>(call.weight), scale, static_cast<T*>(call.y) + row * call.width, call.width, lane, lanes);
}

template <int N, class T, class W>
__global__ void norm_backward_kernel(NormCall call) {
  const int64_t row = own_row();
  if (row >= call.rows) return;
  const T *x = static_cast<const T*>(call.x) + row * call.width, *dy = static_cast<const T*>(call.dy) + row * call.width;
  const W* weight = static_cast<const W*>(call.weight);
  const int lane = static_cast<int>(threadIdx.x), lanes = static_cast<int>(blockDim.x);
  const float dot = row_sum(norm_dot<N>(x, weight, dy, call.width, lane, lanes));
  norm_gradient<N>(x, weight, dy, call.scales[row], dot, static_cast<T*>(call.dx) + row * call.width, call.width, lane, lanes);
}

// A column for each thread, a part of the rows for each blockIdx.y.
template <class T>
__global__ void norm_weight_kernel(NormCall call, int64_t rows_each) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, first = blockIdx.y * rows_each;
  if (column >= call.width) return;
  const int64_t last = first + rows_each < call.rows ? first + rows_each : call.rows;
  call.weight_partials[blockIdx.y * call.width + column] =
      norm_column(static_cast<const T*>(call.x), static_cast<const T*>(call.dy), call.scales, first, last, call.width, column);
}

template <class T>
__global__ void rope_kernel(RopeCall call) {
  const int64_t token = blockIdx.x;
  const int slots = static_cast<int>(call.dim - call.half), work = static_cast<int>(call.heads) * slots;
  const T *cos = static_cast<const T*>(call.cos) + token * call.half, *sin = static_cast<const T*>(call.sin) + token * call.half;
  for (int i = static_cast<int>(threadIdx.x); i < work; i += static_cast<int>(blockDim.x)) {
    const int64_t offset = (token * call.heads + i / slots) * call.dim;
    rope_slot(static_cast<const T*>(call.x) + offset, cos, sin, static_cast<T*>(call.y) + offset, i % slots, call.half, call.direction, call.interleaved);
  }
}

template <int N, class T>
__global__ void rope_pack_kernel(RopeCall call) {
  const int64_t each = call.half / N, total = call.tokens * call.heads * each, step = static_cast<int64_t>(blockDim.x) * gridDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < total; i += step) {
    const int64_t head = i / each, slot = (i - head * each) * N, token = head / call.heads;
    rope_slots<N>(static_cast<const T*>(call.x) + head * call.dim, static_cast<const T*>(call.cos) + token * call.half,
                  static_cast<const T*>(call.sin) + token * call.half, static_cast<T*>(call.y) + head * call.dim, slot, call.half, call.direction);
  }
}

template <int N, class T>
__global__ void gated_kernel(GatedCall call) {
  const T *gate = static_cast<const T*>(call.gate), *up = static_cast<const T*>(call.up), *dy = static_cast<const T*>(call.dy);
  const int64_t step = int64_t{N} * blockDim.x * gridDim.x;
  for (int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * N; i < call.count; i += step)
    if (dy) gated_gradient<N>(call.kind, gate, up, dy, static_cast<T*>(call.dgate), static_cast<T*>(call.dup), i);
    else gated_value<N>(call.kind, gate, up, static_cast<T*>(call.y), i);
}

template <int N, class T>
__global__ void loss_kernel(LossCall call) {
  const int64_t row = own_row();
  if (row >= call.rows) return;
  T* logits = static_cast<T*>(call.logits) + row * call.vocab;
  const int64_t target = call.targets[row];
  const float target_z = call.scale * number(logits[target]);  // before it is written over
  const int lane = static_cast<int>(threadIdx.x), lanes = static_cast<int>(blockDim.x);
  const SoftmaxSums sums = over_row(softmax_sums<N>(logits, call.scale, call.vocab, lane, lanes), kNoLogits);
  if (lane == 0) call.losses[row] = loss_of(sums, target_z, call.smoothing, call.vocab);
  if (call.slope) loss_slope<N>(logits, sums, target, call.scale, call.smoothing, call.vocab, lane, lanes);
}

template <int N, class T, class W>
void launch_norm(const NormCall& call, cudaStream_t stream) {
  const RowGrid grid(call.rows, call.width, N);
  if (!call.dy) norm_forward_kernel<N, T, W><<<grid.blocks, grid.threads, 0, stream>>>(call);
  else if (call.dx) norm_backward_kernel<N, T, W><<<grid.blocks, grid.threads, 0, stream>>>(call);
}

// Blocks of kThreads for so many items; threads go on in steps of the whole grid.
unsigned blocks_for(int64_t items) { return static_cast<unsigned>(std::clamp<int64_t>((items + kThreads - 1) / kThreads, 1, 1 << 16)); }

const char* norm(const NormCall& call, void* stream) {
  if (call.rows == 0) return nullptr;
  return device_elements(call.element, call.weight_element, [&](auto t, auto w) {
    using T = decltype(t);
    using W = decltype(w);
    if (norm_packs<T, W>(call)) launch_norm<16 / sizeof(T), T, W>(call, as_stream(stream));
    else launch_norm<1, T, W>(call, as_stream(stream));
    if (call.weight_partials) {
      const int64_t parts = norm_partials(call.rows);
      const dim3 blocks(static_cast<unsigned>((call.width + kThreads - 1) / kThreads), static_cast<unsigned>(parts));
      norm_weight_kernel<T><<<blocks, kThreads, 0, as_stream(stream)>>>(call, (call.rows + parts - 1) / parts);
    }
    return launched();
  });
}

const char* rope(const RopeCall& call, void* stream) {
  if (call.tokens == 0) return nullptr;
  return device_elements(call.element, call.element, [&](auto t, auto) {
    using T = decltype(t);
    if (rope_packs<T>(call)) {
      constexpr int N = 16 / sizeof(T);
      rope_pack_kernel<N, T><<<blocks_for(call.tokens * call.heads * call.half / N), kThreads, 0, as_stream(stream)>>>(call);
      return launched();
    }
    const int64_t work = call.heads * (call.dim - call.half);
    const unsigned threads = static_cast<unsigned>(std::min<int64_t>(kThreads, (work + kWarp - 1) / kWarp * kWarp));
    rope_kernel<T><<<static_cast<unsigned>(call.tokens), threads, 0, as_stream(stream)>>>(call);
    return launched();
  });
}

template <int N, class T>
void launch_gated(const GatedCall& call, cudaStream_t stream) {
  gated_kernel<N, T><<<blocks_for(call.count / N), kThreads, 0, stream>>>(call);
}

const char* gated(const GatedCall& call, void* stream) {
  if (call.count == 0) return nullptr;
  return device_elements(call.element, call.element, [&](auto t, auto) {
    using T = decltype(t);
    if (gated_packs<T>(call)) launch_gated<16 / sizeof(T), T>(call, as_stream(stream));
    else launch_gated<1, T>(call, as_stream(stream));
    return launched();
  });
}

template <int N, class T>
void launch_loss(const LossCall& call, cudaStream_t stream) {
  const RowGrid grid(call.rows, call.vocab, N);
  loss_kernel<N, T><<<grid.blocks, grid.threads, 0, stream>>>(call);
}

const char* loss(const LossCall& call, void* stream) {
  if (call.rows == 0) return nullptr;
  return device_elements(call.element, call.element, [&](auto t, auto) {
    using T = decltype(t);
    if (loss_packs<T>(call)) launch_loss<16 / sizeof(T), T>(call, as_stream(stream));
    else launch_loss<1, T>(call, as_stream(stream));
    return launched();
  });
}

}  // namespace

const RowKernels& device_kernels() {
  static const RowKernels kernels{norm, norm, rope, gated, gated, loss};
  return kernels;
}

}  // namespace graft::kernels::cuda
