#include "methods/common/targets.h"

#include <algorithm>
#include <optional>
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

bool ends_with_entry(const std::string& path, const std::string& entry) { return path == entry || path.ends_with("." + entry); }

std::vector<int64_t> layer_numbers(const Json& layers, int64_t count, const std::string& tag) {
  std::vector<int64_t> numbers;
  if (layers.is_null()) return numbers;
  const Json list = layers.is_array() ? layers : Json::array({layers});
  for (auto& item : list) {
    if (!item.is_number_integer()) usage_error(tag, fmt::format("layers_to_transform must be a layer number or a list of them but is {}", json_line(layers)));
    numbers.push_back(item.get<int64_t>());
    if (numbers.back() < 0 || numbers.back() >= count)
      usage_error(tag, fmt::format("layers_to_transform names layer {}, but this model has the layers 0..{}", numbers.back(), count - 1));
  }
  return numbers;
}

// The layer number in a module's path: the first numeric part with at least two parts before it, or the one behind a pattern.
std::optional<int64_t> layer_of(const std::string& path, const std::vector<std::string>& patterns) {
  int64_t parts_before = 0;
  for (size_t begin = 0; begin < path.size(); ++parts_before) {
    const size_t end = path.find('.', begin);
    if (end == std::string::npos) return {};
    const std::string part = path.substr(begin, end - begin);
    if (!part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == std::string::npos && begin > 0) {
      bool fits = patterns.empty() && parts_before >= 2;
      for (auto& pattern : patterns) fits |= full_match("(.*\\.)?(" + pattern + ")", path.substr(0, begin - 1));
      if (fits) return std::stoll(part);
    }
    begin = end + 1;
  }
  return {};
}

// The rules of one configuration, checked once.
struct Selection {
  Json chosen, excluded, saved;
  std::vector<int64_t> layers;
  std::vector<std::string> patterns;
  bool all = false;

  bool is_excluded(const std::string& path) const {
    if (!excluded.is_null() && matches_module(excluded, path)) return true;
    if (saved.is_array())
      for (auto& entry : saved)
        if (full_match("(.*\\.)?(" + entry.get<std::string>() + ")(\\..*)?", path)) return true;
    return false;
  }
  bool in_layers(const std::string& path) const {
    if (layers.empty()) return true;
    if (!all && chosen.is_array() && std::find(chosen.begin(), chosen.end(), Json(path)) != chosen.end()) return true;  // a whole path names its layer itself
    const auto layer = layer_of(path, patterns);
    return layer && std::find(layers.begin(), layers.end(), *layer) != layers.end();
  }
  bool takes(const std::string& path) const { return matches_module(chosen, path) && !is_excluded(path) && in_layers(path); }
};

Selection checked_selection(const Model& model, const TargetOptions& options, const std::vector<std::string>& defaults, const TargetRules& rules, const std::string& tag) {
  check_selection(options.target_modules, "target_modules", tag);
  check_selection(options.exclude_modules, "exclude_modules", tag);
  Selection s;
  s.chosen = options.target_modules.is_null() ? Json(defaults) : as_list_if_plain(options.target_modules);
  s.excluded = as_list_if_plain(options.exclude_modules);
  s.saved = rules.modules_to_save;
  s.all = s.chosen == "all-linear" || s.chosen == Json{"all-linear"};
  s.layers = layer_numbers(options.layers_to_transform, model.layers(), tag);
  const Json& pattern = options.layers_pattern;
  if (!pattern.is_null() && !pattern.is_string() && !is_text_list(pattern)) usage_error(tag, fmt::format("layers_pattern must be null, a name or a list of names but is {}", json_line(pattern)));
  if (pattern.is_string() && pattern != "") s.patterns.push_back(pattern.get<std::string>());
  if (pattern.is_array()) s.patterns = pattern.get<std::vector<std::string>>();
  if (!s.patterns.empty() && options.layers_to_transform.is_null())
    usage_error(tag, fmt::format("layers_pattern = {} has no effect without layers_to_transform", json_line(pattern)));
  if (s.chosen.is_string() && !s.all && !options.layers_to_transform.is_null())
    usage_error(tag, "layers_to_transform cannot be combined with a regular expression in target_modules", "name the layers in the expression, or give a list of names");
  return s;
}

}  // namespace

Json as_list_if_plain(const Json& selection) {
  if (!selection.is_string() || selection == "all-linear") return selection;
  for (const char c : selection.get<std::string>())
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '.') return selection;
  return Json::array({selection});
}

void TargetOptions::visit(Fields& f) {
  f("target_modules", target_modules, "modules to adapt: names, a regular expression, \"all-linear\", or null for the family's default");
  f("exclude_modules", exclude_modules, "modules to leave alone: names or a regular expression");
  f("layers_to_transform", layers_to_transform, "only these layers: a number or a list");
  f("layers_pattern", layers_pattern, "with layers_to_transform: name of the module list that holds the layers");
}

bool matches_module(const Json& selection, const std::string& path) {
  if (selection.is_string()) return full_match(selection.get<std::string>(), path);
  for (auto& entry : selection)
    if (ends_with_entry(path, entry.get<std::string>())) return true;
  return false;
}

std::set<int64_t> layer_numbers(const Json& list, const char* option, const Model& model, const std::string& tag) {
  if (!list.is_array()) usage_error(tag, fmt::format("{} must be a list of layer numbers but is {}", option, json_line(list)));
  std::set<int64_t> layers;
  for (auto& layer : list) {
    if (!layer.is_number_integer() || layer.get<int64_t>() < 0 || layer.get<int64_t>() >= model.layers())
      usage_error(tag, fmt::format("{} holds {}, but this model has the layers 0..{}", option, json_line(layer), model.layers() - 1));
    layers.insert(layer.get<int64_t>());
  }
  return layers;
}

