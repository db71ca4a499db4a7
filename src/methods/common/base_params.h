// Methods that train tensors of the base itself.
#pragma once
#include <functional>
#include <string>

#include "methods/method.h"

namespace graft {

// Replaces a base tensor's handle by a trainable float32 copy (float64 stays) and returns the copy: the base itself is
// shared and never changes.
Tensor trained_copy(Tensor& handle);

// Every stored tensor by its name in the file; `decays` is false for norms and biases.
void visit_base(Model& model, const std::function<void(const std::string& name, Tensor& handle, bool decays)>& visit);

// float32, or float64 for a float64 model: what adapter tensors are made of.
at::TensorOptions adapter_options(const Model& model);

}  // namespace graft
