// Norm, rotary positions and gated activations as one GPU kernel each, with their own backward pass, and the loss of a row of logits:
// the fast bodies of kernels/norm.h, rope.h, activation.h and cross_entropy.h, which are what callers use. float32, float16 and
// bfloat16; sums in float32.
#pragma once
#include "core/tensor.h"
#include "kernels/cuda/kernels.h"

namespace graft::kernels::cuda {

// Whether x lies on a GPU that this build has kernels for, and has a type that they know.
bool has_kernels(const Tensor& x);

// Tensors on a CPU take the same arithmetic in plain loops, for tests.
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps);
Tensor rope(const Tensor& x, const Tensor& cos, const Tensor& sin, bool interleaved);
Tensor gated(const Tensor& gate, const Tensor& up, Gate kind);
// Cross entropy [rows] float64 of logits [rows, vocab] times `scale`; the logits become its gradient where `slope` is set.
Tensor row_losses(Tensor& logits, const Tensor& targets, double scale, double smoothing, bool slope);

}  // namespace graft::kernels::cuda
