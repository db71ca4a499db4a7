#include "methods/common/targets.h"

#include <set>

#include "core/check.h"
#include "core/regex.h"

namespace graft {
namespace {

bool is_text_list(const Json& json) {
  if (!json.is_array()) return false;
  for (auto& item : json)
    if (!item.is_string()) return false;
  return true;
}

void check_selection(const Json& json, const char* name, const std::string& tag) {
  if (!json.is_null() && !json.is_string() && !(is_text_list(json) && !json.empty()))
    usage_error(tag, fmt::format("{} must be null, text or a list of names but is {}", name, json_line(json)));
}

// "q_proj" alone is a name, not an expression: as one it could match no path.
Json as_list_if_plain(const Json& selection) {
  if (!selection.is_string() || selection == "all-linear") return selection;
  for (const char c : selection.get<std::string>())
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '.') return selection;
  return Json::array({selection});
}

bool ends_with_entry(const std::string& path, const std::string& entry) { return path == entry || path.ends_with("." + entry); }

bool layer_selected(const Json& layers, int64_t layer, const std::string& tag) {
  if (layers.is_null()) return true;
  if (layers.is_number_integer()) return layers.get<int64_t>() == layer;
  if (!layers.is_array()) usage_error(tag, fmt::format("layers_to_transform must be a layer number or a list of them but is {}", json_line(layers)));
  for (auto& item : layers) {
    if (!item.is_number_integer()) usage_error(tag, fmt::format("layers_to_transform holds {}, which is not a layer number", json_line(item)));
    if (item.get<int64_t>() == layer) return true;
  }
  return layers.empty();
}

}  // namespace

void TargetOptions::visit(Fields& f) {
  f("target_modules", target_modules, "modules to adapt: names, a regular expression, \"all-linear\", or null for the family's default");
  f("exclude_modules", exclude_modules, "modules to leave alone: names or a regular expression");
  f("layers_to_transform", layers_to_transform, "only these layers: a number or a list");
  f("layers_pattern", layers_pattern, "name of the module list that holds the layers (the model knows its own)");
}

bool matches_module(const Json& selection, const std::string& path) {
  if (selection.is_string()) return full_match(selection.get<std::string>(), path);
  for (auto& entry : selection)
    if (ends_with_entry(path, entry.get<std::string>())) return true;
  return false;
}

std::vector<Target> resolve_targets(Model& model, const TargetOptions& options, const std::vector<std::string>& defaults, const std::string& tag) {
  check_selection(options.target_modules, "target_modules", tag);
  check_selection(options.exclude_modules, "exclude_modules", tag);
  const Json selection = options.target_modules.is_null() ? Json(defaults) : as_list_if_plain(options.target_modules);
  const Json excluded = as_list_if_plain(options.exclude_modules);
  const bool all = selection == "all-linear" || selection == Json{"all-linear"};
  std::vector<Target> targets;
  std::vector<std::string> paths;
  std::set<std::string> endings;
  visit_linears(model, [&](Site site, int64_t layer, Linear& linear) {
    paths.push_back(linear.path);
    endings.insert(linear.path.substr(linear.path.rfind('.') + 1));
    if (all ? site == Site::Head : !matches_module(selection, linear.path)) return;
    if (!excluded.is_null() && matches_module(excluded, linear.path)) return;
    if (!layer_selected(options.layers_to_transform, layer, tag)) return;
    if (site == Site::Head)
      usage_error(tag, fmt::format("target_modules names the output head '{}', which this method cannot adapt", linear.path),
                  "leave it out, or use method full or last_k_layers to train it");
    targets.push_back({site, layer, &linear});
  });
  const std::vector<std::string> known(endings.begin(), endings.end());
  if (selection.is_array() && !all)
    for (auto& entry : selection) {
      bool found = false;
      for (auto& path : paths) found |= ends_with_entry(path, entry.get<std::string>());
      if (!found)
        usage_error(tag, fmt::format("target_modules: '{}' matches no linear module of this {} model", entry.get<std::string>(), model.config.model_type),
                    suggest(entry.get<std::string>(), known));
    }
  if (targets.empty())
    usage_error(tag, fmt::format("no module is left to adapt: target_modules = {}, exclude_modules = {}, layers_to_transform = {}", json_line(selection),
                                 json_line(options.exclude_modules), json_line(options.layers_to_transform)),
                fmt::format("the modules of this model end in {}", fmt::join(known, ", ")));
  return targets;
}

Json saved_selection(const std::vector<Target>& targets, const Json& requested, const std::vector<std::string>& defaults) {
  if (requested.is_null()) return Json(defaults);
  if (requested != "all-linear" && requested != Json{"all-linear"}) return as_list_if_plain(requested);
  std::set<std::string> names;
  for (auto& t : targets) {
    const std::string& path = t.linear->path;
    const size_t last = path.rfind('.');
    names.insert(path.substr(last + 1));
  }
  return Json(std::vector<std::string>(names.begin(), names.end()));
}

}  // namespace graft
