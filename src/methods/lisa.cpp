// LISA (arXiv 2403.17919): full fine-tuning of a few blocks at a time, drawn anew every lisa_interval_steps optimizer steps.
//   W of the drawn blocks trained; embeddings, final norm and head always
// The draw for steps K i + 1 .. K (i + 1) depends on the seed and i alone: uniform, without repetition within a draw. Frozen
// blocks need no gradients, and the optimizer drops their moments, as the authors' code does: a block that is drawn again begins
// anew, one that is drawn twice running goes on. Weights are float32 masters whatever the base's storage. Writes a model folder.
// Weight decay leaves norms and biases alone.
#include <algorithm>

#include "core/check.h"
#include "core/rng.h"
#include "core/torch.h"
#include "methods/common/base_params.h"

namespace graft {
namespace {

struct LisaConfig : Config {
  int64_t lisa_activated_layers = 2, lisa_interval_steps = 20;
  void visit(Fields& f) override {
    f("lisa_activated_layers", lisa_activated_layers, "how many blocks are trained at a time", at_least(1));
    f("lisa_interval_steps", lisa_interval_steps, "steps until other blocks are drawn", at_least(1));
  }
};

class Lisa : public Method {
 public:
  Config& config() override { return config_; }
  void attach(AttachContext& context) override {
    Model& model = context.model;
    blocks_ = model.layers();
    if (config_.lisa_activated_layers > blocks_)
      usage_error("lisa", fmt::format("lisa_activated_layers must be in 1..{} (the model's layers) but is {}", blocks_,
                                      config_.lisa_activated_layers));
    seed_ = static_cast<uint64_t>(at::randint(int64_t{1} << 62, {1}, context.generator, at::kLong).item<int64_t>());
    visit_base(model, [&](const std::string& name, Tensor& handle, bool decays) {
      params_.push_back({name, trained_copy(handle), decays});
      const auto holds = [&](const Block& b) { return name.starts_with(b.path + "."); };
      const auto block = std::find_if(model.blocks.begin(), model.blocks.end(), holds);
      block_of_.push_back(block == model.blocks.end() ? -1 : block - model.blocks.begin());
    });
  }

  void start_training(int64_t) override { draw(0); }
  void after_step(int64_t step) override {
    if (step % config_.lisa_interval_steps == 0) draw(step / config_.lisa_interval_steps);
  }
  NamedTensors state() const override { return {{"interval", at::tensor({interval_}, at::kLong)}}; }
  void load_state(const NamedTensors& tensors, const std::string& source) override {
    if (tensors.size() != 1 || tensors[0].first != "interval" || tensors[0].second.numel() != 1)
      input_error("resume", fmt::format("{}: the state of lisa is one number, 'interval'", source), "use a fresh --out");
    draw(tensors[0].second.item<int64_t>());
  }

 private:
  void draw(int64_t interval) {
    interval_ = interval;
    std::vector<int64_t> order(static_cast<size_t>(blocks_));
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
    Rng(mix_seed(seed_, "interval " + std::to_string(interval))).shuffle(order);
    order.resize(static_cast<size_t>(config_.lisa_activated_layers));
    for (size_t i = 0; i < params_.size(); ++i)
      params_[i].value.requires_grad_(block_of_[i] < 0 || std::find(order.begin(), order.end(), block_of_[i]) != order.end());
  }

  LisaConfig config_;
  int64_t blocks_ = 0, interval_ = 0;
  uint64_t seed_ = 0;
  std::vector<int64_t> block_of_;  // of every parameter; -1: outside the blocks
};

}  // namespace

extern const MethodRow kLisa;
const MethodRow kLisa{.name = "lisa",
                      .peft_type = nullptr,
                      .title = "LISA",
                      .paper = "arXiv 2403.17919",
                      .trains = "a few random blocks at a time, and what lies outside the blocks",
                      .idea = Idea::Selective,
                      .formula = "W of γ random blocks, of the embeddings and of the head trained; others drawn every K steps",
                      .size = "all weights, in turns",
                      .cost = "gradients and optimizer state of γ blocks, the embeddings and the head; none at inference",
                      .format = Format::ModelFolder,
                      .mergeable = true,
                      .identity = true,
                      .learning_rate = 5e-5,
                      .make = []() -> std::unique_ptr<Method> { return std::make_unique<Lisa>(); }};

}  // namespace graft
