// Between the sources that know torch and those that nvcc compiles: raw pointers, sizes, a stream. All arrays are contiguous and lie
// on the stream's device. Calls return nullptr, or what went wrong.
#pragma once
#include <cstdint>

namespace graft::kernels::cuda {

enum class Element { Float, Half, BFloat16 };
enum class Gate { Silu, GeluErf, GeluTanh };

// x, y, dy, dx [rows, width] of `element`; weight [width] of `weight_element`, which is `element` or Float; scales [rows] float.
struct NormCall {
  Element element, weight_element;
  int64_t rows, width;
  float eps;
  const void *x, *weight, *dy;
  float* scales;          // written by the forward pass, read by the backward pass
  void *y, *dx;           // dx may be null
  float* weight_partials; // [norm_partials(rows), width], or null: the weight's gradient, still to be added up over the first dimension
};
// x, y [tokens, heads, dim], cos, sin [tokens, half].
struct RopeCall {
  Element element;
  int64_t tokens, heads, dim, half;
  float direction;  // 1 turns, −1 turns back
  bool interleaved;
  const void *x, *cos, *sin;
  void* y;
};
struct GatedCall {
  Element element;
  Gate kind;
  int64_t count;
  const void *gate, *up, *dy;
  void *y, *dgate, *dup;
};
// logits [rows, vocab] of `element`, targets and losses [rows].
struct LossCall {
  Element element;
  int64_t rows, vocab;
  float scale, smoothing;  // of the logits; label smoothing
  bool slope;              // whether logits become the losses' gradient
  void* logits;
  const int64_t* targets;
  double* losses;
};

inline int64_t norm_partials(int64_t rows) { return rows < 64 ? 1 : rows < 8192 ? rows / 64 : 128; }

struct RowKernels {
  const char* (*norm_forward)(const NormCall&, void* stream);
  const char* (*norm_backward)(const NormCall&, void* stream);
  const char* (*rope)(const RopeCall&, void* stream);
  const char* (*gated_forward)(const GatedCall&, void* stream);
  const char* (*gated_backward)(const GatedCall&, void* stream);
  const char* (*loss)(const LossCall&, void* stream);
};
const RowKernels& host_kernels();    // the same arithmetic in plain loops, for tests
const RowKernels& device_kernels();  // defined by kernels.cu: only in builds with nvcc

}  // namespace graft::kernels::cuda
