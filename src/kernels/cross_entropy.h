// The output head and its loss in one piece: logits exist only for one chunk of supervised tokens at a time.
#pragma once
#include "core/tensor.h"

namespace graft::kernels {

// h [supervised, width], weight [vocab, width], bias [vocab] or undefined, targets [supervised] int64.
// → the sum over tokens of −log softmax(h Wᵀ + b)[target], a scalar. The gradients are computed in the forward pass.
Tensor linear_cross_entropy(const Tensor& h, const Tensor& weight, const Tensor& bias, const Tensor& targets);
Tensor linear_cross_entropy_composed(const Tensor& h, const Tensor& weight, const Tensor& bias, const Tensor& targets);

// Per-token −log softmax(h Wᵀ + b)[target], [supervised] float64, without gradients and in chunks.
Tensor token_losses(const Tensor& h, const Tensor& weight, const Tensor& bias, const Tensor& targets);

}  // namespace graft::kernels
