#include "embedded/bpe_trainer.h"

#include "embedded/grammar/corpus.h"
#include "support/support.h"
#include "tokenizer/tokenizer.h"

namespace graft {
namespace {

// tools/golden/bpe_trainer.py: Hugging Face's trainer on the same texts.
const Json& golden() {
  static const Json json = read_json(std::filesystem::path(__FILE__).parent_path() / "bpe_golden.json");
  return json;
}

TEST(BpeTrainer, LearnsWhatTheReferenceLearns) {
  PieceCounts counts;
  for (const auto& text : golden().at("texts")) counts.add(text.get<std::string>());
  const auto learned = train_bpe(counts, golden().at("vocab_size"), golden().at("special_tokens"));
  EXPECT_EQ(Json(learned.tokens), golden().at("tokens"));
  EXPECT_EQ(Json(learned.merges), golden().at("merges"));
}

TEST(BpeTrainer, EncodesLikeTheReferenceAndBack) {
  PieceCounts counts;
  for (const auto& text : golden().at("texts")) counts.add(text.get<std::string>());
  const std::vector<std::string> special = golden().at("special_tokens");
  testing::TempFolder temp;
  write_json(temp / "tokenizer.json", tokenizer_json(train_bpe(counts, golden().at("vocab_size"), special), special, "<s>"));
  const Tokenizer tokenizer = Tokenizer::load(temp.path());
  ASSERT_GE(golden().at("probes").size(), 5u);
  for (const Json& probe : golden().at("probes")) {
    const std::string text = probe.at("text");
    const auto ids = tokenizer.encode(text);
    EXPECT_EQ(Json(ids), probe.at("ids")) << text;
    EXPECT_EQ(tokenizer.decode(ids, true), text);
  }
  Rng rng(3);
  for (int i = 0; i < 50; ++i) {
    const std::string text = make_document(rng);
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text), true), text);
  }
}

TEST(BpeTrainer, SplitsLikeGpt2) {
  PieceCounts counts;
  counts.add("I'll go,  don't\n\n12");
  const std::map<std::string, int64_t> expected = {{"I", 1},   {"'ll", 1}, {" go", 1}, {",", 1}, {" ", 1},
                                                   {" don", 1}, {"'t", 1},  {"\n", 2},  {"12", 1}};
  EXPECT_EQ(counts.pieces(), expected);
}

TEST(BpeTrainer, JoinsTheMostFrequentPairFirst) {
  PieceCounts counts;
  counts.add("ab ab ab cd cd xcd");  // "cd" three times, " c" and "ab" less often or equally with larger ids
  const auto learned = train_bpe(counts, 259, {"<s>", "</s>"});
  ASSERT_EQ(learned.merges.size(), 1u);
  EXPECT_EQ(learned.merges[0], (std::pair<std::string, std::string>{"a", "b"}));  // equal counts: smaller ids
  EXPECT_EQ(learned.tokens.back(), "ab");
}

TEST(BpeTrainer, StopsWhenNothingIsLeftToJoin) {
  PieceCounts counts;
  counts.add("ab");
  EXPECT_EQ(train_bpe(counts, 1000, {"<s>"}).tokens.size(), 258u);
}

TEST(BpeTrainer, RefusesBadInput) {
  PieceCounts counts;
  EXPECT_NE(testing::error_of([&] { counts.add("abc \xff"); }, Fault::Input).find("not valid UTF-8"), std::string::npos);
  EXPECT_NE(testing::error_of([&] { train_bpe(counts, 257, {"<s>"}); }, Fault::Usage).find("must exceed 257 "), std::string::npos);
}

TEST(BpeTrainer, WritesTheHubsFormat) {
  PieceCounts counts;
  counts.add("ab ab");
  const auto learned = train_bpe(counts, 260, {"<s>", "</s>"});
  const Json json = tokenizer_json(learned, {"<s>", "</s>"}, "<s>");
  EXPECT_EQ(json.at("model").at("vocab").size(), 260u);
  EXPECT_EQ(json.at("model").at("vocab").at("</s>"), 1);
  EXPECT_EQ(json.at("added_tokens").at(1).at("id"), 1);
  EXPECT_EQ(json.at("pre_tokenizer").at("add_prefix_space"), false);
  EXPECT_EQ(json.at("post_processor").at("special_tokens").at("<s>").at("ids"), Json::array({0}));
}

}  // namespace
}  // namespace graft
