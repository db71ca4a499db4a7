// Products of many rows with a weight. libtorch carries two libraries: MKL behind its BLAS, and oneDNN behind its fused inference
// operations. On Intel's processors MKL is ahead from 64 rows on, but where a side is narrow. On others it keeps to AVX2 code, and not to the
// best: there float32 products go to own tiles (kernels/packed.h) where the processor has AVX2 and no more, and large ones to oneDNN where it
// has AVX-512. Narrow products and those of few rows go to kernels/thin.h everywhere, small weights too where MKL is not ahead. oneDNN
// generates code for each shape and keeps it: rows are filled up to one of few numbers, and sums over rows (gradients of weights), whose inner
// size differs from step to step, never go there.
#pragma once
#include "kernels/packed.h"

namespace graft::kernels {

// a [m, k] · bᵀ + bias for a weight b [n, k] and bias [n] or undefined → [m, n]. Any strides; a transposed view costs nothing extra.
// A weight or bias stored in another dtype is converted to a's on the way, a piece at a time: no whole copy ever exists, and where
// the pages of a mapped file are let go of after their use (core/mapped_file.h) no whole original is resident either.
inline constexpr int64_t kPieceBytes = int64_t{16} << 20;  // of a converted piece
// `rows`: what several products with this a share, or null.
Tensor product_t(const Tensor& a, const Tensor& b, const Tensor& bias = {}, LaidOutRows* rows = nullptr);
// a [m, k] · b for a weight b [k, n] → [m, n].
Tensor product(const Tensor& a, const Tensor& b);
// Whether the library adds a · bᵀ to what lies there as fast as it writes it: then a small summand is best computed first.
bool adds_for_nothing(const Tensor& a, const Tensor& b);
// y [m, n] += a [m, k] · b for a weight b [k, n].
void add_product(Tensor& y, const Tensor& a, const Tensor& b);
// y [m, n] = scale · a [m, k] · b for a weight b [k, n].
void product_into(Tensor& y, const Tensor& a, const Tensor& b, double scale);
// y [m, n] += scale · a [m, k] · bᵀ.
void add_product_t(Tensor& y, const Tensor& a, const Tensor& b, double scale, LaidOutRows* rows = nullptr);
// aᵀ · b for a [t, m], b [t, n] → [m, n] in `dtype`: the gradient of a weight. Sums are not rounded to a's type on the way where a GPU can help it.
Tensor product_over_rows(const Tensor& a, const Tensor& b, at::ScalarType dtype);

}  // namespace graft::kernels
