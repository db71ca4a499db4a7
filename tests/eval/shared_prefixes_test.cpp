// What sequences begin with is computed once, and nothing changes by it.
#include "data/shared_prefixes.h"

#include <ATen/Parallel.h>

#include "core/rng.h"
#include "core/torch.h"
#include "data/examples.h"
#include "eval/generate.h"
#include "model/decoder.h"
#include "model/loader.h"
#include "support/conformance.h"
#include "support/support.h"
#include "train/trainer.h"

namespace graft {
namespace {

std::vector<int64_t> random_ids(Rng& rng, int64_t count) {
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(3 + static_cast<int64_t>(rng.uniform() * 50));
  return ids;
}

std::vector<int64_t> joined(std::vector<int64_t> a, const std::vector<int64_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// Two prompts behind one instruction with three choices each, one of them twice, one sequence that shares nothing, one that
// another begins with, one of a single token, and one that ends with tokens that are not learned.
struct Sequences {
  std::vector<std::vector<int64_t>> ids;
  std::vector<int64_t> learned_from;
  std::vector<std::vector<TokenSpan>> skipped;
  std::vector<PackedSequence> all;
  Sequences() {
    Rng rng(3);
    const auto instruction = random_ids(rng, 17);
    for (int prompt = 0; prompt < 2; ++prompt) {
      const auto question = joined(instruction, random_ids(rng, 10));
      for (int choice = 0; choice < 3; ++choice) add(joined(question, random_ids(rng, choice + 2)), static_cast<int64_t>(question.size()));
    }
    add(ids[1], learned_from[1]);
    add(random_ids(rng, 9), 1);
    add(std::vector<int64_t>(ids[0].begin(), ids[0].begin() + 20), 18);
    add(random_ids(rng, 1), 1);
    add(random_ids(rng, 12), 5);
    skipped.resize(ids.size());
    skipped[2] = {{28, 29}};
    skipped.back() = {{6, 7}, {9, 11}, {11, 12}};
    for (size_t i = 0; i < ids.size(); ++i) all.push_back({ids[i], learned_from[i], skipped[i]});
  }
  void add(std::vector<int64_t> sequence, int64_t from) {
    ids.push_back(std::move(sequence));
    learned_from.push_back(from);
  }
};

TEST(SharedPrefixes, TheTreeHoldsEverySequenceAndItsTargetsOnce) {
  const Sequences s;
  const auto plain = pack_sequences(s.all, 4096, {}), shared = pack_sequences(s.all, 4096, {true});
  ASSERT_EQ(plain.size(), 1u);
  ASSERT_EQ(shared.size(), 1u);
  const Batch& batch = shared[0].batch;
  EXPECT_EQ(plain[0].batch.tokens(), 17 * 7 + 10 * 7 + (2 + 3 + 4) * 2 + 3 + 9 + 20 + 1 + 12);
  EXPECT_LT(batch.tokens(), plain[0].batch.tokens() / 2);
  EXPECT_EQ(batch.supervised(), plain[0].batch.supervised());
  std::vector<int> seen(s.ids.size());
  int nested = 0;
  for (int64_t d = 0; d < batch.documents(); ++d) {
    ASSERT_LT(batch.parent(d), d);
    if (batch.parent(d) >= 0 && batch.parent(batch.parent(d)) >= 0) ++nested;
    if (shared[0].sequence[d] < 0) continue;
    std::vector<int64_t> whole;
    for (int64_t at = d; at >= 0; at = batch.parent(at)) whole.insert(whole.begin(), batch.ids.begin() + batch.starts[at], batch.ids.begin() + batch.starts[at + 1]);
    const size_t index = static_cast<size_t>(shared[0].sequence[d]);
    std::vector<int64_t> read = s.ids[index];
    if (index + 1 == s.ids.size()) read.resize(8);  // target 8 is its last
    else if (read.size() > 1) read.pop_back();
    EXPECT_EQ(whole, read) << "all up to the last prediction, sequence " << index;
    ++seen[shared[0].sequence[d]];
  }
  EXPECT_EQ(seen, std::vector<int>(s.ids.size(), 1));
  EXPECT_GT(nested, 0) << "prompts share the instruction, choices the prompt";
}

TEST(SharedPrefixes, SmallBatchesHoldEverySequenceToo) {
  const Sequences s;
  int64_t sequences = 0, supervised = 0, largest = 0;
  for (auto& packed : pack_sequences(s.all, 40, {true})) {
    for (const int64_t i : packed.sequence) sequences += i >= 0;
    supervised += packed.batch.supervised();
    largest = std::max(largest, packed.batch.tokens());
  }
  EXPECT_EQ(sequences, static_cast<int64_t>(s.ids.size()));
  EXPECT_EQ(supervised, pack_sequences(s.all, 4096, {})[0].batch.supervised());
  EXPECT_LE(largest, 40 + 8) << "about so many: what is not worth a document is counted once all the same";
}

TEST(SharedPrefixes, ABatchOfDocumentsIsTheTreeOfItsSequences) {
  const Sequences s;
  const Batch plain = pack_sequences(s.all, 4096, {})[0].batch, tree = pack_sequences(s.all, 4096, {true})[0].batch, shared = share_beginnings(plain, {true});
  EXPECT_EQ(shared.ids, tree.ids);
  EXPECT_EQ(shared.starts, tree.starts);
  EXPECT_EQ(shared.parents, tree.parents);
  EXPECT_EQ(shared.predict, tree.predict);
  EXPECT_EQ(shared.targets, tree.targets);
  EXPECT_EQ(share_beginnings(plain, {}).ids, plain.ids);
  const Batch unlike{{5, 6, 7, 8}, {0, 2, 4}, {0, 2}, {}}, cut = share_beginnings(unlike, {true});
  EXPECT_TRUE(cut.parents.empty()) << "nothing to share";
  EXPECT_EQ(cut.ids, (std::vector<int64_t>{5, 7}));
  EXPECT_EQ(cut.starts, (std::vector<int64_t>{0, 1, 2}));
  EXPECT_EQ(cut.predict, (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(cut.targets, (std::vector<int64_t>{6, 8}));
  const Batch unlearned{{5, 6, 7, 8}, {0, 2, 4}, {}, {}};
  EXPECT_EQ(share_beginnings(unlearned, {true}).ids, unlearned.ids);
  const Batch behind = share_beginnings(unlike, {true, 3});
  EXPECT_EQ(behind.starts, (std::vector<int64_t>{0, 0, 1, 2}));
  EXPECT_EQ(behind.parents, (std::vector<int64_t>{-1, 0, 0}));
  EXPECT_EQ(behind.rows(3), 5);
}

TEST(SharedPrefixes, ATargetThatStandsInNoDocumentIsCheckedToo) {
  const Adapted adapted = bare(random_model(testing::tiny_config("llama"), 3));
  const Batch cut = share_beginnings({{5, 1 << 20}, {0, 2}, {0}, {}}, {true});
  ASSERT_EQ(cut.tokens(), 1);
  EXPECT_THROW(token_losses(adapted.model, adapted.sites, cut), Error);
}

std::vector<double> losses_by_sequence(const Adapted& adapted, const Sequences& s, const Sharing& sharing) {
  std::vector<double> sums(s.ids.size());
  for (auto& [batch, sequence] : pack_sequences(s.all, 4096, sharing)) {
    const Tensor losses = token_losses(adapted.model, adapted.sites, batch);
    size_t document = 0;
    for (int64_t i = 0; i < batch.supervised(); ++i) {
      while (batch.predict[i] >= batch.starts[document + 1]) ++document;
      sums[sequence[document]] += losses[i].item<double>();
    }
  }
  return sums;
}

// Tiny models on one thread: threads would only wait for one another.
class SharedPrefixesOfTinyModels : public ::testing::Test {
  void SetUp() override { at::set_num_threads(1); }
  void TearDown() override { at::set_num_threads(threads_); }
  const int threads_ = at::get_num_threads();
};

TEST_F(SharedPrefixesOfTinyModels, LossesAreThoseOfWholeSequences) {
  const Sequences s;
  int compared = 0;
  for (auto& family : families()) {
    const Model base = random_model(testing::tiny_config(family.model_type), 3);
    for (auto& c : testing::method_cases()) {
      const std::optional<Adapted> adapted = testing::attached(base, c, 0.2);
      if (!adapted) continue;
      const Sharing sharing = sharing_of(adapted->model, adapted->sites);
      if (!sharing.allowed) continue;
      const auto plain = losses_by_sequence(*adapted, s, {}), shared = losses_by_sequence(*adapted, s, sharing);
      for (size_t i = 0; i < plain.size(); ++i) EXPECT_NEAR(plain[i], shared[i], 2e-5 * std::max(1.0, plain[i])) << family.model_type << " " << c.label << " sequence " << i;
      ++compared;
    }
  }
  EXPECT_GT(compared, 200);
}

struct LossAndGradients {
  double loss;
  std::vector<Tensor> gradients;
};

LossAndGradients trained_on(const Adapted& adapted, const Batch& batch) {
  const Tensor loss = loss_sum(adapted.model, adapted.sites, batch);
  loss.backward();
  LossAndGradients result{loss.item<double>(), {}};
  for (auto& p : adapted.method->params()) {
    result.gradients.push_back(p.value.grad().defined() ? p.value.grad().clone() : at::zeros_like(p.value));
    p.value.mutable_grad().reset();
  }
  return result;
}

TEST_F(SharedPrefixesOfTinyModels, GradientsAreThoseOfWholeSequences) {
  const Sequences s;
  const Batch plain = pack_sequences(s.all, 4096, {})[0].batch;
  int compared = 0;
  for (auto& family : families()) {
    const Model base = random_model(testing::tiny_config(family.model_type), 3);
    for (auto& c : testing::method_cases()) {
      std::optional<Adapted> adapted = testing::attached(base, c, 0.2);
      if (!adapted) continue;
      const Sharing sharing = sharing_of(adapted->model, adapted->sites);
      if (!sharing.allowed) continue;
      const Batch shared = share_beginnings(plain, sharing);
      ASSERT_LT(shared.rows(sharing.virtual_rows), plain.rows(sharing.virtual_rows) / 2);
      const auto a = trained_on(*adapted, plain), b = trained_on(*adapted, shared);
      EXPECT_NEAR(a.loss, b.loss, 2e-5 * a.loss) << family.model_type << " " << c.label;
      double largest = 0;  // some gradients are zero but for the rounding of large terms
      for (auto& g : a.gradients) largest = std::max(largest, g.norm().item<double>());
      for (size_t i = 0; i < a.gradients.size(); ++i) {
        const double size = a.gradients[i].norm().item<double>(), difference = (a.gradients[i] - b.gradients[i]).norm().item<double>();
        EXPECT_LE(difference, 1e-4 * size + 1e-5 * largest) << family.model_type << " " << c.label << " " << adapted->method->params()[i].name << " of " << size;
      }
      ++compared;
    }
  }
  EXPECT_GT(compared, 200);
}

// Dropout draws for each row, and VeLoRA's vector is a mean over rows: a beginning that is computed once would count once.
TEST_F(SharedPrefixesOfTinyModels, TrainingSharesNothingWhereEachRowCounts) {
  const Model base = random_model(testing::tiny_config("llama"), 3);
  const auto sharing = [](const Model& model, const char* method, const Json& options) {
    const MethodRow& row = find_method(method);
    auto made = row.make();
    from_json(made->config(), options, method);
    Adapted adapted = attach(model, row, std::move(made), 1);
    return training_sharing(adapted).allowed;
  };
  EXPECT_TRUE(sharing(base, "lora", Json::object()));
  EXPECT_FALSE(sharing(base, "lora", {{"lora_dropout", 0.1}}));
  EXPECT_FALSE(sharing(base, "velora", Json::object()));
  EXPECT_TRUE(sharing(base, "houlsby", Json::object()));
  EXPECT_FALSE(sharing(base, "houlsby", {{"dropout", 0.1}}));
  EXPECT_TRUE(sharing(base, "prompt_tuning", Json::object()));
  EXPECT_FALSE(sharing(random_model(testing::tiny_config("gemma2"), 3), "lora", Json::object())) << "soft caps take a call for each group of documents";
}

TEST_F(SharedPrefixesOfTinyModels, GenerationContinuesEachPromptAsIfItWereAlone) {
  const Sequences s;
  GenerateConfig config;
  config.max_new_tokens = 6;
  int compared = 0;
  for (auto& family : families()) {
    const Model base = random_model(testing::tiny_config(family.model_type), 3);
    for (auto& c : testing::method_cases()) {
      const std::optional<Adapted> adapted = testing::attached(base, c, 0.2);
      if (!adapted) continue;
      const auto together = generate(adapted->model, adapted->sites, s.ids, {}, config);
      for (const size_t i : {size_t{0}, size_t{4}, size_t{8}})
        EXPECT_EQ(generate(adapted->model, adapted->sites, {s.ids[i]}, {}, config)[0], together[i]) << family.model_type << " " << c.label << " prompt " << i;
      ++compared;
    }
  }
  EXPECT_GT(compared, 200);
}

}  // namespace
}  // namespace graft
