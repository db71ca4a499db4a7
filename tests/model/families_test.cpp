// Every family and every option of its config against log-probabilities by transformers (tools/golden/families.py).
#include <cmath>
#include <set>

#include <gtest/gtest.h>

#include "core/json.h"
#include "core/torch.h"
#include "data/examples.h"
#include "model/decoder.h"
#include "model/loader.h"
#include "support/support.h"

namespace graft {
namespace {

const Json& golden() {
  static const Json json = read_json(testing::source_folder() / "tests/model/golden/families.json");
  return json;
}

// Numbers in [-1, 1) from a tensor's name and an entry's index, as the script has them.
Tensor formula_values(const std::string& name, const std::vector<int64_t>& shape) {
  uint64_t seed = 0xCBF29CE484222325u;
  for (const char c : name) seed = (seed ^ static_cast<uint8_t>(c)) * 0x100000001B3u;
  Tensor values = at::empty(shape, at::kDouble);
  double* out = values.mutable_data_ptr<double>();
  for (int64_t i = 0; i < values.numel(); ++i) {
    uint64_t z = seed + static_cast<uint64_t>(i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    out[i] = static_cast<double>(z >> 40) / 8388608.0 - 1;
  }
  return values;
}

void formula_weights(Model& model) {
  visit_weights(model, [](const std::string& name, Tensor& handle, const std::vector<int64_t>& shape, bool conv1d) {
    const auto holds = [&](const char* word) { return name.find(word) != std::string::npos; };
    Tensor values = formula_values(name, shape);
    if (name.ends_with(".bias")) values.mul_(0.3);
    else if (shape.size() < 2 || holds("norm")) values.mul_(0.3).add_(1);
    else if (holds("embed") || holds("wte") || holds("wpe")) values.mul_(std::sqrt(3.0));
    else values.mul_(1.5 * std::sqrt(3.0 / static_cast<double>(shape[conv1d ? 0 : 1])));
    const Tensor stored = values.to(at::kFloat);
    handle = conv1d ? stored.t() : stored;
  });
}

class Families : public ::testing::TestWithParam<size_t> {};

std::vector<double> losses_of(const Model& model, const std::vector<int64_t>& ids) {
  Batch batch;
  append_document(batch, ids, 1);
  const Tensor losses = token_losses(model, Sites(model.layers()), batch);
  return {losses.const_data_ptr<double>(), losses.const_data_ptr<double>() + losses.numel()};
}

TEST_P(Families, LogProbabilitiesEqualTransformers) {
  const Json& c = golden()["cases"][GetParam()];
  auto ids = golden()["ids"].get<std::vector<int64_t>>();
  ids.resize(c["tokens"].get<size_t>());
  Model model = random_model(c["config"], 1);
  formula_weights(model);
  const auto losses = losses_of(model, ids);
  ASSERT_EQ(losses.size(), c["logprobs"].size());
  double worst = 0;
  for (size_t i = 0; i < losses.size(); ++i) worst = std::max(worst, std::abs(losses[i] + c["logprobs"][i].get<double>()));
  EXPECT_LT(worst, 2e-4) << c["name"];
  // The same in a packed batch, behind another document, and with the composed operations.
  Batch packed;
  append_document(packed, std::vector<int64_t>{5, 6, 7, 8, 9}, 1);
  const int64_t before = packed.supervised();
  append_document(packed, ids, 1);
  const Tensor behind = token_losses(model, Sites(model.layers()), packed).narrow(0, before, static_cast<int64_t>(losses.size()));
  for (size_t i = 0; i < losses.size(); ++i) EXPECT_NEAR(behind[static_cast<int64_t>(i)].item<double>(), losses[i], 1e-4) << c["name"];
}

std::string case_name(const ::testing::TestParamInfo<size_t>& info) {
  std::string name = golden()["cases"][info.param]["name"];
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(All, Families, ::testing::Range(size_t{0}, golden()["cases"].size()), case_name);

TEST(FamilyCoverage, EveryFamilyHasCases) {
  std::map<std::string, int> cases;
  for (auto& c : golden()["cases"]) ++cases[c["config"]["model_type"]];
  EXPECT_EQ(families().size(), 20u);
  for (auto& row : families()) EXPECT_GE(cases[row.model_type], 7) << row.model_type;
  EXPECT_GE(golden()["cases"].size(), 300u);
}

}  // namespace
}  // namespace graft
