// Activation checkpointing (arXiv 1604.06174): a part of a model keeps only its input and runs again in the backward pass.
#pragma once
#include <functional>

#include "core/tensor.h"

namespace graft {

// Equals part(x, false), with the same random numbers in both runs. Gradients of leaves that the part uses are accumulated
// during the backward pass. Without gradients it is part(x, false). The second run, part(x, true), may leave its result's values
// out where the backward pass does not read them; its shape must be right.
Tensor checkpointed(const std::function<Tensor(const Tensor& x, bool again)>& part, const Tensor& x);

}  // namespace graft
