// Rows, examples and their order.
#include <numeric>
#include <set>

#include "core/files.h"
#include "data/order.h"
#include "support/support.h"

namespace graft {
namespace {

// One id for each letter, BOS 0 in front, EOS 1 behind.
Tokenizer letters(const testing::TempFolder& folder) {
  Json vocab{{"<s>", 0}, {"</s>", 1}};
  for (char c = 'a'; c <= 'z'; ++c) vocab[std::string(1, c)] = 2 + c - 'a';
  for (const char* other : {" ", ":", "\n", "L", "A", "Q", "0", "1", "2", "3"}) vocab[other] = vocab.size();
  write_json(folder / "tokenizer.json",
             {{"added_tokens", {{{"id", 0}, {"content", "<s>"}, {"special", true}}, {{"id", 1}, {"content", "</s>"}, {"special", true}}}},
              {"post_processor", {{"type", "TemplateProcessing"}, {"single", {{{"SpecialToken", {{"id", "<s>"}}}}, {{"Sequence", {{"id", "A"}}}}}},
                                  {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {0}}}}}}}},
              {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}}}});
  write_json(folder / "tokenizer_config.json", {{"bos_token", "<s>"}, {"eos_token", "</s>"}});
  return Tokenizer::load(folder.path());
}

class Data : public ::testing::Test {
 protected:
  std::string file(const std::string& name, const std::string& text) {
    write_file(folder_ / name, text);
    return (folder_ / name).string();
  }
  std::vector<TextRow> rows(const std::string& name, const std::string& text, const DataConfig& config = {}) { return text_rows(read_records({file(name, text)}), config); }
  std::string error(const std::string& name, const std::string& text, const DataConfig& config = {}, Fault fault = Fault::Input) {
    return testing::error_of([&] { rows(name, text, config); }, fault);
  }
  testing::TempFolder folder_;
};

TEST_F(Data, KindsOfRows) {
  const auto all = rows("a.jsonl", "{\"text\":\"abc\"}\n\n{\"prompt\":\"q\",\"completion\":\"r\",\"id\":\"x7\"}\n{\"prompt\":\"q\",\"references\":[\"r\",\"s\"]}\n");
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].completion, "abc");
  EXPECT_EQ(all[0].prompt, "");
  EXPECT_EQ(all[1].id, "x7");
  EXPECT_EQ(all[2].completion, "r");
  EXPECT_EQ(all[2].references, (std::vector<std::string>{"r", "s"}));
  const auto labelled = rows("b.jsonl", "{\"text\":\"good\",\"label\":\"yes\"}\n{\"text\":\"bad\",\"label\":\"no\"}\n");
  EXPECT_EQ(labelled[0].prompt, "good\nLabel:");
  EXPECT_EQ(labelled[0].completion, " yes");
  EXPECT_EQ(labelled[0].choices, (std::vector<std::string>{" no", " yes"}));
  EXPECT_EQ(labelled[0].label, 1);
  const auto pair = rows("c.jsonl", "{\"text_a\":\"a\",\"text_b\":\"b\",\"label\":\"same\"}\n");
  EXPECT_EQ(pair[0].prompt, "a\nb\nLabel:");
}

TEST_F(Data, TablesColumnsAndTemplates) {
  const auto quoted = rows("a.csv", "\xEF\xBB\xBFprompt,completion\r\n\"a, \"\"b\"\"\nc\",d\r\n");
  ASSERT_EQ(quoted.size(), 1u);
  EXPECT_EQ(quoted[0].prompt, "a, \"b\"\nc");
  EXPECT_EQ(quoted[0].completion, "d");
  EXPECT_EQ(rows("a.tsv", "text\tlabel\nx y\tz\n")[0].completion, " z");
  DataConfig config;
  config.columns = {{"prompt", "question"}, {"completion", "answer"}};
  EXPECT_EQ(rows("b.jsonl", "{\"question\":\"q\",\"answer\":\"a\"}\n", config)[0].prompt, "q");
  DataConfig templated;
  templated.prompt_template = "Q: {q}\\nA: {a} {{x}}";
  templated.response_template = "A:";
  const auto row = rows("c.jsonl", "{\"q\":\"A: one\",\"a\":2}\n", templated)[0];
  EXPECT_EQ(row.prompt, "Q: A: one\nA:");
  EXPECT_EQ(row.completion, " 2 {x}");
}

