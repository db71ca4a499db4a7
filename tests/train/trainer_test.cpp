// Training: packing, accumulation, resume bit for bit, divergence.
#include "train/trainer.h"

#include <fstream>

#include "core/rng.h"
#include "core/signals.h"
#include "core/torch.h"
#include "data/examples.h"
#include "model/decoder.h"
#include "model/loader.h"
#include "support/conformance.h"
#include "support/support.h"

namespace graft {
namespace {

using testing::Case;
using testing::TempFolder;

std::vector<int64_t> random_ids(Rng& rng, int64_t n) {
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < n; ++i) ids.push_back(static_cast<int64_t>(rng.below(61)));
  return ids;
}

Batch rows(std::initializer_list<int64_t> lengths, uint64_t seed, int64_t learned_from = 2) {
  Rng rng(seed);
  Batch batch;
  for (const int64_t n : lengths) append_document(batch, random_ids(rng, n), learned_from);
  return batch;
}

Batch document_of(const Batch& batch, int64_t d, int64_t learned_from = 2) {
  Batch one;
  append_document(one, {batch.ids.data() + batch.starts[d], static_cast<size_t>(batch.starts[d + 1] - batch.starts[d])}, learned_from);
  return one;
}

Model tiny(const char* family) { return random_model(testing::tiny_config(family), 3); }

TEST(Packing, LossOfPackedDocumentsIsTheSumOfTheirLosses) {
  for (auto& family : families()) {
    const Model model = converted(tiny(family.model_type), at::kDouble, at::kCPU);
    for (auto& c : testing::method_cases()) {
      const std::optional<Adapted> attached = testing::attached(model, c, 0.2);
      if (!attached) continue;
      const Adapted& adapted = *attached;
      const Batch both = rows({7, 11}, 5);
      const auto loss = [&](const Batch& b) { return loss_sum(adapted.model, adapted.sites, b).item<double>(); };
      EXPECT_NEAR(loss(both), loss(document_of(both, 0)) + loss(document_of(both, 1)), 1e-9) << family.model_type << " " << c.label;
    }
  }
}

std::vector<Tensor> after_steps(const std::vector<std::vector<Batch>>& steps) {
  Adapted adapted = attach(tiny("llama"), find_method("lora"), find_method("lora").make(), 1);
  OptimConfig config;
  config.learning_rate = 1e-2;
  Trainer trainer(adapted, config, static_cast<int64_t>(steps.size()), 0);
  for (auto& s : steps) trainer.step(s);
  std::vector<Tensor> values;
  for (auto& p : adapted.method->params()) values.push_back(p.value.detach());
  return values;
}

TEST(Accumulation, EqualsOneBigBatch) {
  // Documents with different numbers of supervised tokens: averaging per micro-batch would give something else.
  const Batch big = rows({4, 15, 9}, 8);
  const auto a = after_steps({{big}, {big}}), b = after_steps({{document_of(big, 0), document_of(big, 1), document_of(big, 2)}, {document_of(big, 0), document_of(big, 1), document_of(big, 2)}});
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::allclose(a[i], b[i], 1e-4, 1e-6)) << i;
}

TrainJob job_for(const TempFolder& folder, const std::string& name, int64_t steps) {
  TrainJob job;
  job.steps = steps;
  job.batches = [](int64_t step) { return std::vector<Batch>{rows({6, 9}, static_cast<uint64_t>(100 + step)), rows({5}, static_cast<uint64_t>(200 + step))}; };
  job.out = folder / name;
  job.base_folder = folder.path();
  job.quiet = true;
  return job;
}

std::vector<Json> step_rows(const std::filesystem::path& out) {
  std::ifstream in(out / "metrics.jsonl");
  std::vector<Json> found;
  for (std::string line; std::getline(in, line);)
    if (Json row = parse_json(line, "metrics"); row.contains("loss") && row.contains("step")) found.push_back(row);
  return found;
}

class Resume : public ::testing::TestWithParam<Case> {};

TEST_P(Resume, StoppingAndResumingEqualsTrainingThroughBitForBit) {
  const Model model = tiny("llama");
  Json options = GetParam().options;
  const auto fresh = [&] {
    auto method = GetParam().make();
    if (GetParam().row->name == std::string("lora")) from_json(method->config(), {{"lora_dropout", 0.2}}, "lora");  // dropout draws must resume too
    return testing::attach_case(model, GetParam(), std::move(method), 4);
  };
  OptimConfig config;
  config.learning_rate = 5e-3;
  config.warmup = "2";
  config.weight_decay = 0.1;
  const TempFolder folder;
  Adapted straight = fresh();
  Trainer first(straight, config, 6, 9);
  run_training(straight, first, job_for(folder, "straight", 6));

  TrainJob job = job_for(folder, "stopped", 6);
  {
    Adapted partial = fresh();
    Trainer trainer(partial, config, 6, 9);
    TrainJob stopping = job;
    stopping.batches = [&](int64_t step) {
      if (step == 3) request_stop(15);
      return job.batches(step);
    };
    EXPECT_THROW(run_training(partial, trainer, stopping), Stopped);
    request_stop(0);
  }
  job.resume = true;
  Adapted resumed = fresh();
  Trainer second(resumed, config, 6, 9);
  run_training(resumed, second, job);
  for (size_t i = 0; i < straight.method->params().size(); ++i)
    EXPECT_TRUE(at::equal(straight.method->params()[i].value, resumed.method->params()[i].value)) << straight.method->params()[i].name;
  const auto a = step_rows(folder / "straight"), b = step_rows(folder / "stopped");
  ASSERT_EQ(a.size(), 6u);
  ASSERT_EQ(b.size(), 6u);
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(a[i]["loss"], b[i]["loss"]) << "step " << i + 1;
}

INSTANTIATE_TEST_SUITE_P(All, Resume, ::testing::ValuesIn(testing::method_cases()), [](const auto& tested) { return tested.param.label; });

TEST(Training, AnInfiniteLossStopsWithTheLastCheckpointInPlace) {
  const TempFolder folder;
  Adapted adapted = attach(tiny("llama"), find_method("full"), find_method("full").make(), 1);
  OptimConfig config;
  config.learning_rate = 1e-3;
  Trainer trainer(adapted, config, 10, 0);
  TrainJob job = job_for(folder, "run", 10);
  job.save_every = 2;
  const auto batches = job.batches;
  job.batches = [&](int64_t step) {
    if (step == 5) {
      at::NoGradGuard no_grad;
      adapted.method->params()[3].value.fill_(std::numeric_limits<float>::infinity());
    }
    return batches(step);
  };
  EXPECT_NE(testing::error_of([&] { run_training(adapted, trainer, job); }, Fault::Diverged).find("step 6"), std::string::npos);
  EXPECT_EQ(newest_checkpoint(job.out).filename(), "checkpoint-4");
  EXPECT_NO_THROW(load_model(newest_checkpoint(job.out)));
}

TEST(Training, FullFineTuningLearnsARepeatedRow) {
  Adapted adapted = attach(tiny("gpt2"), find_method("full"), find_method("full").make(), 1);
  OptimConfig config;
  config.learning_rate = 1e-2;
  Trainer trainer(adapted, config, 60, 0);
  const Batch batch = rows({12}, 1);
  const double before = trainer.step({batch}).loss;
  double after = before;
  for (int i = 1; i < 60; ++i) after = trainer.step({batch}).loss;
  EXPECT_LT(after, 0.2 * before);
}

}  // namespace
}  // namespace graft
