// The memory of a step as it is predicted, against what the step then takes.
#include "train/memory.h"

#include <gtest/gtest.h>

#include "core/check.h"
#include "core/heap.h"
#include "core/progress.h"
#include "core/rng.h"
#include "core/torch.h"
#include "data/examples.h"
#include "model/decoder.h"
#include "model/loader.h"
#include "support/conformance.h"
#include "support/support.h"

namespace graft {
namespace {

Model llama_of(int64_t width, int64_t layers) {
  Json config = testing::tiny_config("llama");
  config.update({{"hidden_size", width}, {"intermediate_size", 3 * width}, {"num_hidden_layers", layers}, {"num_attention_heads", 4}, {"num_key_value_heads", 2},
                 {"head_dim", width / 4}, {"vocab_size", 512}, {"max_position_embeddings", 4096}});
  return random_model(config, 3);
}

Adapted with_lora(const Model& model) {
  auto method = find_method("lora").make();
  from_json(method->config(), {{"r", 8}, {"target_modules", "all-linear"}}, "lora");
  return attach(model, find_method("lora"), std::move(method), 1);
}

Batch one_document(int64_t tokens) {
  Rng rng(7);
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < tokens; ++i) ids.push_back(static_cast<int64_t>(rng.below(500)));
  Batch batch;
  append_document(batch, ids, 1);
  return batch;
}

class Memory : public ::testing::Test {
 protected:
  void SetUp() override {
    use_own_heap();
    if (at::empty({1 << 20}, at::kByte); heap_use().peak == 0) GTEST_SKIP() << "tensors lie in malloc's heap here";
  }
};

TEST_F(Memory, PredictedActivationsAreThoseOfALongerStep) {
  const Model model = llama_of(256, 6);
  Adapted adapted = with_lora(model);
  const MemoryModel memory(adapted, "adamw", false);
  const Batch batch = one_document(1500);
  adapted.sites.training = true;
  for (const Recomputed& recomputed : {Recomputed{}, Recomputed{Recomputed::kAll, 0}, Recomputed{3, 0}, Recomputed{6, 2}, Recomputed{0, Recomputed::kAll}, Recomputed{.outputs = false}}) {
    const int64_t before = heap_use().now;
    const Tensor loss = loss_sum(adapted.model, adapted.sites, batch, recomputed);
    const double measured = static_cast<double>(heap_use().now - before), predicted = static_cast<double>(memory.of(1500, 1499, recomputed).activations);
    EXPECT_NEAR(predicted / measured, 1, 0.05) << recomputed.mlps << " MLPs, " << recomputed.blocks << " blocks";
  }
}

TEST_F(Memory, SmallStepsKeepWhatNormsAndGatesPutOutAndGetTheSameGradients) {
  const Model model = llama_of(64, 3);
  Adapted adapted = with_lora(model);
  EXPECT_FALSE(usual_recomputation(adapted)(one_document(200)).outputs);
  EXPECT_TRUE(usual_recomputation(adapted)(one_document(4000)).outputs);
  const auto step = [&](bool outputs) {
    const int64_t before = heap_use().now;
    const Tensor loss = loss_sum(adapted.model, adapted.sites, one_document(200), {.outputs = outputs});
    const int64_t kept = heap_use().now - before;
    loss.backward();
    std::vector<Tensor> gradients;
    for (auto& p : adapted.method->params()) {
      gradients.push_back(p.value.grad().clone());
      p.value.mutable_grad().reset();
    }
    return std::pair(kept, gradients);
  };
  const auto [little, again] = step(true);
  const auto [much, kept] = step(false);
  const int64_t outputs = 3 * (64 + 64 + 192) - 64;  // the first norm's input has no node to ask again
  EXPECT_NEAR(static_cast<double>(much - little), 200.0 * 4 * outputs, 4096);
  for (size_t i = 0; i < kept.size(); ++i) EXPECT_TRUE(at::equal(kept[i], again[i])) << adapted.method->params()[i].name;
}

// Gradients of all weights come while activations go: short rows end with the gradients, long ones begin with the activations.
TEST_F(Memory, GradientsTakeThePlaceOfActivations) {
  const Model model = llama_of(256, 6);
  Adapted adapted = attach(model, find_method("full"), find_method("full").make(), 1);
  const MemoryModel memory(adapted, "adamw", false);
  OptimConfig optim;
  optim.learning_rate = 1e-4;
  Trainer trainer(adapted, optim, 8, 1);
  for (const int64_t tokens : {100, 1500}) {
    trainer.step({one_document(tokens)});  // moments are there now
    const int64_t before = heap_use().now;
    reset_heap_peak();
    trainer.step({one_document(tokens)});
    const auto measured = static_cast<double>(heap_use().peak - before);
    const StepMemory m = memory.of(tokens, tokens - 1, {});
    EXPECT_NEAR(static_cast<double>(m.gradients + m.activations + m.work) / measured, 1, 0.15)
        << tokens << " tokens: " << m.gradients << " + " << m.activations << " + " << m.work << " against " << measured;
    EXPECT_LT(m.gradients, static_cast<int64_t>(trainable_parameters(*adapted.method)) * 4) << tokens << " tokens";
  }
}

TEST_F(Memory, LessMemoryMeansMoreIsComputedAgainUntilNothingFits) {
  const Model model = llama_of(128, 4);
  Adapted adapted = with_lora(model);
  const MemoryModel memory(adapted, "adamw", false);
  const int64_t most = memory.of(2000, 1999, {}).total(), least = memory.of(2000, 1999, {0, Recomputed::kAll}).total();
  ASSERT_LT(least, most);
  int64_t mlps = 0, blocks = 0;
  for (int64_t limit = most; limit >= least; limit -= (most - least) / 20) {
    const auto found = memory.fitting(2000, 1999, limit);
    ASSERT_TRUE(found.has_value());
    EXPECT_LE(memory.of(2000, 1999, *found).total(), limit);
    EXPECT_GE(found->mlps, mlps);
    EXPECT_GE(found->blocks, blocks);
    mlps = found->mlps;
    blocks = found->blocks;
  }
  EXPECT_EQ(mlps, 4);
  EXPECT_GE(blocks, 3);
  EXPECT_FALSE(memory.fitting(2000, 1999, least / 2).has_value());
}

TEST_F(Memory, LookingAtAModelChangesNothingInIt) {
  const Model model = llama_of(64, 2);
  Adapted adapted = with_lora(model);
  std::vector<Tensor> before;
  for (auto& p : adapted.method->params()) before.push_back(p.value.detach().clone());
  const MemoryModel memory(adapted, "adamw", false);
  EXPECT_FALSE(adapted.sites.training);
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_TRUE(at::equal(before[i], adapted.method->params()[i].value));
    EXPECT_FALSE(adapted.method->params()[i].value.grad().defined());
  }
}

TEST(MemoryAmounts, AreReadAsPeopleWriteThem) {
  EXPECT_EQ(bytes_from_text("8GiB", "max_memory"), int64_t{8} << 30);
  EXPECT_EQ(bytes_from_text("1.5 g", "max_memory"), int64_t{3} << 29);
  EXPECT_EQ(bytes_from_text("900MB", "max_memory"), 900'000'000);
  EXPECT_EQ(bytes_from_text("4096", "max_memory"), 4096);
  for (const char* wrong : {"", "much", "-1GB", "0", "nan", "8 apples", "1e30GB"}) EXPECT_THROW(bytes_from_text(wrong, "max_memory"), Error) << wrong;
}

}  // namespace
}  // namespace graft
