// graft methods and graft families: the two tables.
#include "cli/commands.h"
#include "core/check.h"
#include "methods/method.h"
#include "model/family.h"

namespace graft {
namespace {

Json options_of(const MethodRow& row) {
  Json options = Json::array();
  const auto method = row.make();
  for (auto& field : describe(method->config())) {
    Json option{{"name", field.name}, {"default", field.value}, {"doc", field.doc}};
    if (!field.allowed.choices.empty()) option["choices"] = field.allowed.choices;
    options.push_back(option);
  }
  return options;
}

Json row_json(const MethodRow& row) {
  const char* formats[] = {"HF PEFT folder", "AdapterHub folder", "model folder"};
  return {{"name", row.name}, {"title", row.title}, {"peft_type", row.peft_type ? Json(row.peft_type) : Json()}, {"paper", row.paper}, {"trains", row.trains},
          {"mergeable", row.mergeable}, {"identity_at_start", row.identity}, {"format", formats[static_cast<int>(row.format)]},
          {"learning_rate", row.learning_rate}, {"options", options_of(row)}};
}

void print_method(const MethodRow& row) {
  fmt::print("{} ({})\n  trains: {}\n  paper: {}\n  merges into the base: {}\n  starts as the identity: {}\n  default learning rate: {:g}\n", row.title, row.name, row.trains,
             *row.paper ? row.paper : "-", row.mergeable ? "yes" : "no", row.identity ? "yes" : "no", row.learning_rate);
  const Json options = options_of(row);
  if (!options.empty()) fmt::print("  options (-o name=value):\n");
  for (auto& o : options) {
    fmt::print("    {:<24} {} [{}]", o["name"].get<std::string>(), o["doc"].get<std::string>(), json_line(o["default"]));
    if (o.contains("choices")) fmt::print(" one of {}", json_line(o["choices"]));
    fmt::print("\n");
  }
}

}  // namespace

void add_methods(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("methods", "the methods: what each trains, its options and defaults");
  auto name = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  sub->add_option("name", *name, "one method");
  sub->add_flag("--json", *json, "one JSON document on stdout");
  sub->callback([=] {
    if (!name->empty()) {
      const MethodRow& row = find_method(*name);
      if (*json) print_json(row_json(row));
      else print_method(row);
      return;
    }
    Json rows = Json::array();
    for (auto& row : methods()) rows.push_back(row_json(row));
    if (*json) return print_json(rows);
    for (auto& row : methods()) fmt::print("{:<15} {:<62} {}\n", row.name, row.trains, row.paper);
  });
}

void add_families(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("families", "the model families that can be loaded");
  auto name = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  sub->add_option("name", *name, "one family");
  sub->add_flag("--json", *json, "one JSON document on stdout");
  sub->callback([=] {
    if (!name->empty()) find_family(*name);
    Json rows = Json::array();
    for (auto& row : families()) {
      if (!name->empty() && row.model_type != *name) continue;
      rows.push_back({{"model_type", row.model_type}, {"architecture", row.architecture}, {"title", row.title},
                      {"default_targets", {{"low_rank", row.targets.low_rank}, {"scaling", row.targets.scaling}, {"feed_forward", row.targets.feed_forward}, {"norms", row.targets.norms}}}});
    }
    if (*json) return print_json(rows);
    for (auto& row : rows) fmt::print("{:<12} {:<22} {}\n", row["model_type"].get<std::string>(), row["architecture"].get<std::string>(), row["title"].get<std::string>());
  });
}

}  // namespace graft
