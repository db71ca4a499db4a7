// Linear maps whose weights are frozen as a rule: y = x Wᵀ + b, alone or several on the same input (q, k, v; gate, up).
#pragma once
#include <vector>

#include "core/tensor.h"

namespace graft::kernels {

// x [tokens, in], weight [out, in] (any strides), bias [out] or undefined → [tokens, out].
// The backward pass computes a gradient for the weight and the bias only where they require one, and keeps x only then:
// a frozen weight costs one product and no memory. A weight stored in another dtype is converted for the product.
// values_needed = false: only the backward pass matters, and y may hold anything.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, bool values_needed = true);
Tensor linear_composed(const Tensor& x, const Tensor& weight, const Tensor& bias);
// Several on the same input: x is laid out once for all products, and its gradients add up in place.
// weights_and_biases: weight, bias, weight, bias ...
std::vector<Tensor> linears(const Tensor& x, const std::vector<Tensor>& weights_and_biases, bool values_needed = true);
std::vector<Tensor> linears_composed(const Tensor& x, const std::vector<Tensor>& weights_and_biases);

// One frozen linear with a low-rank side path: y = x Wᵀ + b + scale · (x Aᵀ) Bᵀ (LoRA, arXiv 2106.09685).
struct LowRankLinear {
  Tensor weight, bias;  // [out, in], [out] or undefined
  Tensor a, b;          // [r, in], [out, r]; undefined: no side path here
  double scale = 1;
};
// Several of them on the same input: x is kept once, all A products are one product, and the
// gradients of x add up in place. Used when no weight or bias of the group is trained. Factors wider than x (float32 beside
// bfloat16) are rounded for the products; their gradients come back in their own type.
std::vector<Tensor> low_rank_linears(const Tensor& x, const std::vector<LowRankLinear>& group, bool values_needed = true);
std::vector<Tensor> low_rank_linears_composed(const Tensor& x, const std::vector<LowRankLinear>& group);

// The norms of the rows of weight + scale · B A → [out], without gradients and without that sum as a whole (DoRA, arXiv 2402.09353).
Tensor row_norms(const LowRankLinear& linear);
Tensor row_norms_composed(const LowRankLinear& linear);

}  // namespace graft::kernels
