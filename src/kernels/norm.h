// Root-mean-square norm (arXiv 1910.07467) and layer norm (arXiv 1607.06450) over the last dimension.
#pragma once
#include "core/tensor.h"

namespace graft::kernels {

// x [tokens, width], weight [width] → x / sqrt(mean(x²) + eps) · weight. Keeps x and one number a row. Half-precision rows
// are normalised in float32.
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps);
Tensor rms_norm_composed(const Tensor& x, const Tensor& weight, double eps);

// (x − mean) / sqrt(variance + eps) · weight + bias over the last dimension; weight and bias may be undefined.
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps);
Tensor layer_norm_composed(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps);

}  // namespace graft::kernels