std::string last_part(const std::string& path) { return path.substr(path.rfind('.') + 1); }

const std::string& target_path(const Model& model, const Target& target) { return target.linear ? target.linear->path : model.tokens.path; }

std::vector<std::string> module_paths(Model& model) {
  std::set<std::string> paths;
  const auto add_with_parents = [&](std::string path) {
    for (size_t dot = path.size(); dot != std::string::npos; dot = path.rfind('.')) {
      path.resize(dot);
      paths.insert(path);
    }
  };
  visit_weights(model, [&](const std::string& name, Tensor& handle, const std::vector<int64_t>&, bool) {
    const bool head = &handle == &model.head.weight || &handle == &model.head.bias;  // files may call it otherwise
    if (!head) add_with_parents(name.substr(0, name.rfind('.')));
  });
  add_with_parents(model.head.path);
  return {paths.begin(), paths.end()};
}

std::vector<Target> resolve_targets(Model& model, const TargetOptions& options, const std::vector<std::string>& defaults, const std::string& tag,
                                    const TargetRules& rules) {
  const Selection selection = checked_selection(model, options, defaults, rules, tag);
  std::vector<Target> targets;
  std::set<std::string> adaptable, endings;
  if (!selection.all && selection.takes(model.tokens.path)) {
    if (!rules.embeddings) usage_error(tag, fmt::format("target_modules names the embedding '{}', which this method cannot adapt", model.tokens.path), "leave it out");
    targets.push_back({Site::Embed, -1, nullptr});
  }
  adaptable.insert(model.tokens.path);
  visit_linears(model, [&](Site site, int64_t layer, Linear& linear) {
    adaptable.insert(linear.path);
    if (site != Site::Head) endings.insert(linear.path.substr(linear.path.rfind('.') + 1));
    const bool taken = selection.all ? site != Site::Head && !selection.is_excluded(linear.path) && selection.in_layers(linear.path) : selection.takes(linear.path);
    if (!taken) return;
    if (site == Site::Head) linear.weight = model.head_linear().weight;
    targets.push_back({site, layer, &linear});
  });
  const std::vector<std::string> known(endings.begin(), endings.end());
  if (!selection.all) {
    for (auto& path : module_paths(model))
      if (!adaptable.count(path) && selection.takes(path))
        usage_error(tag, fmt::format("target_modules = {} matches '{}', which is neither a linear module nor the token embedding", json_line(selection.chosen), path),
                    fmt::format("the linear modules of this model end in {}", fmt::join(known, ", ")));
    if (selection.chosen.is_array())
      for (auto& entry : selection.chosen) {
        const auto fits = [&](const std::string& path) { return ends_with_entry(path, entry.get<std::string>()); };
        if (std::none_of(adaptable.begin(), adaptable.end(), fits))
          usage_error(tag, fmt::format("target_modules: '{}' matches no linear module of this {} model", entry.get<std::string>(), model.config.model_type),
                      suggest(entry.get<std::string>(), known));
      }
  }
  if (targets.empty())
    usage_error(tag, fmt::format("no module is left to adapt: target_modules = {}, exclude_modules = {}, layers_to_transform = {}, modules_to_save = {}",
                                 json_line(selection.chosen), json_line(options.exclude_modules), json_line(options.layers_to_transform), json_line(rules.modules_to_save)),
                fmt::format("the modules of this model end in {}", fmt::join(known, ", ")));
  return targets;
}

Json saved_selection(const std::vector<Target>& targets, const Json& requested, const std::vector<std::string>& defaults) {
  if (requested.is_null()) return Json(defaults);
  if (requested != "all-linear" && requested != Json{"all-linear"}) return as_list_if_plain(requested);
  std::set<std::string> names;
  for (auto& t : targets) {
    const std::string& path = t.linear->path;
    names.insert(path.substr(path.rfind('.') + 1));
  }
  return Json(std::vector<std::string>(names.begin(), names.end()));
}

bool any_conv1d(const std::vector<Target>& targets) {
  return std::any_of(targets.begin(), targets.end(), [](const Target& t) { return t.linear && t.linear->conv1d; });
}

ModulePattern::ModulePattern(const Json& pattern, const char* name, const std::string& tag, bool integers) : pattern_(pattern), name_(name), tag_(tag) {
  if (pattern_.is_null()) pattern_ = Json::object();
  if (!pattern_.is_object()) usage_error(tag, fmt::format("{} must be a mapping of module names to values but is {}", name, json_line(pattern)));
  for (auto& [key, value] : pattern_.items()) {
    if (!(integers ? value.is_number_integer() : value.is_number()) || value.get<double>() <= 0)
      usage_error(tag, fmt::format("{}['{}'] must be {} above 0 but is {}", name, key, integers ? "an integer" : "a number", json_line(value)));
    unused_.push_back(key);
  }
}

double ModulePattern::value(const std::string& path, double fallback) {
  std::string by;
  for (auto& [key, value] : pattern_.items()) {
    if (!full_match("(.*\\.)?(" + key + ")", path)) continue;
    std::erase(unused_, key);
    // The order of the keys would decide, and files do not keep it.
    if (!by.empty() && pattern_[by] != value)
      usage_error(tag_, fmt::format("{}: '{}' and '{}' both match '{}' with different values", name_, by, key, path), "make the keys disjoint");
    by = key;
  }
  return by.empty() ? fallback : pattern_[by].get<double>();
}

void ModulePattern::check_all_used() const {
  if (!unused_.empty()) usage_error(tag_, fmt::format("{}: '{}' matches no adapted module", name_, unused_.front()), "a key is a module's name or path, or a regular expression for it");
}

}  // namespace graft
