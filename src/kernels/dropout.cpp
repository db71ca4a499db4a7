#include "kernels/dropout.h"

#include <ATen/CPUGeneratorImpl.h>

#include <map>

#include "core/torch.h"

namespace graft::kernels {
namespace {

// What each device draws from; the CPU's state tells all of them, see seed_dropout.
struct Generators {
  uint64_t seed = 0, draws = 0;
  at::Generator cpu = at::detail::createCPUGenerator(0);
  std::map<c10::DeviceIndex, at::Generator> cuda;

  at::Generator& of(const at::Device& device) {
    ++draws;
    if (!device.is_cuda()) return cpu;
    const auto found = cuda.find(device.index());
    if (found != cuda.end()) return found->second;
    at::Generator made = at::globalContext().getAcceleratorHooksInterface(device.type()).getNewGenerator(device.index());
    made.set_current_seed(seed);
    return cuda.emplace(device.index(), made).first->second;
  }
};
Generators& generators() {
  thread_local Generators mine;
  return mine;
}

}  // namespace

Tensor dropout(const Tensor& x, double p) {
  at::Generator& generator = generators().of(x.device());
  return x * at::empty(x.sizes(), x.options().requires_grad(false)).bernoulli_(1 - p, generator).mul_(1 / (1 - p));
}

Tensor normal_noise(at::IntArrayRef shape, const at::TensorOptions& options) {
  return at::empty(shape, options.requires_grad(false)).normal_(0, 1, generators().of(options.device()));
}

uint64_t random_draws() { return generators().draws; }

void seed_dropout(uint64_t seed) {
  auto& all = generators();
  all.seed = seed;
  all.cpu.set_current_seed(seed);
  for (auto& [index, generator] : all.cuda) generator.set_current_seed(seed);
}

DropoutState dropout_state() {
  auto& all = generators();
  DropoutState state{all.seed, all.cpu.get_state(), {}};
  for (auto& [index, generator] : all.cuda) state.cuda.emplace_back(index, generator.get_state());  // on the host: nothing waits
  return state;
}

void set_dropout_state(const DropoutState& state) {
  auto& all = generators();
  all.seed = state.seed;
  all.cpu.set_state(state.cpu);
  // One that was made later starts from the seed again.
  for (auto& [index, generator] : all.cuda) generator.set_current_seed(state.seed);
  for (auto& [index, value] : state.cuda) all.of(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index))).set_state(value);
}

}  // namespace graft::kernels
