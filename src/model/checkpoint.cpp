#include "model/checkpoint.h"

#include <torch/csrc/autograd/autograd.h>

#include "core/autograd.h"
#include "kernels/dropout.h"

namespace graft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Part = std::function<Tensor(const Tensor&, bool)>;

struct Holder : torch::CustomClassHolder {
  Part part;
  kernels::DropoutState dropout;  // the generator's state before the first run: the second draws the same masks
};

struct Checkpoint : torch::autograd::Function<Checkpoint> {
  // `always` requires grad, so that the function is recorded even when x itself needs none.
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& /*always*/, const Part* part) {
    auto holder = c10::make_intrusive<Holder>();
    holder->part = *part;
    holder->dropout = kernels::dropout_state();
    ctx->saved_data["holder"] = c10::IValue::make_capsule(holder);
    ctx->save_for_backward({x});
    at::NoGradGuard no_grad;
    return (*part)(x.detach(), false);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto holder = c10::static_intrusive_pointer_cast<Holder>(ctx->saved_data["holder"].toCapsule());
    const Tensor x = ctx->get_saved_variables()[0].detach().requires_grad_();
    const kernels::DropoutState now = kernels::dropout_state();
    kernels::set_dropout_state(holder->dropout);
    Tensor y;
    {
      at::AutoGradMode grad(true);
      y = holder->part(x, true);
    }
    kernels::set_dropout_state(now);
    torch::autograd::backward({y}, {grads[0]});
    return {x.grad(), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor checkpointed(const Part& part, const Tensor& x) {
  if (!at::GradMode::is_enabled()) return part(x, false);
  return Checkpoint::apply(x, at::empty({0}, x.options()).requires_grad_(), &part);
}

}  // namespace graft
