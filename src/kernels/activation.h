// Activation functions by their names in model configs, and the gated unit of Llama-like MLPs.
#pragma once
#include <string>

#include "core/tensor.h"

namespace graft::kernels {

// silu(gate) · up (SwiGLU, arXiv 2002.05202), same shapes. Keeps gate and up only.
Tensor swiglu(const Tensor& gate, const Tensor& up);
Tensor swiglu_composed(const Tensor& gate, const Tensor& up);

// "silu"/"swish", "relu", "gelu", "gelu_new"/"gelu_pytorch_tanh", "tanh", "sigmoid", "leaky_relu". Another name throws Fault::Usage.
Tensor activate(const Tensor& x, const std::string& name);
void check_activation(const std::string& name, const std::string& tag);

}  // namespace graft::kernels
