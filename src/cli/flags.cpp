#include "cli/flags.h"

#include <algorithm>

#include "core/check.h"

namespace graft {

struct Flags::Given {
  std::map<std::string, std::vector<std::string>> texts;
  std::map<std::string, bool> switches;
};

Flags::Flags(CLI::App& app, Config& config, const std::map<std::string, std::string>& aliases, const std::vector<std::string>& skip)
    : given_(std::make_shared<Given>()) {
  for (auto& field : describe(config)) {
    if (std::find(skip.begin(), skip.end(), field.name) != skip.end()) continue;
    std::string dashed = field.name;
    std::replace(dashed.begin(), dashed.end(), '_', '-');
    const auto alias = aliases.find(field.name);
    const std::string names = "--" + dashed + (alias == aliases.end() ? "" : ",--" + alias->second);
    std::string doc = field.doc;
    if (!field.allowed.choices.empty()) doc += fmt::format(" ({})", fmt::join(field.allowed.choices, ", "));
    if (!field.value.is_null() && field.value != "" && !(field.value.is_object() && field.value.empty())) doc += fmt::format(" [{}]", json_line(field.value));
    auto given = given_;
    const std::string name = field.name;
    if (field.type == std::string("true or false")) {
      app.add_flag_callback("--" + dashed, [given, name] { given->switches[name] = true; }, doc);
      app.add_flag_callback("--no-" + dashed, [given, name] { given->switches[name] = false; })->group("");
    } else {
      app.add_option_function<std::vector<std::string>>(names, [given, name](const std::vector<std::string>& values) { given->texts[name] = values; }, doc)
          ->expected(1)
          ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
          ->type_name(field.type == std::string("JSON") ? "VALUE" : "")
          ->allow_extra_args(false);
    }
  }
}

void Flags::apply(Config& config, const std::string& tag) const {
  for (auto& [name, value] : given_->switches) from_json(config, Json{{name, value}}, tag);
  for (auto& [name, values] : given_->texts) {
    if (values.size() == 1) set_from_text(config, name, values[0], tag);
    else from_json(config, Json{{name, values}}, tag);  // repeated: a list
  }
}

}  // namespace graft
