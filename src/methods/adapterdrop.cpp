// AdapterDrop (arXiv 2010.11918): Pfeiffer adapters without those of the lowest layers, so that neither pass runs through adapters
// there and the backward pass ends above them.
//   specialised  the lowest drop_layers layers have no adapter, in training and after it
//   robust       every layer has one; each step leaves out those of the lowest k layers, k uniform in 0..drop_layers
// Trained, init, formula: as Pfeiffer's (bottleneck.cpp). The draw of a step depends on robust_seed and the step alone. Files: AdapterHub's, a
// Pfeiffer adapter with leave_out; a robust adapter is read with fewer layers by writing them into leave_out.
#include "core/check.h"
#include "core/rng.h"
#include "core/torch.h"
#include "methods/common/bottleneck.h"

namespace graft {
namespace {

struct AdapterDropConfig : BottleneckConfig {
  std::optional<int64_t> drop_layers;
  bool robust = false;
  int64_t robust_seed = 0;
  AdapterDropConfig() : BottleneckConfig(pfeiffer_options()) {}
  void visit(Fields& f) override {
    f("drop_layers", drop_layers, "lowest layers without adapters; null: 5 of 12", at_least(0));
    f("robust", robust, "leave out the adapters of 0 to drop_layers layers, another number in each step");
    f("robust_seed", robust_seed, "what these numbers are drawn from", at_least(0));
    BottleneckConfig::visit(f);
  }
};

class AdapterDrop : public Bottleneck {
 public:
  AdapterDrop() : Bottleneck("adapterdrop", pfeiffer_options()) {}
  Config& config() override { return own_; }

  void attach(AttachContext& context) override {
    const int64_t layers = context.model.layers();
    drop_ = own_.drop_layers.value_or(layers * 5 / 12);
    if (drop_ >= layers) usage_error(name_, fmt::format("drop_layers must be below the model's {} layers but is {}", layers, drop_));
    config_ = own_;
    for (int64_t layer = 0; layer < drop_ && !own_.robust; ++layer)
      if (std::find(config_.leave_out.begin(), config_.leave_out.end(), Json(layer)) == config_.leave_out.end()) config_.leave_out.push_back(layer);
    Bottleneck::attach(context);
  }
  void start_training(int64_t) override { choose(0); }
  void after_step(int64_t step) override { choose(step); }
  bool passes_repeat() const override { return !own_.robust; }
  NamedTensors state() const override { return {{"left_out", at::tensor({left_out_}, at::kLong)}}; }
  void load_state(const NamedTensors& tensors, const std::string& source) override {
    if (tensors.size() != 1 || tensors[0].first != "left_out" || tensors[0].second.numel() != 1)
      input_error("resume", fmt::format("{}: the number of layers to leave out is missing", source), "use a fresh --out");
    left_out_ = tensors[0].second.item<int64_t>();
  }
  int file_fit(const Json&) const override { return -1; }  // pfeiffer reads its files

 protected:
  bool left_out(int64_t layer, bool training) const override { return training && own_.robust && layer < left_out_; }

 private:
  void choose(int64_t steps_done) {
    Rng rng(mix_seed(static_cast<uint64_t>(own_.robust_seed), "adapterdrop " + std::to_string(steps_done)));
    left_out_ = own_.robust ? static_cast<int64_t>(rng.below(static_cast<uint64_t>(drop_) + 1)) : 0;
  }
  AdapterDropConfig own_;
  int64_t drop_ = 0, left_out_ = 0;
};

}  // namespace

extern const MethodRow kAdapterDrop;
const MethodRow kAdapterDrop{.name = "adapterdrop",
                             .peft_type = nullptr,
                             .title = "AdapterDrop",
                             .paper = "arXiv 2010.11918",
                             .trains = "a bottleneck after the MLP of the upper blocks",
                             .idea = Idea::Adapter,
                             .formula = "h ← h + W_u f(W_d (h + res) + b_d) + b_u after the MLP, above the lowest k blocks",
                             .size = "2 d d/rf + d/rf + d a block above the lowest k",
                             .cost = "Pfeiffer's in the upper blocks; no backward pass below them",
                             .format = Format::AdapterHub,
                             .mergeable = false,
                             .identity = false,
                             .learning_rate = 1e-3,
                             .make = []() -> std::unique_ptr<Method> { return std::make_unique<AdapterDrop>(); }};

}  // namespace graft
