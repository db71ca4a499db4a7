// Inputs that an operation needs again in its backward pass without keeping them: an output that its own node can compute again
// from what that node keeps anyway (a norm's from its input, a gated unit's from gate and up) is not worth its memory.
// On a GPU it is while there is much room; where memory runs short the rest is computed again.
#pragma once
#include <typeindex>

#include "core/tensor.h"

namespace torch::autograd {
struct AutogradContext;
struct Node;
template <class T>
struct CppNode;
}  // namespace torch::autograd

namespace graft::kernels {

// While an object of this kind lives, operations of this thread keep such inputs after all: where all of them together are little, computing
// them again saves nothing.
class KeepOutputs {
 public:
  explicit KeepOutputs(bool on = true);
  ~KeepOutputs();
  KeepOutputs(const KeepOutputs&) = delete;
  KeepOutputs& operator=(const KeepOutputs&) = delete;

 private:
  bool before_;
};

// Says that Function F can do so: `static Tensor again(AutogradContext* ctx)` returns its only output, computed from what it saved.
// Call it once at start-up: const bool known = computes_again<F>();
using Again = Tensor (*)(torch::autograd::Node& node);
bool computes_again(std::type_index node, Again again);
template <class F>
bool computes_again() {
  using Node = torch::autograd::CppNode<F>;
  return computes_again(typeid(Node), [](torch::autograd::Node& node) { return F::again(&static_cast<Node&>(node).ctx_); });
}

// For an operation's forward pass: what to put into save_for_backward for its input x. Undefined where x can be computed again;
// then the context remembers how, under `key`.
Tensor kept_input(torch::autograd::AutogradContext* ctx, const char* key, const Tensor& x);
// For its backward pass: x, from what was kept.
Tensor input_again(torch::autograd::AutogradContext* ctx, const char* key, const Tensor& kept);

}  // namespace graft::kernels