TEST_F(Data, BadRowsNameFileLineAndHint) {
  EXPECT_NE(error("a.jsonl", "{\"text\":\"a\"}\n{\"text\":\n").find("a.jsonl line 2 is not valid JSON"), std::string::npos);
  EXPECT_NE(error("a.jsonl", "{\"txet\":\"a\"}\n").find("txet say nothing that is known"), std::string::npos);
  EXPECT_NE(error("a.jsonl", "[1]\n").find("must hold an object"), std::string::npos);
  EXPECT_NE(error("a.jsonl", "\n").find("holds no row"), std::string::npos);
  EXPECT_NE(error("a.jsonl", "{\"prompt\":\"a\"}\n").find("no completion"), std::string::npos);
  EXPECT_NE(error("a.jsonl", "{\"messages\":[]}\n").find("must be a list of messages"), std::string::npos);
  EXPECT_NE(error("a.csv", "text,label\na\n").find("1 fields but the header has 2"), std::string::npos);
  EXPECT_NE(error("a.csv", "text\n\"open\n").find("never closes"), std::string::npos);
  DataConfig config;
  config.prompt_template = "{missing}";
  EXPECT_NE(error("a.jsonl", "{\"text\":\"a\"}\n", config).find("no column 'missing'"), std::string::npos);
  config.prompt_template = "{open";
  EXPECT_NE(error("a.jsonl", "{\"text\":\"a\"}\n", config, Fault::Usage).find("never closes"), std::string::npos);
  EXPECT_NE(testing::error_of([] { read_records({"/nowhere.jsonl"}); }, Fault::Input).find("no file"), std::string::npos);
  const std::string labels = file("labels.txt", "yes\nno\n");
  EXPECT_NE(testing::error_of([&] { text_rows(read_records({file("d.jsonl", "{\"text\":\"a\",\"label\":\"yess\"}\n")}), {}, labels); }, Fault::Input).find("did you mean 'yes'"), std::string::npos);
}

TEST_F(Data, ExamplesJoinPromptAndCompletionAndLearnTheRightTokens) {
  const Tokenizer tokenizer = letters(folder_);
  const auto one = [&](const std::string& text, DataConfig config = {}, int64_t most = 100) { return tokenize_rows(rows("a.jsonl", text, config), tokenizer, config, most); };
  const Example e = one("{\"prompt\":\"ab\",\"completion\":\"cd\"}\n").examples[0];
  EXPECT_EQ(e.ids, (std::vector<int64_t>{0, 2, 3, 4, 5, 1}));  // BOS a b c d EOS
  EXPECT_EQ(e.prompt_length, 3);
  EXPECT_EQ(e.supervised(), 3);
  const Example* pointer = &e;
  EXPECT_EQ(pack({&pointer, 1}).predict, (std::vector<int64_t>{2, 3, 4}));
  EXPECT_EQ(one("{\"text\":\"abc\"}\n").examples[0].supervised(), 4);  // never the first token
  DataConfig inputs;
  inputs.train_on_inputs = true;
  EXPECT_EQ(one("{\"prompt\":\"ab\",\"completion\":\"cd\"}\n", inputs).examples[0].supervised(), 5);
  const TokenizedData cut = one("{\"prompt\":\"abcdef\",\"completion\":\"g\"}\n{\"prompt\":\"a\",\"completion\":\"bcdefgh\"}\n", {}, 5);
  EXPECT_EQ(cut.cut, 2);
  EXPECT_EQ(cut.dropped, 1);
  EXPECT_EQ(cut.examples.size(), 1u);
  testing::error_of([&] { one("{\"prompt\":\"abcdef\",\"completion\":\"g\"}\n", {}, 5); }, Fault::Input);
}

