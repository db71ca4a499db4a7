#include "optim/optimizer.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "core/json.h"
#include "core/torch.h"
#include "kernels/adamw.h"
#include "kernels/twins.h"
#include "support/support.h"

namespace graft {
namespace {

TEST(Schedule, FactorsAtTheCorners) {
  EXPECT_DOUBLE_EQ(schedule_factor("constant", 7, 10, 0), 1);
  EXPECT_DOUBLE_EQ(schedule_factor("linear", 0, 10, 0), 1);
  EXPECT_DOUBLE_EQ(schedule_factor("linear", 5, 10, 0), 0.5);
  EXPECT_DOUBLE_EQ(schedule_factor("linear", 10, 10, 0), 0);
  EXPECT_DOUBLE_EQ(schedule_factor("cosine", 5, 10, 0), 0.5);
  EXPECT_DOUBLE_EQ(schedule_factor("linear", 0, 10, 4), 0.25);
  EXPECT_DOUBLE_EQ(schedule_factor("linear", 3, 10, 4), 1);
  EXPECT_DOUBLE_EQ(schedule_factor("linear", 4, 10, 4), 1);
  EXPECT_EQ(warmup_steps("0.1", 50), 5);
  EXPECT_EQ(warmup_steps("10", 50), 10);
  testing::error_of([] { warmup_steps("1.5", 50); }, Fault::Usage);
  testing::error_of([] { warmup_steps("ten", 50); }, Fault::Usage);
}

// One step with lr 1, betas 0 and eps tiny moves by the gradient's sign; decay shrinks first. Every number is exact.
TEST(AdamW, OneStepByHand) {
  const auto leaf = [](double v) { return at::full({2}, v, at::kFloat).requires_grad_(); };
  std::vector<Param> params{{"decays", leaf(4), true}, {"kept", leaf(4), false}};
  OptimConfig config;
  config.beta1 = config.beta2 = 0;
  config.eps = 1e-30;
  config.weight_decay = 0.5;
  Optimizer optimizer(params, config);
  for (auto& p : params) p.value.mutable_grad() = at::full({2}, 0.25f);
  optimizer.step(1.0);
  EXPECT_FLOAT_EQ(params[0].value[0].item<float>(), 4 * (1 - 0.5f) - 1);
  EXPECT_FLOAT_EQ(params[1].value[0].item<float>(), 4 - 1);
}

double clip(Optimizer& optimizer, double limit) {
  const double norm = optimizer.gradient_norm().item<double>();
  optimizer.clip(norm, limit);
  return norm;
}

TEST(Clip, TheNextStepScalesToTheLimit) {
  std::vector<Param> params{{"a", at::zeros({2}).requires_grad_(), true}, {"b", at::zeros({1}).requires_grad_(), true}};
  for (const char* name : {"sgd", "adamw"}) {
    OptimConfig config;
    config.optimizer = name;
    Optimizer optimizer(params, config);
    params[0].value.mutable_grad() = at::tensor({2.0f, 1.0f});
    params[1].value.mutable_grad() = at::tensor({2.0f});
    EXPECT_DOUBLE_EQ(clip(optimizer, 0), 3);
    optimizer.step(0);
    EXPECT_FLOAT_EQ(params[1].value.grad()[0].item<float>(), 2);
    EXPECT_DOUBLE_EQ(clip(optimizer, 1.5), 3);
    optimizer.step(0);
    EXPECT_NEAR(params[1].value.grad()[0].item<float>(), 1, 1e-5);  // methods that look at gradients see them clipped
    optimizer.step(0);
    EXPECT_NEAR(params[1].value.grad()[0].item<float>(), 1, 1e-5);
  }
}

Tensor tensor_of(const Json& values) {
  if (!values.is_array()) return at::scalar_tensor(values.get<double>(), at::kFloat);
  std::vector<Tensor> rows;
  for (auto& value : values) rows.push_back(tensor_of(value));
  return at::stack(rows);
}

// torch's AdamW with clipping, groups of different learning rates and decays, and parameters without a gradient in some steps.
TEST(AdamW, IsTheReferences) {
  const Json golden = read_json(testing::source_folder() / "tests/optim/golden/adamw.json");
  for (const bool composed : {false, true}) {
    std::unique_ptr<kernels::ComposedOnly> twin(composed ? new kernels::ComposedOnly : nullptr);
    std::vector<Param> params;
    for (auto& row : golden["params"]) {
      params.push_back({row["name"], tensor_of(row["start"]).requires_grad_(), row["decays"].get<bool>()});
      params.back().lr_factor = row["factor"].get<double>();
    }
    ASSERT_EQ(params.size(), 4u);
    OptimConfig config;
    config.weight_decay = golden["decay"].get<double>();
    Optimizer optimizer(params, config);
    for (size_t step = 0; step < golden["norms"].size(); ++step) {
      for (size_t i = 0; i < params.size(); ++i)
        if (const Json& gradient = golden["params"][i]["gradients"][step]; !gradient.is_null()) params[i].value.mutable_grad() = tensor_of(gradient);
      EXPECT_NEAR(clip(optimizer, golden["clip"].get<double>()), golden["norms"][step].get<double>(), 1e-5);
      optimizer.step(golden["rate"].get<double>());
      optimizer.clear_gradients();
    }
    const auto state = optimizer.state();
    const auto value = [&](const std::string& name) {
      const auto found = std::find_if(state.begin(), state.end(), [&](auto& t) { return t.first == name; });
      return found == state.end() ? Tensor() : found->second;
    };
    for (auto& row : golden["params"]) {
      const std::string name = row["name"];
      EXPECT_TRUE(at::allclose(value("param." + name), tensor_of(row["end"]), 1e-6, 1e-6)) << name;
      if (row["steps"] == 0) {  // moments begin with a tensor's first gradient
        EXPECT_FALSE(value("first." + name).defined() || value("second." + name).defined() || value("steps." + name).defined()) << name;
        continue;
      }
      EXPECT_TRUE(at::allclose(value("first." + name), tensor_of(row["first"]), 1e-5, 1e-7)) << name;
      EXPECT_EQ(value("steps." + name).item<double>(), row["steps"].get<double>()) << name;
    }
  }
}

TEST(Clip, TheNormDoesNotDependOnThreads) {
  at::manual_seed(2);
  const std::vector<Tensor> tensors{at::randn({300, 1000}), at::randn({7}), at::randn({501, 77}).t()};
  const int threads = at::get_num_threads();
  std::vector<double> norms;
  for (const int count : {1, 2, 3}) {
    at::set_num_threads(count);
    norms.push_back(kernels::total_norm(tensors));
  }
  at::set_num_threads(threads);
  EXPECT_EQ(norms[0], norms[1]);
  EXPECT_EQ(norms[0], norms[2]);
  std::vector<Tensor> exact;
  for (auto& t : tensors) exact.push_back(t.to(at::kDouble));
  EXPECT_NEAR(norms[0], kernels::total_norm_composed(exact), 1e-4);
}

}  // namespace
}  // namespace graft
