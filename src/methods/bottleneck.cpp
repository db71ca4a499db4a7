// Bottleneck adapters: Houlsby (arXiv 1902.00751), Pfeiffer (arXiv 2005.00247), parallel (arXiv 2110.04366), as AdapterHub
// defines them for pre-norm decoders. up(x) = W_u f(W_d x + b_d) + b_u; h = a sub-layer's output, res = the residual stream.
//   houlsby   after attention and after the MLP:  res + h + up(h)
//   pfeiffer  after the MLP:                      res + h + up(h + res)
//   parallel  after the MLP:                      res + h + scaling · up(res), res before the MLP's norm
// scaling is a number, or trained from 1: "learned" [1], "channel" [width].
// Trained: W_d [b, width], b_d, W_u [width, b], b_u with b = max(1, width div reduction_factor). Init "bert": normal(0, 0.02),
// biases 0 (not the identity); "mam_adapter": W_d kaiming, W_u 0 (the identity); "houlsby": normal(0, 0.01) cut at 2 std.
// Not mergeable. Files: AdapterHub's folders.
#include "methods/common/bottleneck.h"

namespace graft {

extern const MethodRow kHoulsby, kPfeiffer, kParallel;
const MethodRow kHoulsby{.name = "houlsby",
                         .peft_type = nullptr,
                         .title = "Houlsby adapters",
                         .paper = "arXiv 1902.00751",
                         .trains = "a bottleneck after attention and MLP of each block",
                         .idea = Idea::Adapter,
                         .formula = "h ← h + W_u f(W_d h + b_d) + b_u after attention and MLP",
                         .size = "2 (2 d d/rf + d/rf + d) a block",
                         .cost = "4 d · d/rf operations a token and adapter, forward; stays at inference",
                         .format = Format::AdapterHub,
                         .mergeable = false,
                         .identity = false,
                         .learning_rate = 1e-3,
                         .make = []() -> std::unique_ptr<Method> { return std::make_unique<Bottleneck>("houlsby", houlsby_options()); },
                         .aliases = "double_seq_bn"};
const MethodRow kPfeiffer{.name = "pfeiffer",
                          .peft_type = nullptr,
                          .title = "Pfeiffer adapters",
                          .paper = "arXiv 2005.00247",
                          .trains = "a bottleneck after the MLP of each block",
                          .idea = Idea::Adapter,
                          .formula = "h ← h + W_u f(W_d (h + res) + b_d) + b_u after the MLP",
                          .size = "2 d d/rf + d/rf + d a block",
                          .cost = "half of Houlsby's at the same width; stays at inference",
                          .format = Format::AdapterHub,
                          .mergeable = false,
                          .identity = false,
                          .learning_rate = 1e-3,
                          .make = []() -> std::unique_ptr<Method> { return std::make_unique<Bottleneck>("pfeiffer", pfeiffer_options()); },
                          .aliases = "seq_bn"};
const MethodRow kParallel{.name = "parallel",
                          .peft_type = nullptr,
                          .title = "Parallel adapters",
                          .paper = "arXiv 2110.04366",
                          .trains = "a bottleneck beside the MLP of each block",
                          .idea = Idea::Adapter,
                          .formula = "h ← h + s · (W_u f(W_d res + b_d) + b_u) beside the MLP",
                          .size = "2 d d/rf + d/rf + d a block",
                          .cost = "4 d · d/rf operations a token, forward; stays at inference",
                          .format = Format::AdapterHub,
                          .mergeable = false,
                          .identity = true,
                          .learning_rate = 1e-3,
                          .make = []() -> std::unique_ptr<Method> { return std::make_unique<Bottleneck>("parallel", parallel_options()); },
                          .aliases = "par_bn par_seq_bn"};

}  // namespace graft
