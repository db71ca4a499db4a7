// Full fine-tuning: every tensor of the base is trained, float32 masters whatever the base's storage. Writes a model folder.
// Weight decay leaves norms and biases alone.
#include "methods/common/base_params.h"

namespace graft {
namespace {

struct FullConfig : Config {
  void visit(Fields&) override {}
};

class Full : public Method {
 public:
  Config& config() override { return config_; }
  void attach(AttachContext& context) override {
    visit_base(context.model, [&](const std::string& name, Tensor& handle, bool decays) { params_.push_back({name, trained_copy(handle), decays}); });
  }

 private:
  FullConfig config_;
};

}  // namespace

extern const MethodRow kFull;
const MethodRow kFull{.name = "full",
                      .peft_type = nullptr,
                      .title = "Full fine-tuning",
                      .paper = "",
                      .trains = "every tensor of the base",
                      .idea = Idea::Selective,
                      .formula = "W trained",
                      .size = "all weights",
                      .cost = "forward as the base; every gradient, and 16 bytes of weight, gradient and moments for each weight",
                      .format = Format::ModelFolder,
                      .mergeable = true,
                      .identity = true,
                      .learning_rate = 5e-5,
                      .make = []() -> std::unique_ptr<Method> { return std::make_unique<Full>(); }};

}  // namespace graft
