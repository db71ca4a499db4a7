// (IA)³ (arXiv 2205.05638): learned factors, one for each channel.
//   attention modules y = l ⊙ (W x + b), feed-forward modules y = W (l ⊙ x) + b
// Trained: l [out, 1] or [1, in]. Init 1: the identity. Merges: rows (and bias) or columns of W times l.
// Weight decay would pull l to 0 instead of 1, so it leaves l alone.
#include <algorithm>

#include "core/check.h"
#include "core/torch.h"
#include "kernels/linear.h"
#include "kernels/scale.h"
#include "methods/common/base_params.h"
#include "methods/common/companions.h"
#include "methods/common/init.h"
#include "methods/common/targets.h"
#include "model/family.h"

namespace graft {
namespace {

struct Ia3Config : Config {
  Json target_modules, exclude_modules, feedforward_modules, modules_to_save;
  bool fan_in_fan_out = false, init_ia3_weights = true;
  void visit(Fields& f) override {
    f("target_modules", target_modules, "modules to scale: names, a regular expression, or null for the family's default");
    f("exclude_modules", exclude_modules, "modules to leave alone");
    f("feedforward_modules", feedforward_modules, "those of the modules whose input is scaled instead of the output");
    f("modules_to_save", modules_to_save, "modules that are trained as a whole: path endings");
    f("init_ia3_weights", init_ia3_weights, "true: factors start at 1; false: random");
    f("fan_in_fan_out", fan_in_fan_out, "the base stores [in, out]; known from the model, accepted for files of other programs");
  }
};

struct Ia3Edit : WeightEdit {
  Tensor l;
  bool feed_forward = false;

  Tensor linear(const Linear& base, const Tensor& x, bool) const override {
    const Tensor factor = l.flatten().to(x.scalar_type());
    if (feed_forward) return kernels::linear(kernels::scaled(x, factor), base.weight, base.bias);
    return kernels::scaled(kernels::linear(x, base.weight, base.bias), factor);
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
    config_.modules_to_save = as_name_list(config_.modules_to_save);
    const auto options = adapter_options(context.model);
    const auto& defaults = context.model.family->targets;
    TargetOptions selection;
    selection.target_modules = config_.target_modules;
    selection.exclude_modules = config_.exclude_modules;
    targets_ = resolve_targets(context.model, selection, defaults.scaling, "ia3", {config_.modules_to_save});
    feed_forward_ = !config_.feedforward_modules.is_null() ? config_.feedforward_modules
                    : config_.target_modules.is_null()     ? Json(defaults.feed_forward)
                                                           : Json::array();
    feed_forward_ = as_list_if_plain(feed_forward_);
    check_feed_forward();
    for (auto& [site, layer, linear] : targets_) {
      auto edit = std::make_shared<Ia3Edit>();
      edit->feed_forward = is_feed_forward(linear->path);
      const std::vector<int64_t> shape = edit->feed_forward ? std::vector<int64_t>{1, linear->in()} : std::vector<int64_t>{linear->out(), 1};
      edit->l = add(kPeftPrefix + linear->path + ".ia3_l", config_.init_ia3_weights ? ones(shape, options) : normal(shape, 1, options, context.generator), false);
      context.sites.put(site, layer, edit);
    }
    const CompanionLists lists{params_, kept_};
    keep_embeddings(context.model, targets_, saved_selection(targets_, config_.target_modules, defaults.scaling), lists);
    train_saved_modules(context.model, config_.modules_to_save, /*tie=*/false, kPeftPrefix, target_paths(context.model, targets_), "ia3", lists);
  }
  Json file_config(const Model& model) override {
    Json json = to_json(config_);
    json["target_modules"] = saved_selection(targets_, config_.target_modules, model.family->targets.scaling);
    json["feedforward_modules"] = feed_forward_;
    json["fan_in_fan_out"] = any_conv1d(targets_);
    return json;
  }

 private:
  // The reference takes list entries as plain endings here, without a dot before them.
  bool is_feed_forward(const std::string& path) const {
    if (feed_forward_.is_string()) return matches_module(feed_forward_, path);
    return std::any_of(feed_forward_.begin(), feed_forward_.end(), [&](const Json& ending) { return path.ends_with(ending.get<std::string>()); });
  }
  void check_feed_forward() const {
    const bool list = feed_forward_.is_array() && std::all_of(feed_forward_.begin(), feed_forward_.end(), [](const Json& m) { return m.is_string() && m != ""; });
    if (!list && !feed_forward_.is_string()) usage_error("ia3", fmt::format("feedforward_modules must be null, text or a list of names but is {}", json_line(feed_forward_)));
    for (auto& entry : list ? feed_forward_ : Json::array())
      if (std::none_of(targets_.begin(), targets_.end(), [&](const Target& t) { return t.linear->path.ends_with(entry.get<std::string>()); }))
        usage_error("ia3", fmt::format("feedforward_modules: '{}' is none of the adapted modules", entry.get<std::string>()), "it must be in target_modules too");
  }
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
                     .idea = Idea::Scaling,
                     .formula = "y = l ⊙ (W x + b), feed-forward y = W (l ⊙ x) + b",
                     .size = "out or in a linear",
                     .cost = "one multiplication a channel; none after merging",
                     .format = Format::Peft,
                     .mergeable = true,
                     .identity = true,
                     .learning_rate = 1e-2,
                     .make = []() -> std::unique_ptr<Method> { return std::make_unique<Ia3>(); }};

}  // namespace graft
