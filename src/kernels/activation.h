// Activation functions by their names in model configs, and the gated unit of Llama-like MLPs.
#pragma once
#include <string>
#include <vector>

#include "core/tensor.h"

namespace graft::kernels {

// silu(gate) · up (SwiGLU, arXiv 2002.05202), same shapes. Keeps gate and up only.
Tensor swiglu(const Tensor& gate, const Tensor& up);
Tensor swiglu_composed(const Tensor& gate, const Tensor& up);

// By the names of transformers' table (those without parameters of their own). Another name throws Fault::Usage.
Tensor activate(const Tensor& x, const std::string& name);
const std::vector<std::string>& activation_names();
void check_activation(const std::string& name, const std::string& tag);

}  // namespace graft::kernels
