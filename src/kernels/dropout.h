// Dropout and noise with a generator of its own for each thread, so that runs side by side and recomputed blocks draw what they would alone.
#pragma once
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace graft::kernels {

// x · mask / (1 − p), each entry kept with probability 1 − p. A GPU draws its own masks: other ones than a CPU from the same seed.
Tensor dropout(const Tensor& x, double p);
// Values of a standard normal distribution from the same generators.
Tensor normal_noise(at::IntArrayRef shape, const at::TensorOptions& options);

// How often this thread has drawn from them.
uint64_t random_draws();

void seed_dropout(uint64_t seed);
struct DropoutState {
  uint64_t seed = 0;
  Tensor cpu;
  std::vector<std::pair<int, Tensor>> cuda;  // by the device's index
};
DropoutState dropout_state();
void set_dropout_state(const DropoutState& state);

}  // namespace graft::kernels
