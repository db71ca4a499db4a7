// graft methods and graft families: the two tables.
#include <algorithm>

#include "cli/commands.h"
#include "cli/pages.h"
#include "compare/plan.h"
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

// The learning rates that a comparison tries for a model about 1000 wide.
std::vector<double> searched_rates(const MethodRow& row) { return automatic_grid(row.learning_rate, 1000, Plan().trials); }

Json row_json(const MethodRow& row) {
  const char* formats[] = {"HF PEFT folder", "AdapterHub folder", "model folder"};
  return {{"name", row.name}, {"title", row.title}, {"peft_type", row.peft_type ? Json(row.peft_type) : Json()}, {"paper", row.paper}, {"trains", row.trains},
          {"idea", idea_title(row.idea)}, {"formula", row.formula}, {"size", row.size}, {"cost", row.cost}, {"mergeable", row.mergeable}, {"identity_at_start", row.identity}, {"format", formats[static_cast<int>(row.format)]},
          {"learning_rate", row.learning_rate}, {"searched_learning_rates", searched_rates(row)}, {"options", options_of(row)}};
}

std::string method_text(const MethodRow& row) {
  const auto yes = [](bool value) { return value ? "yes" : "no"; };
  std::string text = fmt::format("{} ({})\n  idea: {}\n  trains: {}\n  formula: {}\n  paper: {}\n  trained parameters: {}\n  cost: {}\n  merges into the base: {}\n  starts as the identity: {}\n",
                                 row.title, row.name, idea_title(row.idea), row.trains, row.formula, *row.paper ? row.paper : "-", row.size, row.cost, yes(row.mergeable), yes(row.identity));
  const auto rates = searched_rates(row);
  text += fmt::format("  default learning rate: {:g}; a comparison tries {:g} to {:g} (model about 1000 wide)\n", row.learning_rate, rates.front(), rates.back());
  const Json options = options_of(row);
  if (!options.empty()) text += "  options (-o name=value):\n";
  for (auto& o : options) {
    text += fmt::format("    {:<24} {} [{}]", o["name"].get<std::string>(), o["doc"].get<std::string>(), json_line(o["default"]));
    if (o.contains("choices")) text += fmt::format(" one of {}", json_line(o["choices"]));
    text += "\n";
  }
  return text;
}

// What `graft methods` prints; an empty name means all.
std::string methods_text(const std::string& name, bool json) {
  if (!name.empty()) return json ? json_line(row_json(find_method(name))) + "\n" : method_text(find_method(name));
  Json rows = Json::array();
  std::string text;
  const MethodRow* before = nullptr;
  for (auto& row : methods()) {
    rows.push_back(row_json(row));
    if (!before || before->idea != row.idea) text += fmt::format("{}{}\n", before ? "\n" : "", idea_title(row.idea));
    before = &row;
    text += fmt::format("  {:<16} {:<70} {}\n", row.name, row.trains, row.paper);
  }
  return json ? json_line(rows) + "\n" : text;
}

// What `graft families` prints.
std::string families_text(const std::string& name, bool json) {
  if (!name.empty()) {
    std::vector<std::string> names;
    for (auto& row : families()) names.push_back(row.model_type);
    if (std::find(names.begin(), names.end(), name) == names.end()) usage_error("families", fmt::format("unknown family '{}'", name), suggest(name, names));
  }
  Json rows = Json::array();
  std::string text;
  for (auto& row : families()) {
    if (!name.empty() && row.model_type != name) continue;
    rows.push_back({{"model_type", row.model_type}, {"architecture", row.architecture}, {"title", row.title},
                    {"default_targets", {{"low_rank", row.targets.low_rank}, {"scaling", row.targets.scaling}, {"feed_forward", row.targets.feed_forward}, {"norms", row.targets.norms}}}});
    text += fmt::format("{:<12} {:<22} {}\n", row.model_type, row.architecture, row.title);
  }
  return json ? json_line(rows) + "\n" : text;
}

using Text = std::string (*)(const std::string& name, bool json);

void add_table(CLI::App& app, const std::string& command, const std::string& about, const std::string& row, Text text) {
  CLI::App* sub = app.add_subcommand(command, about);
  auto name = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  sub->add_option("name", *name, "one " + row);
  sub->add_flag("--json", *json, "one JSON document on stdout");
  sub->callback([=] { fmt::print("{}", text(*name, *json)); });
}

void add_pages(std::vector<Page>& pages, const std::string& command, const std::string& name, Text text) {
  const std::string asked = name.empty() ? command : command + " " + name;
  pages.push_back({{asked}, text(name, false)});
  pages.push_back({{asked + " --json"}, text(name, true)});
  if (!name.empty()) pages.back().asked.push_back(command + " --json " + name);
}

}  // namespace

void add_methods(CLI::App& app) { add_table(app, "methods", "the methods: what each trains, its options and defaults", "method", methods_text); }
void add_families(CLI::App& app) { add_table(app, "families", "the model families that can be loaded", "family", families_text); }

std::vector<Page> table_pages() {
  std::vector<Page> pages;
  add_pages(pages, "methods", "", methods_text);
  for (auto& row : methods()) add_pages(pages, "methods", row.name, methods_text);
  add_pages(pages, "families", "", families_text);
  for (auto& row : families()) add_pages(pages, "families", row.model_type, families_text);
  return pages;
}

}  // namespace graft
