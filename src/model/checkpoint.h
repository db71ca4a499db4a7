// Activation checkpointing (arXiv 1604.06174): a block keeps only its input and runs again in the backward pass.
#pragma once
#include <functional>

#include "core/tensor.h"

namespace graft {

// Equals block(x), with the same random numbers in both runs. Gradients of leaves that the block uses are accumulated
// during the backward pass. Without gradients it is block(x).
Tensor checkpointed(const std::function<Tensor(const Tensor&)>& block, const Tensor& x);

}  // namespace graft
