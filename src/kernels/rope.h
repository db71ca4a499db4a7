// Rotary position embedding (arXiv 2104.09864): the pair (i, i + half) turns by one angle, or (2i, 2i + 1) where interleaved.
#pragma once
#include "core/tensor.h"

namespace graft::kernels {

// x [tokens, heads, head_dim]; cos, sin [tokens, half] with half <= head_dim / 2, the remaining dimensions pass through.
Tensor rope(const Tensor& x, const Tensor& cos, const Tensor& sin, bool interleaved = false);
Tensor rope_composed(const Tensor& x, const Tensor& cos, const Tensor& sin, bool interleaved = false);

}  // namespace graft::kernels
