#include "kernels/cuda/fused.h"

#include <c10/core/DeviceGuard.h>

#include "core/autograd.h"
#include "core/check.h"
#include "kernels/recompute.h"

namespace graft::kernels::cuda {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

#ifdef GRAFT_CUDA_KERNELS
constexpr bool kDeviceKernels = true;
#else
constexpr bool kDeviceKernels = false;
#endif

const RowKernels& kernels_for(const Tensor& x) { return x.is_cuda() ? device_kernels() : host_kernels(); }

bool known_type(at::ScalarType type) { return type == at::kFloat || type == at::kHalf || type == at::kBFloat16; }
Element element_of(const Tensor& x) {
  CHECK_THAT(known_type(x.scalar_type()), "no kernel for {}", c10::toString(x.scalar_type()));
  return x.scalar_type() == at::kFloat ? Element::Float : x.scalar_type() == at::kHalf ? Element::Half : Element::BFloat16;
}

// Runs one of the kernels on the stream that torch uses for x's device.
template <class Call>
void run(const char* (*kernel)(const Call&, void*), const Call& call, const Tensor& x) {
  const c10::DeviceGuard guard(x.device());
  void* stream = x.is_cuda() ? c10::impl::getDeviceGuardImpl(x.device().type())->getStream(x.device()).native_handle() : nullptr;
  const char* problem = kernel(call, stream);
  CHECK_THAT(!problem, "a GPU kernel failed: {}", problem);
}

struct DeviceRmsNorm : torch::autograd::Function<DeviceRmsNorm> {
  static NormCall call_of(const Tensor& x, const Tensor& weight, Tensor& scales) {
    NormCall call{};
    call.element = element_of(x);
    call.weight_element = element_of(weight);
    call.rows = x.size(0);
    call.width = x.size(1);
    call.x = x.const_data_ptr();
    call.weight = weight.const_data_ptr();
    call.scales = scales.mutable_data_ptr<float>();
    return call;
  }
  // In x's type or float32: what the kernels know.
  static Tensor known_weight(const Tensor& weight, const Tensor& x) {
    return (weight.scalar_type() == x.scalar_type() ? weight : weight.to(at::kFloat)).contiguous();
  }
  static Tensor forward(AutogradContext* ctx, const Tensor& input, const Tensor& weight, double eps) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const Tensor x = input.contiguous();
    const auto [y, scales] = output(x, weight, eps);
    ctx->save_for_backward({x, weight, scales});
    ctx->saved_data["eps"] = eps;
    return y;
  }
  // y and the scale of each row.
  static std::pair<Tensor, Tensor> output(const Tensor& x, const Tensor& weight, double eps) {
    const Tensor w = known_weight(weight, x);
    Tensor y = at::empty_like(x), scales = at::empty({x.size(0)}, x.options().dtype(at::kFloat));
    NormCall call = call_of(x, w, scales);
    call.eps = static_cast<float>(eps);
    call.y = y.mutable_data_ptr();
    run(kernels_for(x).norm_forward, call, x);
    return {y, scales};
  }
  static Tensor again(AutogradContext* ctx) {
    const auto saved = ctx->get_saved_variables();
    return output(saved[0], saved[1].detach(), ctx->saved_data["eps"].toDouble()).first;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1];
    Tensor scales = saved[2];
    const Tensor w = known_weight(weight.detach(), x), dy = grads[0].contiguous();
    const bool need_weight = ctx->needs_input_grad(1);
    Tensor dx = ctx->needs_input_grad(0) ? at::empty_like(x) : Tensor();
    Tensor partials = need_weight ? at::empty({norm_partials(x.size(0)), x.size(1)}, scales.options()) : Tensor();
    NormCall call = call_of(x, w, scales);
    call.dy = dy.const_data_ptr();
    if (dx.defined()) call.dx = dx.mutable_data_ptr();
    if (need_weight) call.weight_partials = partials.mutable_data_ptr<float>();
    run(kernels_for(x).norm_backward, call, x);
    return {dx, need_weight ? partials.sum(0).to(weight.scalar_type()) : Tensor(), Tensor()};
  }
};
const bool device_norm_computes_again = computes_again<DeviceRmsNorm>();

