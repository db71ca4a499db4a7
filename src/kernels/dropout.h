// Dropout with a generator of its own for each thread, so that runs side by side and recomputed blocks draw what they would alone.
#pragma once
#include "core/tensor.h"

namespace graft::kernels {

// x · mask / (1 − p), each entry kept with probability 1 − p.
Tensor dropout(const Tensor& x, double p);

void seed_dropout(uint64_t seed);
Tensor dropout_state();
void set_dropout_state(const Tensor& state);

}  // namespace graft::kernels
