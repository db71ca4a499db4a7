// LN tuning (arXiv 2312.11420): a full trained copy of the norm modules' gains and biases. Merging swaps them in.
// The reference trains them in the base's dtype; here they are float32 masters, and weight decay leaves them alone.
#include "core/check.h"
#include "methods/common/base_params.h"
#include "methods/common/targets.h"
#include "model/family.h"

namespace graft {
namespace {

struct LnTuningConfig : Config {
  Json target_modules, exclude_modules;
  void visit(Fields& f) override {
    f("target_modules", target_modules, "norm modules to train: names, a regular expression, or null for the family's default");
    f("exclude_modules", exclude_modules, "norm modules to leave alone");
  }
};

class LnTuning : public Method {
 public:
  Config& config() override { return config_; }
  void attach(AttachContext& context) override {
    const Json selection = config_.target_modules.is_null() ? Json(context.model.family->targets.norms) : config_.target_modules;
    visit_norms(context.model, [&](Site, int64_t, Norm& norm) {
      if (!matches_module(selection, norm.path)) return;
      if (!config_.exclude_modules.is_null() && matches_module(config_.exclude_modules, norm.path)) return;
      const std::string name = kPeftPrefix + norm.path + ".ln_tuning_layers.";
      params_.push_back({name + "weight", trained_copy(norm.weight), false});
      if (norm.bias.defined()) params_.push_back({name + "bias", trained_copy(norm.bias), false});
    });
    if (params_.empty())
      usage_error("ln_tuning", fmt::format("target_modules = {} matches no norm of this model", json_line(selection)),
                  fmt::format("its norms end in {}", fmt::join(context.model.family->targets.norms, ", ")));
  }
  Json file_config(const Model& model) override {
    Json json = to_json(config_);
    if (config_.target_modules.is_null()) json["target_modules"] = model.family->targets.norms;
    return json;
  }

 private:
  LnTuningConfig config_;
};

}  // namespace

extern const MethodRow kLnTuning;
const MethodRow kLnTuning{.name = "ln_tuning",
                          .peft_type = "LN_TUNING",
                          .title = "LN tuning",
                          .paper = "arXiv 2312.11420",
                          .trains = "gains and biases of the norms",
                          .format = Format::Peft,
                          .mergeable = true,
                          .identity = true,
                          .learning_rate = 1e-3,
                          .make = []() -> std::unique_ptr<Method> { return std::make_unique<LnTuning>(); }};

}  // namespace graft
