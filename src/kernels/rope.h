// Rotary position embedding in the half-split layout (arXiv 2104.09864): the pair (i, i + half) turns by one angle.
#pragma once
#include "core/tensor.h"

namespace graft::kernels {

// x [tokens, heads, head_dim]; cos, sin [tokens, half] with half <= head_dim / 2, the remaining dimensions pass through.
Tensor rope(const Tensor& x, const Tensor& cos, const Tensor& sin);
Tensor rope_composed(const Tensor& x, const Tensor& cos, const Tensor& sin);

}  // namespace graft::kernels
