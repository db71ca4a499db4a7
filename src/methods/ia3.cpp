// (IA)³ (arXiv 2205.05638): learned factors, one for each channel.
//   attention modules y = l ⊙ (W x + b), feed-forward modules y = W (l ⊙ x) + b
// Trained: l [out, 1] or [1, in]. Init 1: the identity. Merges: rows (and bias) or columns of W times l.
// Weight decay would pull l to 0 instead of 1, so it leaves l alone.
#include "core/check.h"
#include "core/torch.h"
#include "kernels/linear.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/targets.h"
#include "model/family.h"

namespace graft {
namespace {

struct Ia3Config : Config {
  Json target_modules, exclude_modules, feedforward_modules;
  bool fan_in_fan_out = false, init_ia3_weights = true;
  void visit(Fields& f) override {
    f("target_modules", target_modules, "modules to scale: names, a regular expression, or null for the family's default");
    f("exclude_modules", exclude_modules, "modules to leave alone");
    f("feedforward_modules", feedforward_modules, "those of the modules whose input is scaled instead of the output");
    f("init_ia3_weights", init_ia3_weights, "true: factors start at 1; false: random");
    f("fan_in_fan_out", fan_in_fan_out, "the base stores [in, out]; known from the model, accepted for files of other programs");
  }
};

struct Ia3Edit : WeightEdit {
  Tensor l;
  bool feed_forward = false;

  Tensor linear(const Linear& base, const Tensor& x, bool) const override {
    const Tensor factor = l.flatten().to(x.scalar_type());
    return feed_forward ? kernels::linear(x * factor, base.weight, base.bias) : kernels::linear(x, base.weight, base.bias) * factor;
  }
  std::optional<Linear> merged(const Linear& base) const override {
    at::NoGradGuard no_grad;
    Linear result = base;
    result.weight = base.weight.to(l.scalar_type()) * l;  // [out, 1] or [1, in]
    if (!feed_forward && base.bias.defined()) result.bias = base.bias.to(l.scalar_type()) * l.flatten();
    return result;
  }
};

class Ia3 : public Method {
 public:
  Config& config() override { return config_; }
  void attach(AttachContext& context) override {
    const auto options = adapter_options(context.model);
    const auto& defaults = context.model.family->targets;
    TargetOptions selection;
    selection.target_modules = config_.target_modules;
    selection.exclude_modules = config_.exclude_modules;
    targets_ = resolve_targets(context.model, selection, defaults.scaling, "ia3");
    feed_forward_ = !config_.feedforward_modules.is_null() ? config_.feedforward_modules
                    : config_.target_modules.is_null()     ? Json(defaults.feed_forward)
                                                           : Json::array();
    for (auto& [site, layer, linear] : targets_) {
      auto edit = std::make_shared<Ia3Edit>();
      edit->feed_forward = matches_module(feed_forward_, linear->path);
      const std::vector<int64_t> shape = edit->feed_forward ? std::vector<int64_t>{1, linear->in()} : std::vector<int64_t>{linear->out(), 1};
      edit->l = add(kPeftPrefix + linear->path + ".ia3_l", config_.init_ia3_weights ? ones(shape, options) : normal(shape, 1, options, context.generator), false);
      context.sites.put(site, layer, edit);
    }
  }
  Json file_config(const Model& model) override {
    Json json = to_json(config_);
    json["target_modules"] = saved_selection(targets_, config_.target_modules, model.family->targets.scaling);
    json["feedforward_modules"] = feed_forward_;
    json["fan_in_fan_out"] = targets_.front().linear->conv1d;
    return json;
  }

 private:
  Ia3Config config_;
  std::vector<Target> targets_;
  Json feed_forward_;
};

}  // namespace

extern const MethodRow kIa3;
const MethodRow kIa3{.name = "ia3",
                     .peft_type = "IA3",
                     .title = "(IA)³",
                     .paper = "arXiv 2205.05638",
                     .trains = "factors for keys, values and inner activations",
                     .format = Format::Peft,
                     .mergeable = true,
                     .identity = true,
                     .learning_rate = 1e-2,
                     .make = []() -> std::unique_ptr<Method> { return std::make_unique<Ia3>(); }};

}  // namespace graft
