#include "methods/common/weight_method.h"

#include <algorithm>

#include "core/check.h"
#include "core/torch.h"
#include "methods/common/companions.h"
#include "model/family.h"

namespace graft {

void WeightMethodConfig::visit_common(Fields& f, const char* bias_only, bool has_fan_in_fan_out) {
  targets.visit(f);
  if (bias_only) f("bias", bias, "train biases of the base too: none, all, or those of the adapted modules", one_of({"none", "all", bias_only}));
  f("modules_to_save", modules_to_save, "modules that are trained as a whole: path endings");
  if (has_fan_in_fan_out)
    f("fan_in_fan_out", fan_in_fan_out, "the base stores [in, out]; known from the model, accepted for files of other programs");
}

void WeightMethodConfig::visit_rank_pattern(Fields& f) {
  f("rank_pattern", rank_pattern, "other ranks for modules whose path a key matches: {regex: r}");
}

void WeightMethod::attach(AttachContext& context) {
  common_.modules_to_save = as_name_list(common_.modules_to_save);
  Model& model = context.model;
  targets_ = resolve_targets(model, common_.targets, default_targets(model), name_, {common_.modules_to_save});
  prepare(context);
  for (auto& [site, layer, linear] : targets_) context.sites.put(site, layer, adapt(context, *linear));
  for (auto& [option, pattern] : patterns_) pattern.check_all_used();
  const CompanionLists lists{params_, kept_};
  keep_embeddings(model, targets_, saved_selection(targets_, common_.targets.target_modules, default_targets(model)), lists);
  train_saved_modules(model, common_.modules_to_save, /*tie=*/false, kPeftPrefix, target_paths(model, targets_), name_, lists);
  train_biases(model, common_.bias, targets_, lists);
}

const std::vector<std::string>& WeightMethod::default_targets(const Model& model) const { return model.family->targets.low_rank; }

Tensor WeightMethod::param(const Linear& linear, const std::string& suffix, Tensor value, bool decay) {
  return add(kPeftPrefix + linear.path + "." + suffix, std::move(value), decay);
}

Tensor WeightMethod::frozen(const std::string& name, Tensor value, bool needed) {
  frozen_.push_back({name, value, needed});
  return value;
}

double WeightMethod::patterned(const char* option, const Json& pattern, const Linear& linear, double fallback, bool integers) {
  const auto found = patterns_.try_emplace(option, pattern, option, name_, integers).first;
  return found->second.value(linear.path, fallback);
}

void WeightMethod::does_not_fit(const Linear& linear, const std::string& message, const std::string& hint) const {
  usage_error(name_, fmt::format("{} ({} is {} × {})", message, linear.path, linear.out(), linear.in()), hint);
}

NamedTensors WeightMethod::file_tensors() const {
  NamedTensors tensors = Method::file_tensors();
  for (auto& [name, value, needed] : frozen_)
    if (needed) tensors.emplace_back(name, value);
  return tensors;
}

void WeightMethod::load_file_tensors(const NamedTensors& tensors, const std::string& source) {
  NamedTensors others = tensors;
  for (auto& [name, value, needed] : frozen_) {
    const auto found = std::find_if(others.begin(), others.end(), [&, &n = name](const auto& entry) { return entry.first == n; });
    if (found == others.end()) {
      if (needed) input_error("adapter", fmt::format("{}: the tensor '{}' is missing", source, name));
      continue;
    }
    if (found->second.sizes() != value.sizes() || !found->second.is_floating_point())
      input_error("adapter",
                  fmt::format("{}: '{}' must hold numbers of the shape [{}] but has [{}]", source, name, fmt::join(value.sizes(), ", "), fmt::join(found->second.sizes(), ", ")),
                  "was the adapter made for this base model and with these options?");
    value.copy_(found->second);
    others.erase(found);
  }
  Method::load_file_tensors(others, source);
}

Json WeightMethod::file_config(const Model& model) {
  Json json = to_json(common_);
  json["target_modules"] = saved_selection(targets_, common_.targets.target_modules, default_targets(model));
  if (json.contains("fan_in_fan_out")) json["fan_in_fan_out"] = any_conv1d(targets_);
  const TargetOptions& chosen = common_.targets;
  if ((!excludes_ && !chosen.exclude_modules.is_null()) || (!layers_ && !chosen.layers_to_transform.is_null()))
    json["target_modules"] = target_paths(model, targets_);
  if (!excludes_) json.erase("exclude_modules");
  if (!layers_)
    for (const char* key : {"layers_to_transform", "layers_pattern"}) json.erase(key);
  return json;
}

}  // namespace graft
