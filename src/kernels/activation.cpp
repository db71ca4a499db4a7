#include "kernels/activation.h"

#include <ATen/Parallel.h>

#include "core/autograd.h"
#include "core/check.h"
#include "kernels/cpu/elementwise_kernel.h"
#include "kernels/cuda/fused.h"
#include "kernels/recompute.h"
#include "kernels/twins.h"

namespace graft::kernels {
namespace {

using cpu::Curve;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kNumbersPerTask = 1 << 14;

bool curve_in_float(const Tensor& x) { return x.is_cpu() && x.scalar_type() == at::kFloat; }

Tensor plain_value(Curve curve, const Tensor& x) {
  switch (curve) {
    case Curve::Silu: return at::silu(x);
    case Curve::Gelu: return at::gelu(x, "none");
    case Curve::GeluTanh: return at::gelu(x, "tanh");
    case Curve::QuickGelu: return x * at::sigmoid(x * 1.702);
    case Curve::Relu: return at::relu(x);
    case Curve::Relu2: break;
  }
  return at::relu(x).square();
}

Tensor plain_slope(Curve curve, const Tensor& dy, const Tensor& x) {
  switch (curve) {
    case Curve::Silu: return at::silu_backward(dy, x);
    case Curve::Gelu: return at::gelu_backward(dy, x, "none");
    case Curve::GeluTanh: return at::gelu_backward(dy, x, "tanh");
    case Curve::QuickGelu: {
      const Tensor s = at::sigmoid(x * 1.702);
      return dy * (s + 1.702 * x * s * (1 - s));
    }
    case Curve::Relu: return at::threshold_backward(dy, x, 0);
    case Curve::Relu2: break;
  }
  return dy * at::relu(x) * 2;
}

// Contiguous inputs; `up` undefined: the curve alone.
Tensor curve_value(Curve curve, const Tensor& x, const Tensor& up) {
  if (!curve_in_float(x)) return up.defined() ? plain_value(curve, x).mul_(up) : plain_value(curve, x);
  Tensor y = at::empty_like(x);
  const float *xp = x.const_data_ptr<float>(), *up_p = up.defined() ? up.const_data_ptr<float>() : nullptr;
  float* yp = y.mutable_data_ptr<float>();
  const auto& kernels = cpu::elementwise_kernels();
  at::parallel_for(0, x.numel(), kNumbersPerTask, [&](int64_t begin, int64_t end) {
    kernels.curve(curve, end - begin, xp + begin, up_p ? up_p + begin : nullptr, yp + begin);
  });
  return y;
}

// The slopes of x and up.
variable_list curve_slopes(Curve curve, const Tensor& x, const Tensor& up, const Tensor& dy) {
  if (!curve_in_float(x)) return {plain_slope(curve, up.defined() ? dy * up : dy, x), up.defined() ? plain_value(curve, x).mul_(dy) : Tensor()};
  Tensor dx = at::empty_like(x), dup = up.defined() ? at::empty_like(up) : Tensor();
  const float *xp = x.const_data_ptr<float>(), *up_p = up.defined() ? up.const_data_ptr<float>() : nullptr, *dp = dy.const_data_ptr<float>();
  float *dxp = dx.mutable_data_ptr<float>(), *dup_p = up.defined() ? dup.mutable_data_ptr<float>() : nullptr;
  const auto& kernels = cpu::elementwise_kernels();
  at::parallel_for(0, x.numel(), kNumbersPerTask, [&](int64_t begin, int64_t end) {
    kernels.curve_slopes(curve, end - begin, xp + begin, up_p ? up_p + begin : nullptr, dp + begin, dxp + begin, up_p ? dup_p + begin : nullptr);
  });
  return {dx, dup};
}

// curve(gate) · up
struct GatedFunction : torch::autograd::Function<GatedFunction> {
  static Tensor forward(AutogradContext* ctx, const Tensor& gate, const Tensor& up, int64_t curve) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const Tensor g = gate.contiguous(), u = up.contiguous();
    ctx->save_for_backward({g, u});
    ctx->saved_data["curve"] = curve;
    return curve_value(static_cast<Curve>(curve), g, u);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    auto slopes = curve_slopes(static_cast<Curve>(ctx->saved_data["curve"].toInt()), saved[0], saved[1], grads[0].contiguous());
    return {slopes[0], slopes[1], Tensor()};
  }
  static Tensor again(AutogradContext* ctx) {
    const auto saved = ctx->get_saved_variables();
    return curve_value(static_cast<Curve>(ctx->saved_data["curve"].toInt()), saved[0], saved[1]);
  }
};
const bool gated_computes_again = computes_again<GatedFunction>();

struct CurveFunction : torch::autograd::Function<CurveFunction> {
  static Tensor forward(AutogradContext* ctx, const Tensor& input, int64_t curve) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const Tensor x = input.contiguous();
    ctx->save_for_backward({x});
    ctx->saved_data["curve"] = curve;
    return curve_value(static_cast<Curve>(curve), x, {});
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    return {curve_slopes(static_cast<Curve>(ctx->saved_data["curve"].toInt()), saved[0], {}, grads[0].contiguous())[0], Tensor()};
  }
  static Tensor again(AutogradContext* ctx) { return curve_value(static_cast<Curve>(ctx->saved_data["curve"].toInt()), ctx->get_saved_variables()[0], {}); }
};
const bool curve_computes_again = computes_again<CurveFunction>();

