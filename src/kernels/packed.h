// float32 products of many rows on a CPU with AVX2 whose rate libtorch's libraries do not reach (kernels/cpu/packed_kernel.h).
// kernels/gemm.h is what callers use.
#pragma once
#include "core/tensor.h"

namespace graft::kernels {

// Whether a [m, k] · bᵀ for b [n, k] is computed here. b may be stored in bfloat16 or float16: it is converted as it is laid out. Its rows or its
// columns are contiguous.
bool packed_here(const Tensor& a, const Tensor& b);
// The rows of a left factor as tiles read them, for several products with it: the first one lays them out. Of a large factor nothing is kept.
struct LaidOutRows {
  Tensor memory;
};
// y = or += scale · a · bᵀ + bias, for a y [m, n] whose rows are contiguous, and a bias [n] or undefined. However many threads there are, the
// sums are the same. `rows`: of a, or null.
void packed_product_t_into(Tensor& y, const Tensor& a, const Tensor& b, double scale, bool add, const Tensor& bias, LaidOutRows* rows = nullptr);

}  // namespace graft::kernels
