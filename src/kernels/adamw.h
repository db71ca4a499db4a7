// Optimizer updates of many tensors at once: one sweep over memory for a group, whatever the sizes of its tensors.
#pragma once
#include <vector>

#include "core/tensor.h"

namespace graft::kernels {

// Tensors of the same shape and strides with what AdamW (arXiv 1711.05101) keeps for them; `steps` is a float32 scalar.
struct AdamWTensor {
  Tensor param, gradient, first, second, steps;
};
struct AdamWOptions {
  double learning_rate = 0, beta1 = 0.9, beta2 = 0.999, weight_decay = 0, eps = 1e-8;
  double gradient_factor = 1;  // of clipping: gradients are scaled by it on the way, and written back
};

// Counts the step and updates, as libtorch's fused AdamW does, in memory of any kind.
void adamw(std::vector<AdamWTensor>& tensors, const AdamWOptions& options);
void adamw_composed(std::vector<AdamWTensor>& tensors, const AdamWOptions& options);

// The norm of all numbers together. On a CPU it does not depend on the number of threads.
double total_norm(const std::vector<Tensor>& tensors);
double total_norm_composed(const std::vector<Tensor>& tensors);
// The same as a scalar where the tensors lie: on a GPU nothing waits for it.
Tensor total_norm_there(const std::vector<Tensor>& tensors);

}  // namespace graft::kernels
