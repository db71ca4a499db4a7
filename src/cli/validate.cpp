#include "adapter/folder.h"
#include "cli/commands.h"
#include "compare/inputs.h"
#include "core/check.h"
#include "core/yaml.h"
#include "train/recipe.h"

namespace graft {

void add_validate(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("validate", "checks a recipe or a plan, and the model and data it names, without running");
  auto file = std::make_shared<std::string>();
  sub->add_option("file", *file, "a recipe or a plan")->required();
  sub->callback([=] {
    const Json json = read_yaml(*file);
    if (json.is_object() && json.contains("methods")) {
      const SharedInputs in = load_inputs(read_plan(*file));
      fmt::print("{}: a plan of {} methods on {} training, {} dev and {} test rows; nothing is wrong with it\n", *file, in.plan.methods.size(), in.train.size(), in.dev.size(), in.test.size());
      return;
    }
    Recipe recipe;
    from_json(recipe, json, "recipe");
    check_recipe(recipe);
    fmt::print("{}: a recipe for {} on {}; nothing is wrong with it\n", *file, recipe.method, recipe.model);
  });
}

}  // namespace graft
