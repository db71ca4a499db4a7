#include "kernels/activation.h"

#include "core/check.h"
#include "core/autograd.h"
#include "kernels/recompute.h"
#include "kernels/twins.h"

namespace graft::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct SwigluFunction : torch::autograd::Function<SwigluFunction> {
  static Tensor forward(AutogradContext* ctx, const Tensor& gate, const Tensor& up) {
    at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({gate, up});
    return output(gate, up);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &gate = saved[0], &up = saved[1], &dy = grads[0];
    Tensor dup = at::silu(gate).mul_(dy);
    Tensor dgate = at::silu_backward(dy * up, gate);
    return {dgate, dup};
  }
  static Tensor again(AutogradContext* ctx) {
    const auto saved = ctx->get_saved_variables();
    return output(saved[0], saved[1]);
  }
  static Tensor output(const Tensor& gate, const Tensor& up) { return at::silu(gate).mul_(up); }
};
const bool swiglu_computes_again = computes_again<SwigluFunction>();

}  // namespace

Tensor swiglu_composed(const Tensor& gate, const Tensor& up) { return gate * at::sigmoid(gate) * up; }
Tensor swiglu(const Tensor& gate, const Tensor& up) {
  return composed_only() ? swiglu_composed(gate, up) : SwigluFunction::apply(gate, up);
}

namespace {

struct Activation {
  const char* name;
  Tensor (*apply)(const Tensor& x);
};

Tensor tanh_gelu(const Tensor& x) { return at::gelu(x, "tanh"); }
Tensor erf_gelu(const Tensor& x) { return at::gelu(x, "none"); }

const std::vector<Activation>& activations() {
  static const std::vector<Activation> all{
      {"silu", [](const Tensor& x) { return at::silu(x); }},
      {"swish", [](const Tensor& x) { return at::silu(x); }},
      {"relu", [](const Tensor& x) { return at::relu(x); }},
      {"gelu", erf_gelu},
      {"gelu_python", erf_gelu},
      {"gelu_new", tanh_gelu},
      {"gelu_fast", tanh_gelu},
      {"gelu_accurate", tanh_gelu},
      {"gelu_pytorch_tanh", tanh_gelu},
      {"gelu_python_tanh", tanh_gelu},
      {"gelu_10", [](const Tensor& x) { return at::gelu(x, "none").clamp(-10, 10); }},
      {"quick_gelu", [](const Tensor& x) { return x * at::sigmoid(x * 1.702); }},
      {"relu2", [](const Tensor& x) { return at::relu(x).square(); }},
      {"relu6", [](const Tensor& x) { return x.clamp(0, 6); }},
      {"mish", [](const Tensor& x) { return at::mish(x); }},
      {"hardswish", [](const Tensor& x) { return at::hardswish(x); }},
      {"linear", [](const Tensor& x) { return x; }},
      {"tanh", [](const Tensor& x) { return at::tanh(x); }},
      {"sigmoid", [](const Tensor& x) { return at::sigmoid(x); }},
      {"leaky_relu", [](const Tensor& x) { return at::leaky_relu(x); }},
  };
  return all;
}

}  // namespace

const std::vector<std::string>& activation_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (auto& row : activations()) all.push_back(row.name);
    return all;
  }();
  return names;
}

void check_activation(const std::string& name, const std::string& tag) {
  if (std::find(activation_names().begin(), activation_names().end(), name) == activation_names().end())
    usage_error(tag, fmt::format("the activation '{}' is not supported", name), suggest(name, activation_names()));
}

Tensor activate(const Tensor& x, const std::string& name) {
  for (auto& row : activations())
    if (name == row.name) return row.apply(x);
  check_activation(name, "activation");
  return {};
}

}  // namespace graft::kernels
