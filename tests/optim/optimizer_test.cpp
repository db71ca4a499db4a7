#include "optim/optimizer.h"

#include <cmath>

#include "core/torch.h"
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

TEST(Clip, ScalesToTheLimitAndReturnsTheNormBefore) {
  std::vector<Param> params{{"a", at::zeros({2}).requires_grad_(), true}, {"b", at::zeros({1}).requires_grad_(), true}};
  Optimizer optimizer(params, {});
  params[0].value.mutable_grad() = at::tensor({2.0f, 1.0f});
  params[1].value.mutable_grad() = at::tensor({2.0f});
  EXPECT_DOUBLE_EQ(optimizer.clip(0), 3);
  EXPECT_FLOAT_EQ(params[1].value.grad()[0].item<float>(), 2);
  EXPECT_DOUBLE_EQ(optimizer.clip(1.5), 3);
  EXPECT_NEAR(params[1].value.grad()[0].item<float>(), 1, 1e-5);
}

}  // namespace
}  // namespace graft
