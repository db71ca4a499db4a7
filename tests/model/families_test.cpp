// Every family and every option of its config against log-probabilities by transformers (tools/golden/families.py).
#include <algorithm>
#include <cmath>
#include <map>

#include <gtest/gtest.h>

#include "core/files.h"
#include "core/json.h"
#include "core/torch.h"
#include "data/examples.h"
#include "eval/generate.h"
#include "kernels/twins.h"
#include "model/decoder.h"
#include "model/loader.h"
#include "support/conformance.h"
#include "support/formula.h"
#include "support/support.h"

namespace graft {
namespace {

const Json& golden() {
  static const Json json = read_json(testing::source_folder() / "tests/model/golden/families.json");
  return json;
}

class Families : public ::testing::TestWithParam<size_t> {};

std::vector<double> losses_of(const Model& model, const std::vector<int64_t>& ids) {
  Batch batch;
  append_document(batch, ids, 1);
  const Tensor losses = token_losses(model, Sites(model.layers()), batch);
  return {losses.const_data_ptr<double>(), losses.const_data_ptr<double>() + losses.numel()};
}

// Gradients of all weights by the fused operations against those of their composed twins: the largest relative difference.
double composed_difference(const Model& base, const Batch& batch) {
  const auto gradients = [&](const Recomputed& recomputed) {
    Model model = base;
    std::vector<Tensor> leaves;
    visit_weights(model, [&](const std::string&, Tensor& handle, const std::vector<int64_t>&, bool) {
      handle = handle.detach().clone().requires_grad_();
      leaves.push_back(handle);
    });
    const Sites sites(model.layers());
    loss_sum(model, sites, batch, recomputed).backward();
    for (auto& leaf : leaves) leaf = leaf.grad().clone();
    return leaves;
  };
  const auto fused = gradients({0, Recomputed::kAll});
  const kernels::ComposedOnly composed_only;
  const auto composed = gradients({});
  double worst = 0;
  for (size_t i = 0; i < fused.size(); ++i)
    worst = std::max(worst, (fused[i] - composed[i]).abs().max().item<double>() / std::max(1.0, composed[i].abs().max().item<double>()));
  return worst;
}

TEST_P(Families, LogProbabilitiesEqualTransformers) {
  const Json& c = golden()["cases"][GetParam()];
  auto ids = golden()["ids"].get<std::vector<int64_t>>();
  ids.resize(c["tokens"].get<size_t>());
  Model model = random_model(c["config"], 1);
  testing::formula_weights(model);
  const auto losses = losses_of(model, ids);
  ASSERT_EQ(losses.size(), c["logprobs"].size());
  double worst = 0, largest = 0;
  for (size_t i = 0; i < losses.size(); ++i) {
    worst = std::max(worst, std::abs(losses[i] + c["logprobs"][i].get<double>()));
    largest = std::max(largest, losses[i]);
  }
  // Both sides round to float32, and log-probabilities reach −99: those of either are up to 2e-4 from float64's.
  EXPECT_LT(worst, std::max(2e-4, 4e-6 * largest)) << c["name"];
  // The same in a packed batch, behind another document.
  Batch packed;
  append_document(packed, std::vector<int64_t>{5, 6, 7, 8, 9}, 1);
  const int64_t before = packed.supervised();
  append_document(packed, ids, 1);
  const Tensor behind = token_losses(model, Sites(model.layers()), packed).narrow(0, before, static_cast<int64_t>(losses.size()));
  for (size_t i = 0; i < losses.size(); ++i) EXPECT_NEAR(behind[static_cast<int64_t>(i)].item<double>(), losses[i], 1e-4) << c["name"];
  EXPECT_LT(composed_difference(model, packed), 1e-3) << c["name"];
  // Where little is learned the last block takes queries of few rows, of all documents but one that has none.
  Batch late;
  append_document(late, std::vector<int64_t>{5, 6, 7, 8, 9}, 3);
  append_document(late, std::vector<int64_t>{9, 8, 7}, 3);
  append_document(late, ids, static_cast<int64_t>(ids.size()) * 3 / 4);
  EXPECT_LT(composed_difference(model, late), 1e-3) << c["name"];
}

// In half precision every family runs forward, backward and with a cache, near its float32 self.
TEST(FamilyDtypes, HalfPrecisionIsNear) {
  for (auto& row : families()) {
    const Model base = random_model(testing::tiny_config(row.model_type), 3);
    const Batch batch = testing::tiny_batch(base);
    const double exact = loss_sum(base, Sites(base.layers()), batch).item<double>();
    for (const auto dtype : {at::kBFloat16, at::kHalf}) {
      Model model = converted(base, dtype, at::kCPU);
      const Sites sites(model.layers());
      model.tokens.weight = model.tokens.weight.clone().requires_grad_();
      const Tensor loss = loss_sum(model, sites, batch);
      EXPECT_NEAR(loss.item<double>(), exact, 0.03 * exact) << row.model_type;
      loss.backward();
      EXPECT_TRUE(at::isfinite(model.tokens.weight.grad()).all().item<bool>()) << row.model_type;
      GenerateConfig config;
      config.max_new_tokens = 4;
      EXPECT_EQ(generate(model, sites, {{1, 2, 3, 4, 5}, {7}}, {}, config)[0].size(), 4u) << row.model_type;
    }
  }
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
  EXPECT_GE(golden()["cases"].size(), 400u);
  const std::string page = read_file(testing::source_folder() / "docs/families.md");
  for (auto& row : families()) EXPECT_NE(page.find(fmt::format("| `{}` |", row.model_type)), std::string::npos) << row.model_type;
}

}  // namespace
}  // namespace graft
