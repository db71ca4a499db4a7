// Adapter+ (arXiv 2406.06820): Pfeiffer's place, a factor for each channel of the adapter's output, Houlsby's initial values, and stochastic
// depth. In a pre-norm block  h ← h + s ⊙ up(h + res); in training an adapter leaves a document alone with probability stochastic_depth and
// counts 1 / (1 − stochastic_depth) otherwise.
// Trained: W_d, b_d, W_u, b_u, s [width] from 1. Init normal(0, 0.01) cut at two deviations, biases 0: not quite the identity. Not mergeable.
// Files: AdapterHub's, with its keys original_ln_after and residual_before_ln false, which say the same in a pre-norm block.
#include "core/torch.h"
#include "methods/common/bottleneck.h"

namespace graft {
namespace {

BottleneckConfig adapterplus_options() {
  BottleneckConfig c = pfeiffer_options();
  c.reduction_factor = 96.0;
  c.non_linearity = "gelu";
  c.scaling = "channel";
  c.init_weights = "houlsby";
  c.stochastic_depth = 0.1;
  c.residual_inside = false;
  return c;
}

}  // namespace

extern const MethodRow kAdapterPlus;
const MethodRow kAdapterPlus{.name = "adapterplus",
                             .peft_type = nullptr,
                             .title = "Adapter+",
                             .paper = "arXiv 2406.06820",
                             .trains = "a bottleneck after the MLP of each block and factors of its channels",
                             .idea = Idea::Adapter,
                             .formula = "h ← h + s ⊙ (W_u f(W_d (h + res) + b_d) + b_u) after the MLP",
                             .size = "2 d d/rf + d/rf + 2 d a block",
                             .cost = "Pfeiffer's at the same width; stays at inference",
                             .format = Format::AdapterHub,
                             .mergeable = false,
                             .identity = false,
                             .learning_rate = 1e-3,
                             .make = []() -> std::unique_ptr<Method> { return std::make_unique<Bottleneck>("adapterplus", adapterplus_options()); }};

}  // namespace graft
