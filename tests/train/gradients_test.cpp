// Passes that are filled up and recorded: the same losses and gradients as those that run at once. On a CPU a recording runs its work again, from
// the tensors that it was recorded with.
#include "train/gradients.h"

#include <ATen/Parallel.h>

#include "core/rng.h"
#include "core/torch.h"
#include "data/examples.h"
#include "model/decoder.h"
#include "model/loader.h"
#include "support/conformance.h"
#include "support/support.h"
#include "train/trainer.h"

namespace graft {
namespace {

Batch batch_of(Rng& rng, const std::vector<int64_t>& lengths) {
  Batch batch;
  for (const int64_t length : lengths) {
    std::vector<int64_t> ids;
    for (int64_t i = 0; i < length; ++i) ids.push_back(static_cast<int64_t>(rng.below(61)));
    append_document(batch, ids, 1 + static_cast<int64_t>(rng.below(2)));
  }
  return batch;
}

Batch random_batch(Rng& rng, int64_t documents, int64_t longest) {
  std::vector<int64_t> lengths;
  for (int64_t d = 0; d < documents; ++d) lengths.push_back(3 + static_cast<int64_t>(rng.below(static_cast<uint64_t>(longest - 2))));
  return batch_of(rng, lengths);
}

class Recorded : public ::testing::Test {
  void SetUp() override { at::set_num_threads(1); }
  void TearDown() override { at::set_num_threads(threads_); }
  const int threads_ = at::get_num_threads();
};

TEST_F(Recorded, StepsAreThoseOfPassesThatRunAtOnce) {
  int compared = 0;
  for (const char* family : {"llama", "gpt2", "gemma2", "phi3"}) {
    const Model model = random_model(testing::tiny_config(family), 3);
    for (auto& c : testing::method_cases()) {
      if (c.few && model.config.model_type != "llama") continue;
      std::optional<Adapted> plain = testing::attached(model, c, 0.2), recorded = testing::attached(model, c, 0.2);
      if (!plain || !why_not_recorded(*recorded).empty()) continue;
      OptimConfig config;
      config.learning_rate = 1e-3;
      config.optimizer = "sgd";  // differences stay as small as they are
      config.label_smoothing = compared % 2 ? 0.1 : 0;
      Trainer a(*plain, config, 8, 1), b(*recorded, config, 8, 1, {}, /*recorded=*/true);
      Rng rng(7);
      for (int step = 0; step < 8; ++step) {
        std::vector<Batch> batches{step == 4 ? batch_of(rng, {21, 21, 22}) : random_batch(rng, 3, 12)};  // the fifth needs no filling up
        if (step % 3 == 2) batches.push_back(random_batch(rng, 3, 20));
        const StepRecord one = a.step(batches), other = b.step(batches);
        EXPECT_NEAR(one.loss, other.loss, 1e-5 * one.loss) << family << " " << c.label << " step " << step;
        EXPECT_NEAR(one.grad_norm, other.grad_norm, 1e-4 * one.grad_norm) << family << " " << c.label << " step " << step;
      }
      EXPECT_EQ(a.recordings(), 0);
      const bool moves_on = c.row->name == std::string("lisa");  // trains other layers after each step
      EXPECT_EQ(b.recordings(), moves_on ? 0 : 1) << family << " " << c.label << ": all these batches are filled up to one size";
      for (size_t i = 0; i < plain->method->params().size(); ++i) {
        const Tensor &x = plain->method->params()[i].value, &y = recorded->method->params()[i].value;
        EXPECT_LE((x - y).norm().item<double>(), 1e-5 * (1 + x.norm().item<double>())) << family << " " << c.label << " " << plain->method->params()[i].name;
      }
      ++compared;
    }
  }
  EXPECT_GE(compared, 60);
}

TEST_F(Recorded, OnlyWhatRepeatsIsRecorded) {
  const Model base = random_model(testing::tiny_config("llama"), 3);
  const auto reason = [](const Model& model, const char* method, const Json& options) {
    const MethodRow& row = find_method(method);
    auto made = row.make();
    from_json(made->config(), options, method);
    Adapted adapted = attach(model, row, std::move(made), 1);
    return why_not_recorded(adapted);
  };
  EXPECT_EQ(reason(base, "lora", Json::object()), "");
  EXPECT_EQ(reason(base, "full", Json::object()), "");
  EXPECT_NE(reason(base, "lora", {{"lora_dropout", 0.1}}).find("dropout"), std::string::npos);
  EXPECT_NE(reason(base, "prefix_tuning", {{"num_virtual_tokens", 4}}).find("in front of keys"), std::string::npos);
  EXPECT_NE(reason(base, "galore", Json::object()).find("something else in each step"), std::string::npos);
  EXPECT_NE(reason(base, "velora", Json::object()).find("positions"), std::string::npos);
}

TEST_F(Recorded, ParametersThatMoveOrStopTrainingAreSeen) {
  const Model model = random_model(testing::tiny_config("llama"), 3);
  Adapted adapted = attach(model, find_method("lora"), find_method("lora").make(), 1);
  Trainer trainer(adapted, {}, 20, 1, {}, /*recorded=*/true);
  Rng rng(5);
  for (int i = 0; i < 4; ++i) trainer.step({random_batch(rng, 2, 9)});
  EXPECT_EQ(trainer.recordings(), 1);
  adapted.method->params()[1].value.set_requires_grad(false);
  trainer.step({random_batch(rng, 2, 9)});
  EXPECT_EQ(trainer.recordings(), 0);
  for (int i = 0; i < 3; ++i) trainer.step({random_batch(rng, 2, 9)});
  EXPECT_EQ(trainer.recordings(), 1);
}

TEST_F(Recorded, ABatchOfAnotherSizeIsRefused) {
  const Model model = random_model(testing::tiny_config("llama"), 3);
  const Sites sites(model.layers());
  Pass pass = lay_out(model, sites, {{1, 2, 3}, {0, 3}, {0, 1}, {}});
  lay_out_again(model, sites, {{4, 5, 6}, {0, 3}, {0, 1}, {}}, pass);
  EXPECT_EQ(pass.ids[2].item<int64_t>(), 6);
  EXPECT_THROW(lay_out_again(model, sites, {{4, 5}, {0, 2}, {0}, {}}, pass), std::exception);
}

}  // namespace
}  // namespace graft
