#include "cli/commands.h"
#include "cli/flags.h"
#include "core/check.h"
#include "core/signals.h"
#include "core/yaml.h"
#include "train/recipe.h"

namespace graft {

// "key=value" with JSON, numbers, words or lists as value, checked by the method itself.
Json method_options_from_text(const std::vector<std::string>& pairs, const std::string& method_name) {
  const auto method = find_method(method_name).make();
  for (auto& pair : pairs) {
    const size_t equals = pair.find('=');
    if (equals == std::string::npos || equals == 0) usage_error("train", fmt::format("-o takes key=value but got '{}'", pair), "such as -o r=16");
    set_from_text(method->config(), pair.substr(0, equals), pair.substr(equals + 1), method_name);
  }
  Json options = Json::object();
  const Json all = to_json(method->config());
  for (auto& pair : pairs) {
    const std::string key = pair.substr(0, pair.find('='));
    options[key] = all[key];
  }
  return options;
}

void add_train(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("train", "fine-tunes a model; writes an adapter folder (or a model folder), metrics.jsonl, checkpoints");
  auto recipe = std::make_shared<Recipe>();
  auto file = std::make_shared<std::string>();
  auto options = std::make_shared<std::vector<std::string>>();
  auto betas = std::make_shared<std::string>();
  auto resume = std::make_shared<bool>(false), dry_run = std::make_shared<bool>(false);
  auto flags = std::make_shared<Flags>(*sub, *recipe, std::map<std::string, std::string>{{"learning_rate", "lr"}}, std::vector<std::string>{"method_options"});
  sub->add_option("--recipe", *file, "YAML file with any of these as keys; a flag wins");
  sub->add_option("-o,--option", *options, "option of the method, key=value (repeatable)")->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  sub->add_option("--betas", *betas, "AdamW's betas, such as 0.9,0.999");
  sub->add_flag("--dry-run", *dry_run, "check everything and print what memory the largest step needs, train nothing");
  sub->add_flag("--resume", *resume, "go on from the newest whole checkpoint in --out");
  sub->callback([=] {
    install_signal_handlers();
    if (!file->empty()) from_json(*recipe, read_yaml(*file), "recipe");
    flags->apply(*recipe, "train");
    if (!betas->empty()) {
      const size_t comma = betas->find(',');
      if (comma == std::string::npos) usage_error("train", fmt::format("betas must be two numbers but are '{}'", *betas), "such as --betas 0.9,0.999");
      set_from_text(*recipe, "beta1", betas->substr(0, comma), "train");
      set_from_text(*recipe, "beta2", betas->substr(comma + 1), "train");
    }
    if (!options->empty()) {
      if (recipe->method_config) usage_error("train", "-o and --method-config cannot be combined", "write the options into the file");
      recipe->method_options.update(method_options_from_text(*options, recipe->method));
    }
    if (*dry_run) fmt::print("{}", memory_table(*recipe));
    else run_recipe(*recipe, *resume);
  });
}

}  // namespace graft
