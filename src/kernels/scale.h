// y = x ⊙ factor, one learned number for each column: (IA)³ (arXiv 2205.05638), the magnitudes of DoRA (arXiv 2402.09353).
#pragma once
#include "core/tensor.h"

namespace graft::kernels {

// x [tokens, width], factor [width] → [tokens, width], in the wider type of the two. The slopes of x and of the factor come from one sweep.
Tensor scaled(const Tensor& x, const Tensor& factor);
Tensor scaled_composed(const Tensor& x, const Tensor& factor);

}  // namespace graft::kernels
