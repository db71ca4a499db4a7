// float32 products on a CPU in which something is small: fewer rows than fill a matrix kernel (decoding, where reading the weight is
// what takes time), the weight of a tiny model, the rank of an update. Matrix libraries lose much of their speed there; these bodies
// (kernels/cpu/thin_kernel.h) keep it. kernels/gemm.h is what callers use.
#pragma once
#include "core/tensor.h"

namespace graft::kernels {

// Whether a [m, k] · bᵀ for b [n, k] is computed here. b may be stored in bfloat16 or float16: it is converted as it is read. A bias comes
// for nothing here, where a library wants its rows written first.
bool thin_here(const Tensor& a, const Tensor& b, bool bias = false);
// a · bᵀ + bias → [m, n].
Tensor thin_product_t(const Tensor& a, const Tensor& b, const Tensor& bias);
// y += scale · a · bᵀ, y with contiguous rows.
void add_thin_product_t(Tensor& y, const Tensor& a, const Tensor& b, double scale);

// Whether aᵀ · b for a [t, m], b [t, n] is computed here where kernels/packed.h does not.
bool thin_over_rows_here(const Tensor& a, const Tensor& b);
Tensor thin_product_over_rows(const Tensor& a, const Tensor& b);

// Whether the rows of weight + scale · b · a, for a [r, in] and b [out, r], have their norms computed here, with the weight as it is stored.
bool low_rank_rows_here(const Tensor& weight, const Tensor& a, const Tensor& b);
Tensor low_rank_row_norms(const Tensor& weight, const Tensor& a, const Tensor& b, double scale);

}  // namespace graft::kernels
