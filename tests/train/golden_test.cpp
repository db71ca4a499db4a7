// 20 steps from the reference's adapters: the losses of a PyTorch loop around PEFT's and AdapterHub's modules (tools/golden/training.py).
#include <fstream>

#include "core/files.h"
#include "core/json.h"
#include "core/safetensors.h"
#include "core/torch.h"
#include "support/support.h"
#include "train/recipe.h"

namespace graft {
namespace {

namespace fs = std::filesystem;
using testing::TempFolder;

constexpr double kBound = 1e-3;  // of the reference's loss

fs::path golden_folder() { return fs::path(__FILE__).parent_path() / "golden"; }

// An adapter's file holds what a prompt encoder makes; the encoder itself comes as a checkpoint of step 0, without moments.
void write_checkpoint(const fs::path& encoder, const fs::path& folder, int64_t steps) {
  const SafetensorsFile file(encoder);
  NamedTensors state;
  for (auto& [name, info] : file.tensors()) {
    const at::Tensor value = file.tensor(name);
    state.emplace_back("param." + name, value);
    state.emplace_back("first." + name, at::zeros_like(value));
    state.emplace_back("second." + name, at::zeros_like(value));
    state.emplace_back("steps." + name, at::zeros({}, at::kFloat));
  }
  make_folder(folder);
  save_safetensors(folder / "trainer_state.safetensors", state);
  write_json(folder / "trainer_state.json", {{"step", 0}, {"steps", steps}, {"seed", 0}});
}

Recipe recipe_for(const std::string& family, const std::string& method, const Json& expected, const Json& settings) {
  const fs::path folder = golden_folder() / family;
  Recipe recipe;
  recipe.model = (folder / "model").string();
  recipe.data = (folder / expected.at("rows").get<std::string>()).string();
  recipe.steps = settings.at("steps").get<int64_t>();
  recipe.data_config.order = "sequential";
  recipe.data_config.batch_size = settings.at("batch_size").get<int64_t>();
  recipe.data_config.grad_accum = settings.at("grad_accum").get<int64_t>();
  recipe.optim.learning_rate = expected.at("learning_rate").get<double>();
  recipe.optim.warmup = std::to_string(settings.at("warmup").get<int64_t>());
  recipe.optim.weight_decay = settings.at("weight_decay").get<double>();
  recipe.optim.clip = settings.at("clip").get<double>();
  recipe.threads = 1;  // tiny: more would only wait for one another
  recipe.method = method;
  if (method == "full") return recipe;
  recipe.method_config = (folder / method / "adapter_config.json").string();
  if (!fs::exists(folder / method / "encoder.safetensors")) recipe.init_adapter = (folder / method).string();
  return recipe;
}

std::vector<double> losses_of(Recipe recipe, const std::string& family, const std::string& method) {
  const TempFolder out;
  recipe.out = out.path().string();
  const fs::path encoder = golden_folder() / family / method / "encoder.safetensors";
  if (fs::exists(encoder)) write_checkpoint(encoder, out / "checkpoint-0", *recipe.steps);
  run_recipe(recipe, fs::exists(encoder));
  std::vector<double> losses;
  std::ifstream file(out / "metrics.jsonl");
  for (std::string line; std::getline(file, line);) {
    const Json row = Json::parse(line);
    if (row.contains("step") && row.contains("loss")) losses.push_back(row["loss"].get<double>());
  }
  return losses;
}

TEST(TrainingParity, LossesOfTwentyStepsAreTheReferences) {
  const Json golden = read_json(golden_folder() / "losses.json");
  int cases = 0;
  for (auto& [family, methods] : golden.at("losses").items()) {
    for (auto& [method, expected] : methods.items()) {
      SCOPED_TRACE(family + " " + method);
      const Recipe recipe = recipe_for(family, method, expected, golden.at("settings"));
      const std::vector<double> ours = losses_of(recipe, family, method);
      const auto theirs = expected.at("losses").get<std::vector<double>>();
      ASSERT_EQ(ours.size(), theirs.size());
      for (size_t i = 0; i < ours.size(); ++i) EXPECT_NEAR(ours[i], theirs[i], kBound * theirs[i]) << "step " << i + 1;
      ++cases;
    }
  }
  EXPECT_EQ(cases, 2 * 27 + 2);  // GPT-2 lacks two that the reference does not adapt
}

}  // namespace
}  // namespace graft
