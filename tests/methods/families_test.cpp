// Every family with adapters against log-probabilities by HF PEFT (tools/golden/family_adapters.py): LoRA on all linears, prefix
// rows, virtual tokens.
#include <algorithm>
#include <map>

#include <gtest/gtest.h>

#include "core/json.h"
#include "core/torch.h"
#include "data/examples.h"
#include "methods/method.h"
#include "model/decoder.h"
#include "model/loader.h"
#include "support/formula.h"
#include "support/support.h"

namespace graft {
namespace {

const Json& adapter_golden() {
  static const Json json = read_json(testing::source_folder() / "tests/methods/golden/family_adapters.json");
  return json;
}

std::unique_ptr<Method> golden_method(const std::string& name) {
  static const std::map<std::string, Json> options{{"lora", {{"r", 2}, {"lora_alpha", 3}, {"target_modules", "all-linear"}}},
                                                   {"prefix_tuning", {{"num_virtual_tokens", 5}}},
                                                   {"prompt_tuning", {{"num_virtual_tokens", 4}}}};
  auto method = find_method(name).make();
  from_json(method->config(), options.at(name), name);
  return method;
}

class FamilyAdapters : public ::testing::TestWithParam<size_t> {};

TEST_P(FamilyAdapters, LogProbabilitiesEqualPeft) {
  const Json& c = adapter_golden()["cases"][GetParam()];
  const auto ids = adapter_golden()["ids"].get<std::vector<int64_t>>();
  const std::string method = c["method"];
  Model model = random_model(c["config"], 1);
  testing::formula_weights(model);
  Adapted adapted = attach(model, find_method(method), golden_method(method), 1);
  at::NoGradGuard no_grad;
  for (auto& p : adapted.method->params())
    p.value.copy_(testing::formula_values(p.name, p.value.sizes().vec()) * (p.name == "prompt_embeddings" ? 1.0 : 0.3));
  Batch batch;  // behind another document, whose rows must not be seen
  append_document(batch, std::vector<int64_t>{5, 6, 7}, 1);
  const int64_t before = batch.supervised();
  append_document(batch, ids, 1);
  const Tensor losses = token_losses(adapted.model, adapted.sites, batch).narrow(0, before, static_cast<int64_t>(ids.size()) - 1);
  double worst = 0;
  for (size_t i = 0; i + 1 < ids.size(); ++i)
    worst = std::max(worst, std::abs(losses[static_cast<int64_t>(i)].item<double>() + c["logprobs"][i].get<double>()));
  EXPECT_LT(worst, 2e-4) << c["name"];
}

std::string adapter_case_name(const ::testing::TestParamInfo<size_t>& info) {
  std::string name = adapter_golden()["cases"][info.param]["name"];
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(All, FamilyAdapters, ::testing::Range(size_t{0}, adapter_golden()["cases"].size()), adapter_case_name);

TEST(FamilyAdapterCoverage, EveryFamilyHasCases) {
  std::map<std::string, int> cases;
  for (auto& c : adapter_golden()["cases"]) ++cases[c["config"]["model_type"]];
  for (auto& row : families()) EXPECT_GE(cases[row.model_type], 2) << row.model_type;
  EXPECT_GE(adapter_golden()["cases"].size(), 80u);
}

}  // namespace
}  // namespace graft
