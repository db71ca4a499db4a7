// Singular components of a weight.
#pragma once
#include <ATen/core/Generator.h>

#include "core/tensor.h"

namespace graft {

struct Svd {
  Tensor u, s, vh;  // [out, k], [k], [k, in], largest first
};
Svd exact_svd(const Tensor& weight);
// The r largest, nearly. The range of W is found by multiplying random vectors (arXiv 0909.4061), refined by k rounds with W and
// its transpose; draws what torch.svd_lowrank draws. Exact at
// r = min(out, in).
Svd randomised_svd(const Tensor& weight, int64_t r, int64_t iterations, at::Generator& generator);

}  // namespace graft
