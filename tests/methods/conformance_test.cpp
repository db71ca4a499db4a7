// Every family × every method.
#include "support/conformance.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>

#include "core/torch.h"
#include "kernels/linear.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "model/block.h"
#include "model/loader.h"
#include "support/support.h"

namespace graft::testing {
namespace {

std::string text(const Problems& problems) { return fmt::format("{}", fmt::join(problems, "\n")); }

#define EXPECT_NO_PROBLEMS(call)            \
  {                                         \
    const Problems problems = call;         \
    EXPECT_TRUE(problems.empty()) << #call << ":\n" << text(problems); \
  }

struct Pair {
  std::string family;
  Case method;
};

std::vector<Pair> all_pairs() {
  std::vector<Pair> pairs;
  for (auto& family : families())
    for (auto& c : method_cases())
      if (const std::string name = family.model_type; !c.few || name == "llama" || name == "gpt2" || name == "gemma" || name == "opt") pairs.push_back({name, c});
  return pairs;
}

// Tiny tensors: more than one thread only costs time, much of it on a busy machine.
struct OneThread : ::testing::Environment {
  void SetUp() override { at::set_num_threads(1); }
};
const auto* const one_thread = ::testing::AddGlobalTestEnvironment(new OneThread);

class Conformance : public ::testing::TestWithParam<Pair> {
 protected:
  void SetUp() override {
    const Json config = tiny_config(GetParam().family);
    ASSERT_FALSE(config.is_null()) << "no tiny configuration for " << GetParam().family;
    model_ = converted(random_model(config, 3), at::kFloat, test_device());
    Model copy = model_;  // biases and gains away from their initial 0 and 1, so that ignoring one shows
    at::Generator generator = at::detail::createCPUGenerator(9);
    visit_base(copy, [&](const std::string&, Tensor& handle, bool decays) {
      if (!decays) handle.add_(normal(handle.sizes(), 0.1, handle.options(), generator));
    });
    if (!attached(model_, method())) GTEST_SKIP() << "nothing to train in a model without biases";
  }
  const Case& method() const { return GetParam().method; }
  Model model_;
};

TEST_P(Conformance, Identity) { EXPECT_NO_PROBLEMS(check_identity(model_, method())); }
TEST_P(Conformance, EveryTensorMatters) { EXPECT_NO_PROBLEMS(check_every_tensor_matters(model_, method())); }
TEST_P(Conformance, Gradients) { EXPECT_NO_PROBLEMS(check_gradients(model_, method())); }
TEST_P(Conformance, BaseUntouched) { EXPECT_NO_PROBLEMS(check_base_untouched(model_, method())); }
TEST_P(Conformance, Merge) { EXPECT_NO_PROBLEMS(check_merge(model_, method())); }
TEST_P(Conformance, File) { EXPECT_NO_PROBLEMS(check_file(model_, method())); }
TEST_P(Conformance, FusedEqualsComposed) { EXPECT_NO_PROBLEMS(check_fused(model_, method())); }
TEST_P(Conformance, StoredShort) { EXPECT_NO_PROBLEMS(check_stored_short(model_, method())); }
TEST_P(Conformance, HalfPrecision) { EXPECT_NO_PROBLEMS(check_half_precision(model_, method())); }
TEST_P(Conformance, Checkpointing) { EXPECT_NO_PROBLEMS(check_checkpointing(model_, method())); }

INSTANTIATE_TEST_SUITE_P(All, Conformance, ::testing::ValuesIn(all_pairs()),
                         [](const auto& tested) { return tested.param.family + "_" + tested.param.method.label; });

// Heads that flash attention knows, which tiny ones are too small for: on a GPU this runs it, with windows and prefix rows.
TEST(ConformanceOnAGpu, HeadsOfEight) {
  for (const char* family : {"llama", "mistral"}) {
    Json config = tiny_config(family);
    config["hidden_size"] = 32;
    config["head_dim"] = 8;
    const Model model = converted(random_model(config, 3), at::kFloat, test_device());
    for (auto& c : method_cases())
      if (!c.few && attached(model, c)) EXPECT_NO_PROBLEMS(check_half_precision(model, c));
  }
}

TEST(ConformanceCoverage, EveryRowIsTested) {
  EXPECT_GE(families().size(), 20u);
  EXPECT_GE(methods().size(), 15u);
  for (auto& family : families()) {
    EXPECT_FALSE(tiny_config(family.model_type).is_null()) << family.model_type;
    EXPECT_NO_PROBLEMS(check_sites_visited(random_model(tiny_config(family.model_type), 1)));
  }
  for (auto& row : methods()) {
    int cases = 0;
    for (auto& c : method_cases()) cases += c.row == &row;
    EXPECT_GE(cases, 1) << row.name;
  }
}

// --- Faults planted on purpose: the checks above must see them. ---

Model faulty_family(Tensor (*block)(const Model&, int64_t, const Tensor&, const Sites&, const Pass&)) {
  static std::vector<std::unique_ptr<FamilyRow>> rows;
  Model model = random_model(tiny_config("llama"), 3);
  rows.push_back(std::make_unique<FamilyRow>(*model.family));
  rows.back()->block = block;
  model.family = rows.back().get();
  return model;
}

TEST(ConformanceFaults, AFamilyThatForgetsSitesIsSeen) {
  const Model model = faulty_family([](const Model& m, int64_t i, const Tensor& x, const Sites& board, const Pass& pass) {
    const Sites nobody(m.layers());
    return decoder_block(m, i, x, i == 1 ? nobody : board, pass);
  });
  EXPECT_FALSE(check_sites_visited(model).empty());
  const MethodRow& lora = find_method("lora");
  EXPECT_FALSE(check_every_tensor_matters(model, {&lora, "lora", {{"r", 2}}}).empty());
}

// y = l ⊙ (W x + b) with faults to choose from.
struct FaultyEdit : WeightEdit {
  Tensor l;
  bool detach = false, forget_bias = false;
  Tensor linear(const Linear& base, const Tensor& x, bool) const override {
    return kernels::linear(x, base.weight, base.bias) * (detach ? l.detach() : l) + (detach ? l.sum() * 0 : at::zeros({}, l.options()));
  }
  std::optional<Linear> merged(const Linear& base) const override {
    Linear result = base;
    result.weight = base.weight * l.detach().unsqueeze(1);
    if (base.bias.defined() && !forget_bias) result.bias = base.bias * l.detach();
    return result;
  }
};
struct NoOptions : Config {
  void visit(Fields&) override {}
};
template <bool detach, bool forget_bias>
class FaultyMethod : public Method {
 public:
  Config& config() override { return config_; }
  void attach(AttachContext& context) override {
    visit_linears(context.model, [&](Site site, int64_t layer, Linear& linear) {
      if (site != Site::V) return;
      auto edit = std::make_shared<FaultyEdit>();
      edit->detach = detach;
      edit->forget_bias = forget_bias;
      edit->l = add(linear.path + ".l", ones({linear.out()}, adapter_options(context.model)));
      context.sites.put(site, layer, edit);
    });
  }

