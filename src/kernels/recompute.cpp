#include "kernels/recompute.h"

#include <unordered_map>
#include <utility>

#include "core/autograd.h"
#include "core/device.h"

namespace graft::kernels {
namespace {

std::unordered_map<std::type_index, Again>& table() {
  static std::unordered_map<std::type_index, Again> functions;
  return functions;
}

// An edge to x's node exists wherever x needs a gradient, so that node lives as long as this one, and runs after it.
struct Source : torch::CustomClassHolder {
  torch::autograd::Node* node;
  Again again;
};

thread_local bool keeps_outputs = false;

}  // namespace

KeepOutputs::KeepOutputs(bool on) : before_(std::exchange(keeps_outputs, on)) {}
KeepOutputs::~KeepOutputs() { keeps_outputs = before_; }

bool computes_again(std::type_index node, Again again) { return table().emplace(node, again).second; }

Tensor kept_input(torch::autograd::AutogradContext* ctx, const char* key, const Tensor& x) {
  torch::autograd::Node* node = x.grad_fn().get();
  if (!node || keeps_outputs || has_much_room(x.device())) return x;
  const auto found = table().find(typeid(*node));
  if (found == table().end()) return x;
  auto source = c10::make_intrusive<Source>();
  source->node = node;
  source->again = found->second;
  ctx->saved_data[key] = c10::IValue::make_capsule(source);
  return {};
}

Tensor input_again(torch::autograd::AutogradContext* ctx, const char* key, const Tensor& kept) {
  if (kept.defined()) return kept;
  const auto source = c10::static_intrusive_pointer_cast<Source>(ctx->saved_data.at(key).toCapsule());
  at::AutoDispatchBelowADInplaceOrView guard;
  at::NoGradGuard no_grad;
  return source->again(*source->node);
}

}  // namespace graft::kernels