struct Activation {
  const char* name;
  Tensor (*apply)(const Tensor& x);
  std::optional<Curve> curve;  // with an own kernel
};

Tensor tanh_gelu(const Tensor& x) { return at::gelu(x, "tanh"); }
Tensor erf_gelu(const Tensor& x) { return at::gelu(x, "none"); }

const std::vector<Activation>& activations() {
  static const std::vector<Activation> all{
      {"silu", [](const Tensor& x) { return x * at::sigmoid(x); }, Curve::Silu},
      {"swish", [](const Tensor& x) { return x * at::sigmoid(x); }, Curve::Silu},
      {"relu", [](const Tensor& x) { return at::relu(x); }, Curve::Relu},
      {"gelu", erf_gelu, Curve::Gelu},
      {"gelu_python", erf_gelu, Curve::Gelu},
      {"gelu_new", tanh_gelu, Curve::GeluTanh},
      {"gelu_fast", tanh_gelu, Curve::GeluTanh},
      {"gelu_accurate", tanh_gelu, Curve::GeluTanh},
      {"gelu_pytorch_tanh", tanh_gelu, Curve::GeluTanh},
      {"gelu_python_tanh", tanh_gelu, Curve::GeluTanh},
      {"gelu_10", [](const Tensor& x) { return at::gelu(x, "none").clamp(-10, 10); }, {}},
      {"quick_gelu", [](const Tensor& x) { return x * at::sigmoid(x * 1.702); }, Curve::QuickGelu},
      {"relu2", [](const Tensor& x) { return at::relu(x).square(); }, Curve::Relu2},
      {"relu6", [](const Tensor& x) { return x.clamp(0, 6); }, {}},
      {"mish", [](const Tensor& x) { return at::mish(x); }, {}},
      {"hardswish", [](const Tensor& x) { return at::hardswish(x); }, {}},
      {"linear", [](const Tensor& x) { return x; }, {}},
      {"tanh", [](const Tensor& x) { return at::tanh(x); }, {}},
      {"sigmoid", [](const Tensor& x) { return at::sigmoid(x); }, {}},
      {"leaky_relu", [](const Tensor& x) { return at::leaky_relu(x); }, {}},
  };
  return all;
}

const Activation& activation(const std::string& name) {
  for (auto& row : activations())
    if (name == row.name) return row;
  check_activation(name, "activation");
  return activations().front();
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

Tensor activate_composed(const Tensor& x, const std::string& name) { return activation(name).apply(x); }
Tensor gated_composed(const Tensor& gate, const Tensor& up, const std::string& name) { return activate_composed(gate, name) * up; }
Tensor swiglu_composed(const Tensor& gate, const Tensor& up) { return gated_composed(gate, up, "silu"); }

Tensor activate(const Tensor& x, const std::string& name) {
  const Activation& row = activation(name);
  return composed_only() || !row.curve ? row.apply(x) : CurveFunction::apply(x, static_cast<int64_t>(*row.curve));
}

namespace {
std::optional<cuda::Gate> device_gate(const std::optional<Curve>& curve) {
  if (curve == Curve::Silu) return cuda::Gate::Silu;
  if (curve == Curve::Gelu) return cuda::Gate::GeluErf;
  if (curve == Curve::GeluTanh) return cuda::Gate::GeluTanh;
  return std::nullopt;
}
}  // namespace

Tensor gated(const Tensor& gate, const Tensor& up, const std::string& name) {
  const Activation& row = activation(name);
  if (const auto kind = device_gate(row.curve); kind && !composed_only() && cuda::has_kernels(gate)) return cuda::gated(gate, up, *kind);
  return composed_only() || !row.curve ? row.apply(gate) * up : GatedFunction::apply(gate, up, static_cast<int64_t>(*row.curve));
}

Tensor swiglu(const Tensor& gate, const Tensor& up) { return gated(gate, up, "silu"); }

}  // namespace graft::kernels