Tensor turned_on_device(const Tensor& input, const Tensor& cos, const Tensor& sin, float direction, bool interleaved) {
  const Tensor x = input.contiguous();
  Tensor y = at::empty_like(x);
  const RopeCall call{element_of(x), x.size(0),           x.size(1),           x.size(2),           cos.size(1),         direction,
                      interleaved,   x.const_data_ptr(), cos.const_data_ptr(), sin.const_data_ptr(), y.mutable_data_ptr()};
  run(kernels_for(x).rope, call, x);
  return y;
}

struct DeviceRope : torch::autograd::Function<DeviceRope> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& cos, const Tensor& sin, bool interleaved) {
    at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({cos, sin});
    ctx->saved_data["interleaved"] = interleaved;
    return turned_on_device(x, cos, sin, 1, interleaved);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    return {turned_on_device(grads[0], saved[0], saved[1], -1, ctx->saved_data["interleaved"].toBool()), Tensor(), Tensor(), Tensor()};
  }
};

struct DeviceGated : torch::autograd::Function<DeviceGated> {
  static Tensor forward(AutogradContext* ctx, const Tensor& given_gate, const Tensor& given_up, int64_t kind) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const Tensor gate = given_gate.contiguous(), up = given_up.contiguous();
    ctx->save_for_backward({gate, up});
    ctx->saved_data["kind"] = kind;
    return output(gate, up, kind);
  }
  static Tensor output(const Tensor& gate, const Tensor& up, int64_t kind) {
    Tensor y = at::empty_like(gate);
    GatedCall call{};
    call.element = element_of(gate);
    call.kind = static_cast<Gate>(kind);
    call.count = gate.numel();
    call.gate = gate.const_data_ptr();
    call.up = up.const_data_ptr();
    call.y = y.mutable_data_ptr();
    run(kernels_for(gate).gated_forward, call, gate);
    return y;
  }
  static Tensor again(AutogradContext* ctx) {
    const auto saved = ctx->get_saved_variables();
    return output(saved[0], saved[1], ctx->saved_data["kind"].toInt());
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &gate = saved[0], &up = saved[1], dy = grads[0].contiguous();
    Tensor dgate = at::empty_like(gate), dup = at::empty_like(up);
    const GatedCall call{element_of(gate),   static_cast<Gate>(ctx->saved_data["kind"].toInt()), gate.numel(),            gate.const_data_ptr(),
                         up.const_data_ptr(), dy.const_data_ptr(),                                nullptr, dgate.mutable_data_ptr(), dup.mutable_data_ptr()};
    run(kernels_for(gate).gated_backward, call, gate);
    return {dgate, dup, Tensor()};
  }
};
const bool device_gate_computes_again = computes_again<DeviceGated>();

}  // namespace

bool has_kernels(const Tensor& x) { return kDeviceKernels && x.is_cuda() && known_type(x.scalar_type()); }

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) { return DeviceRmsNorm::apply(x, weight, eps); }

Tensor rope(const Tensor& x, const Tensor& cos, const Tensor& sin, bool interleaved) {
  return DeviceRope::apply(x, cos.to(x.scalar_type()).contiguous(), sin.to(x.scalar_type()).contiguous(), interleaved);
}

Tensor gated(const Tensor& gate, const Tensor& up, Gate kind) {
  CHECK_THAT(gate.sizes() == up.sizes() && gate.scalar_type() == up.scalar_type(), "gate and up differ in shape or type");
  return DeviceGated::apply(gate, up, static_cast<int64_t>(kind));
}

Tensor row_losses(Tensor& logits, const Tensor& targets, double scale, double smoothing, bool slope) {
  const Tensor wanted = targets.contiguous();
  Tensor losses = at::empty({logits.size(0)}, logits.options().dtype(at::kDouble));
  const LossCall call{element_of(logits), logits.size(0), logits.size(1), static_cast<float>(scale), static_cast<float>(smoothing), slope,
                      logits.mutable_data_ptr(), wanted.const_data_ptr<int64_t>(), losses.mutable_data_ptr<double>()};
  run(kernels_for(logits).loss, call, logits);
  return losses;
}

}  // namespace graft::kernels::cuda