std::vector<Example> numbered(int64_t count) {
  std::vector<Example> examples(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    examples[i].ids.assign(static_cast<size_t>(3 + i % 5), i);
    examples[i].learned_from = 1;
  }
  return examples;
}

std::multiset<int64_t> rows_of(const std::vector<Batch>& batches) {
  std::multiset<int64_t> rows;
  for (auto& b : batches)
    for (int64_t d = 0; d < b.documents(); ++d) rows.insert(b.ids[b.starts[d]]);
  return rows;
}

TEST(DataOrder, EveryEpochHoldsEveryRowOnceInItsOwnOrder) {
  const auto examples = numbered(23);
  DataConfig config;
  config.batch_size = 4;
  config.grad_accum = 2;
  const DataOrder order(examples, config, 5), same(examples, config, 5), other(examples, config, 6);
  EXPECT_EQ(order.steps_per_epoch(), 3);  // 6 batches, the last one short
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    std::multiset<int64_t> all;
    for (int64_t s = 0; s < 3; ++s) all.merge(rows_of(order.batches(3 * epoch + s)));
    EXPECT_EQ(all.size(), 23u);
    EXPECT_EQ(std::set<int64_t>(all.begin(), all.end()).size(), 23u);
  }
  EXPECT_EQ(order.batches(0)[0].ids, same.batches(0)[0].ids);
  EXPECT_NE(order.batches(0)[0].ids, other.batches(0)[0].ids);
  EXPECT_NE(order.batches(0)[0].ids, order.batches(3)[0].ids);
  order.batches(7);  // random access: going back gives the same
  EXPECT_EQ(order.batches(1)[1].ids, same.batches(1)[1].ids);
}

TEST(DataOrder, TokensPackingSequenceAndDurations) {
  const auto examples = numbered(10);  // lengths 3 4 5 6 7 3 4 5 6 7: 50 tokens
  DataConfig config;
  config.order = "sequential";
  config.batch_tokens = 12;
  const DataOrder order(examples, config, 0);
  EXPECT_EQ(order.batches(0)[0].documents(), 3);  // 3 + 4 + 5
  EXPECT_EQ(order.batches(1)[0].documents(), 1);  // 6, then 7 would make 13
  EXPECT_EQ(order.steps_for_tokens(13), 2);
  EXPECT_EQ(order.steps_for_tokens(50), order.steps_per_epoch());
  DataConfig apart;
  apart.order = "sequential";
  apart.batch_size = 3;
  apart.packing = false;
  const DataOrder rows(examples, apart, 0);
  EXPECT_EQ(rows.batches(0).size(), 3u);
  EXPECT_EQ(rows.steps_for_epochs(1), 4);
  EXPECT_EQ(rows.steps_for_epochs(2.5), 10);
}

TEST(SharedData, AllSetsAreRead) {
  NEEDS_SHARED_DATA();
  const auto data = testing::shared_data();
  for (const char* name : {"e2e", "sst2", "trec6", "banking77", "sms_spam", "e2e_pairs"}) {
    const std::vector<std::string> files{(data / name / "dev.jsonl").string()};
    const auto rows = text_rows(read_records(files), {}, labels_beside(files));
    EXPECT_GT(rows.size(), 400u) << name;
    if (name != std::string("e2e")) {
      EXPECT_GE(rows[0].choices.size(), 2u) << name;
    }
  }
  DataConfig config;
  config.columns = {{"prompt", "question"}, {"completion", "answer"}};
  EXPECT_EQ(text_rows(read_records({(data / "gsm8k" / "test.jsonl").string()}), config).size(), 1319u);
}

}  // namespace
}  // namespace graft
