// What a method costs, measured apart from all runs: time and memory of a training step, slow-down of inference.
#pragma once
#include <vector>

#include "compare/inputs.h"

namespace graft {

struct CostSamples {
  std::vector<double> seconds, tokens_per_second;  // of training steps
  std::vector<double> slowdown;                    // inference: time with the adapter / time of the base, taken in turns
  int64_t peak_memory = 0;                         // bytes, the largest so far
  double flops_per_token = 0;
};

// Runs a few steps of the method with the whole machine and adds what it saw. Called in several rounds over all methods, so
// that a disturbance of the machine does not fall on one method alone.
void sample_costs(const SharedInputs& in, const PlannedMethod& method, CostSamples& samples);

// Medians, as result.json holds them.
Json costs_of(const CostSamples& samples);

}  // namespace graft
