// LN tuning (arXiv 2312.11420): a full trained copy of the norm modules' gains and biases. Merging swaps them in.
// The reference trains them in the base's dtype; here they are float32 masters, and weight decay leaves them alone.
#include <algorithm>

#include "core/check.h"
#include "methods/common/base_params.h"
#include "methods/common/companions.h"
#include "methods/common/targets.h"
#include "model/family.h"

namespace graft {
namespace {

struct LnTuningConfig : Config {
  Json target_modules, exclude_modules, modules_to_save;
  void visit(Fields& f) override {
    f("target_modules", target_modules, "norm modules to train: names, a regular expression, or null for the family's default");
    f("exclude_modules", exclude_modules, "norm modules to leave alone");
    f("modules_to_save", modules_to_save, "other modules that are trained as a whole: path endings");
  }
};

class LnTuning : public Method {
 public:
  Config& config() override { return config_; }
  void attach(AttachContext& context) override {
    config_.modules_to_save = as_name_list(config_.modules_to_save);
    const Json selection = config_.target_modules.is_null() ? Json(context.model.family->targets.norms) : config_.target_modules;
    check_choice(selection, "target_modules");
    if (!config_.exclude_modules.is_null()) check_choice(config_.exclude_modules, "exclude_modules");
    std::vector<std::string> norms, tuned;
    visit_norms(context.model, [&](Site, int64_t, Norm& norm) {
      if (norm.path.empty()) return;
      norms.push_back(norm.path);
      if (!matches_module(selection, norm.path)) return;
      if (!config_.exclude_modules.is_null() && matches_module(config_.exclude_modules, norm.path)) return;
      tuned.push_back(norm.path);
      const std::string name = kPeftPrefix + norm.path + ".ln_tuning_layers.";
      params_.push_back({name + "weight", trained_copy(norm.weight), false});
      if (norm.bias.defined()) params_.push_back({name + "bias", trained_copy(norm.bias), false});
    });
    for (auto& path : module_paths(context.model))
      if (matches_module(selection, path) && std::find(norms.begin(), norms.end(), path) == norms.end())
        usage_error("ln_tuning", fmt::format("target_modules = {} matches '{}', which is no norm", json_line(selection), path));
    // A family's defaults name all norms that its members may have, and so do files that were made with them.
    if (selection.is_array() && !config_.target_modules.is_null() && !context.loading)
      for (auto& entry : selection)
        if (std::none_of(norms.begin(), norms.end(), [&](const std::string& path) { return matches_module(Json::array({entry}), path); }))
          usage_error("ln_tuning", fmt::format("target_modules: '{}' matches no norm of this model", entry.get<std::string>()), suggest(entry.get<std::string>(), context.model.family->targets.norms));
    if (params_.empty())
      usage_error("ln_tuning", fmt::format("target_modules = {} matches no norm of this model", json_line(selection)),
                  fmt::format("its norms end in {}", fmt::join(context.model.family->targets.norms, ", ")));
    train_saved_modules(context.model, config_.modules_to_save, /*tie=*/false, kPeftPrefix, tuned, "ln_tuning", {params_, kept_});
  }
  Json file_config(const Model& model) override {
    Json json = to_json(config_);
    if (config_.target_modules.is_null()) json["target_modules"] = model.family->targets.norms;
    return json;
  }

 private:
  static void check_choice(const Json& choice, const char* name) {
    const bool list = choice.is_array() && !choice.empty() && std::all_of(choice.begin(), choice.end(), [](const Json& m) { return m.is_string(); });
    if (!choice.is_string() && !list) usage_error("ln_tuning", fmt::format("{} must be null, text or a list of names but is {}", name, json_line(choice)));
  }
  LnTuningConfig config_;
};

}  // namespace

extern const MethodRow kLnTuning;
const MethodRow kLnTuning{.name = "ln_tuning",
                          .peft_type = "LN_TUNING",
                          .title = "LN tuning",
                          .paper = "arXiv 2312.11420",
                          .trains = "gains and biases of the norms",
                          .idea = Idea::Selective,
                          .formula = "y = g ⊙ x̂ (+ b), g and b trained",
                          .size = "d a norm (2 d with a bias)",
                          .cost = "none beside the base's backward pass; none after merging",
                          .format = Format::Peft,
                          .mergeable = true,
                          .identity = true,
                          .learning_rate = 1e-3,
                          .make = []() -> std::unique_ptr<Method> { return std::make_unique<LnTuning>(); }};

}  // namespace graft
