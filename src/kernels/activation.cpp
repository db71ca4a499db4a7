#include "kernels/activation.h"

#include "core/check.h"
#include "core/autograd.h"
#include "kernels/twins.h"

namespace graft::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct SwigluFunction : torch::autograd::Function<SwigluFunction> {
  static Tensor forward(AutogradContext* ctx, const Tensor& gate, const Tensor& up) {
    at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({gate, up});
    return at::silu(gate).mul_(up);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &gate = saved[0], &up = saved[1], &dy = grads[0];
    Tensor dup = at::silu(gate).mul_(dy);
    Tensor dgate = at::silu_backward(dy * up, gate);
    return {dgate, dup};
  }
};

const std::vector<std::string>& names() {
  static const std::vector<std::string> all{"silu", "swish", "relu", "gelu", "gelu_new", "gelu_pytorch_tanh", "tanh", "sigmoid", "leaky_relu"};
  return all;
}

}  // namespace

Tensor swiglu_composed(const Tensor& gate, const Tensor& up) { return gate * at::sigmoid(gate) * up; }
Tensor swiglu(const Tensor& gate, const Tensor& up) {
  return composed_only() ? swiglu_composed(gate, up) : SwigluFunction::apply(gate, up);
}

void check_activation(const std::string& name, const std::string& tag) {
  if (std::find(names().begin(), names().end(), name) == names().end())
    usage_error(tag, fmt::format("the activation '{}' is not supported", name), suggest(name, names()));
}

Tensor activate(const Tensor& x, const std::string& name) {
  if (name == "silu" || name == "swish") return at::silu(x);
  if (name == "relu") return at::relu(x);
  if (name == "gelu") return at::gelu(x, "none");
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") return at::gelu(x, "tanh");
  if (name == "tanh") return at::tanh(x);
  if (name == "sigmoid") return at::sigmoid(x);
  if (name == "leaky_relu") return at::leaky_relu(x);
  check_activation(name, "activation");
  return {};
}

}  // namespace graft::kernels