 private:
  NoOptions config_;
};
template <bool detach, bool forget_bias>
MethodRow faulty_row() {
  MethodRow row = find_method("ia3");
  row.make = []() -> std::unique_ptr<Method> { return std::make_unique<FaultyMethod<detach, forget_bias>>(); };
  return row;
}

TEST(ConformanceFaults, ADetachedFactorIsSeen) {
  const Model model = random_model(tiny_config("llama"), 3);
  const MethodRow right = faulty_row<false, false>(), wrong = faulty_row<true, false>();
  EXPECT_NO_PROBLEMS(check_gradients(model, {&right, "right"}));
  EXPECT_FALSE(check_gradients(model, {&wrong, "wrong"}).empty());
  EXPECT_FALSE(check_every_tensor_matters(model, {&wrong, "wrong"}).empty());
}

TEST(ConformanceFaults, ABiasIgnoredByMergeIsSeen) {
  Model model = random_model(tiny_config("llama"), 3);
  for (auto& block : model.blocks) block.v.bias.add_(0.5);
  const MethodRow right = faulty_row<false, false>(), wrong = faulty_row<false, true>();
  EXPECT_NO_PROBLEMS(check_merge(model, {&right, "right"}));
  EXPECT_FALSE(check_merge(model, {&wrong, "wrong"}).empty());
}

}  // namespace
}  // namespace graft::testing
