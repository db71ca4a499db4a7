// MAM, mix-and-match adapters (arXiv 2110.04366): prefix tuning and parallel adapters in one.
//   attention   softmax(Q [P_k; K]ᵀ/√d_h) [P_v; V],  P = W2 tanh(W1 E + b1) + b2
//   MLP         h ← h + 4 (W_u relu(W_d res + b_d) + b_u),  res the residual stream before the MLP's norm
// Trained: E [prefix_length, width], W1, b1, W2, b2; W_d, b_d, W_u, b_u. Init: E normal(0, 1), the network as torch's linears, W_d kaiming, W_u 0. Not the
// identity (a prefix takes attention), not mergeable. Files: AdapterHub's, a union; its prefix, unlike PEFT's, leaves the tokens' positions alone.
#include "core/torch.h"
#include "methods/common/bottleneck.h"
#include "methods/common/hub_parts.h"

namespace graft {
namespace {

struct MamConfig : Config {
  HubPrefixConfig* prefix = nullptr;
  BottleneckConfig* adapter = nullptr;
  void visit(Fields& f) override {
    f("prefix_length", prefix->prefix_length, "rows in front of every document in every layer", between(1, 4096));
    f("bottleneck_size", prefix->bottleneck_size, "width of the network that makes them", at_least(1));
    f("flat", prefix->flat, "train these rows themselves instead");
    f("reduction_factor", adapter->reduction_factor, "the adapter is width / reduction_factor wide");
    f("scaling", adapter->scaling, "factor of the adapter's output: a number, \"learned\" or \"channel\"");
    f("non_linearity", adapter->non_linearity, "activation in the adapter");
    f("dropout", adapter->dropout, "dropout on the adapter's output", between(0, 0.999));
  }
};

class Mam : public Union {
 public:
  Mam() {
    parts_ = {&prefix_, &adapter_};
    prefix_.options.bottleneck_size = 800;
    config_.prefix = &prefix_.options;
    config_.adapter = &adapter_.options();
  }
  Config& config() override { return config_; }

 private:
  HubPrefix prefix_;
  Bottleneck adapter_{"mam", parallel_options()};
  MamConfig config_;
};

}  // namespace

extern const MethodRow kMam;
const MethodRow kMam{.name = "mam",
                     .peft_type = nullptr,
                     .title = "MAM adapters",
                     .paper = "arXiv 2110.04366",
                     .trains = "a prefix in every layer and a bottleneck beside every MLP",
                     .idea = Idea::Combination,
                     .formula = "prefix tuning, and h ← h + s · (W_u f(W_d res + b_d) + b_u) beside the MLP",
                     .size = "n d + m d + 2 m L kv_width once, 2 d d/rf + d/rf + d a block",
                     .cost = "prefix tuning's and parallel adapters' together; stays at inference",
                     .format = Format::AdapterHub,
                     .mergeable = false,
                     .identity = false,
                     .learning_rate = 1e-3,
                     .make = []() -> std::unique_ptr<Method> { return std::make_unique<Mam>(); }};

}  // namespace graft
