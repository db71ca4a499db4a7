#include "methods/common/base_params.h"

#include "core/torch.h"

namespace graft {

Tensor trained_copy(Tensor& handle) {
  const auto dtype = handle.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  handle = handle.detach().to(dtype, /*non_blocking=*/false, /*copy=*/true);
  handle.requires_grad_();
  return handle;
}

void visit_base(Model& model, const std::function<void(const std::string&, Tensor&, bool)>& visit) {
  visit_weights(model, [&](const std::string& name, Tensor& handle, const std::vector<int64_t>& shape, bool) { visit(name, handle, shape.size() > 1 && name.find("norm") == std::string::npos); });
}

at::TensorOptions adapter_options(const Model& model) {
  return at::TensorOptions().dtype(model.dtype() == at::kDouble ? at::kDouble : at::kFloat).device(model.device());
}

}  // namespace graft
