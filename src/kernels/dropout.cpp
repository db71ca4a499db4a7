#include "kernels/dropout.h"

#include <ATen/CPUGeneratorImpl.h>

#include "core/torch.h"

namespace graft::kernels {
namespace {
at::Generator& generator() {
  thread_local at::Generator mine = at::detail::createCPUGenerator(0);
  return mine;
}
}  // namespace

Tensor dropout(const Tensor& x, double p) {
  const Tensor mask = at::empty(x.sizes(), x.options().device(at::kCPU).requires_grad(false)).bernoulli_(1 - p, generator()).mul_(1 / (1 - p));
  return x * mask.to(x.device());
}

void seed_dropout(uint64_t seed) { generator().set_current_seed(seed); }
Tensor dropout_state() { return generator().get_state(); }
void set_dropout_state(const Tensor& state) { generator().set_state(state); }

}  // namespace graft::kernels
