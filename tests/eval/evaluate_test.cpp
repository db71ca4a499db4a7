// Scoring end to end on a real model.
#include "eval/evaluate.h"

#include "core/torch.h"
#include "model/loader.h"
#include "support/support.h"

namespace graft {
namespace {

class Stories : public ::testing::Test {
 protected:
  void SetUp() override {
    NEEDS_SHARED_DATA();
    const auto folder = testing::shared_data() / "stories260k";
    model_ = load_model(folder);
    tokenizer_ = Tokenizer::load(folder);
  }
  std::vector<Example> examples(std::vector<TextRow> rows) { return tokenize_rows(std::move(rows), tokenizer_, {}, 512).examples; }
  Model model_;
  Tokenizer tokenizer_;
};

TEST_F(Stories, LossOnTinyStoriesEqualsThePublishedOne) {
  const std::vector<std::string> files{(testing::shared_data() / "tinystories" / "dev.jsonl").string()};
  auto data = tokenize_rows(text_rows(read_records(files), {}), tokenizer_, {}, 512);
  int64_t predicted = 0;
  for (auto& e : data.examples) {  // the published number has no end-of-text token
    if (e.ids.back() == *tokenizer_.eos_id()) e.ids.pop_back();
    predicted += e.supervised();
  }
  EXPECT_EQ(predicted, 14525);
  EXPECT_NEAR(mean_loss(model_, Sites(model_.layers()), data.examples), 1.6775, 1e-4);
}

TEST_F(Stories, MetricsAgreeWithOneAnother) {
  // This tokenizer puts a space in front of whatever it encodes, so completions come without one.
  TextRow likely{"0", "Once upon a time, there was a little", "girl", {"girl"}, {"xylophone tax", "girl"}, 1, "row"};
  TextRow unlikely{"1", "Once upon a time, there was a little", "xylophone tax", {"xylophone tax"}, {"xylophone tax", "girl"}, 0, "row"};
  GenerateConfig generation;
  generation.max_new_tokens = 4;
  const auto results = evaluate(model_, Sites(model_.layers()), tokenizer_, examples({likely, unlikely}), {"accuracy", "loss", "perplexity", "bleu", "exact_match", "rouge_l"}, generation);
  ASSERT_EQ(results.size(), 6u);
  EXPECT_DOUBLE_EQ(results[0].value, 0.5);
  EXPECT_EQ(results[0].items[0].prediction, "girl");
  EXPECT_NEAR(std::exp(results[1].value), results[2].value, 1e-9);
  for (auto& r : results) EXPECT_EQ(r.items.size(), 2u) << r.metric;
  EXPECT_TRUE(results[3].items[0].prediction.starts_with("girl")) << results[3].items[0].prediction;
}

TEST(Metrics, UnknownNamesGetASuggestion) {
  EXPECT_NE(testing::error_of([] { find_metric("accurcy"); }, Fault::Usage).find("did you mean 'accuracy'"), std::string::npos);
}

}  // namespace
}  // namespace graft
