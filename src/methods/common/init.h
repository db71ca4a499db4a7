// Initial values, drawn from torch's generator on the CPU as the reference draws them.
#pragma once
#include <ATen/core/Generator.h>

#include "core/tensor.h"

namespace graft {

// uniform in ±1/√fan_in, fan_in = the last dimension (torch's kaiming_uniform with a = √5, nn.Linear's default).
Tensor kaiming_uniform(at::IntArrayRef shape, const at::TensorOptions& options, at::Generator& generator);
Tensor uniform(at::IntArrayRef shape, double bound, const at::TensorOptions& options, at::Generator& generator);
Tensor normal(at::IntArrayRef shape, double std, const at::TensorOptions& options, at::Generator& generator);
Tensor cut_normal(at::IntArrayRef shape, double std, const at::TensorOptions& options, at::Generator& generator);  // none beyond 2 std
Tensor zeros(at::IntArrayRef shape, const at::TensorOptions& options);
Tensor ones(at::IntArrayRef shape, const at::TensorOptions& options);

}  // namespace graft
