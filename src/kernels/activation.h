// Activation functions by their names in model configs, and the gated units of MLPs.
#pragma once
#include <string>
#include <vector>

#include "core/tensor.h"

namespace graft::kernels {

// silu(gate) · up (SwiGLU, arXiv 2002.05202), same shapes. Keeps gate and up only.
Tensor swiglu(const Tensor& gate, const Tensor& up);
Tensor swiglu_composed(const Tensor& gate, const Tensor& up);

// activate(gate, name) · up, same shapes; keeps gate and up only where the activation is one of those with an own kernel.
Tensor gated(const Tensor& gate, const Tensor& up, const std::string& name);
Tensor gated_composed(const Tensor& gate, const Tensor& up, const std::string& name);

// By the names of transformers' table (those without parameters of their own). Another name throws Fault::Usage.
Tensor activate(const Tensor& x, const std::string& name);
Tensor activate_composed(const Tensor& x, const std::string& name);
const std::vector<std::string>& activation_names();
void check_activation(const std::string& name, const std::string& tag);

}  // namespace graft::kernels
