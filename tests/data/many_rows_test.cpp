// Files with many rows: read and tokenised by several threads, with the result and the errors of one.
#include <ATen/Parallel.h>

#include <atomic>

#include "core/files.h"
#include "core/signals.h"
#include "data/examples.h"
#include "data/parallel.h"
#include "support/support.h"

namespace graft {
namespace {

constexpr int kRows = 40000;  // more than a block

class ManyRows : public ::testing::Test {
 protected:
  void SetUp() override {
    Json vocab{{"</s>", 0}};
    for (char c : std::string("0123456789 :\nLabel")) vocab.emplace(std::string(1, c), vocab.size());
    write_json(folder_ / "tokenizer.json", {{"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}}}});
    write_json(folder_ / "tokenizer_config.json", {{"eos_token", "</s>"}});
  }
  void TearDown() override {
    at::set_num_threads(threads_);
    request_stop(0);
  }
  // `change` may put another line in the place of a row's.
  std::string file(const std::function<std::string(int row, std::string line)>& change = {}) {
    std::string text;
    for (int i = 0; i < kRows; ++i) {
      const std::string line = i % 3 == 0 ? fmt::format("{{\"text\": \"{}\", \"label\": \"{}\"}}", i, i % 5) : fmt::format("{{\"prompt\": \"{}\", \"completion\": \" {}\"}}", i, i * 7);
      text += (change ? change(i, line) : line) + "\n";
    }
    write_file(folder_ / "rows.jsonl", text);
    return (folder_ / "rows.jsonl").string();
  }
  TokenizedData tokenized(const std::string& name, bool keep_texts = true) {
    return tokenize_rows(read_rows({name}, {}), Tokenizer::load(folder_.path()), {}, 9, {}, keep_texts);
  }
  testing::TempFolder folder_;
  const int threads_ = at::get_num_threads();
};

TEST_F(ManyRows, AreTheSameForAnyNumberOfThreads) {
  const std::string name = file();
  at::set_num_threads(1);
  const TokenizedData one = tokenized(name);
  ASSERT_GT(one.examples.size(), 20000u);
  EXPECT_GT(one.cut, 0);
  EXPECT_GT(one.dropped, 0);
  at::set_num_threads(5);
  const TokenizedData five = tokenized(name);
  EXPECT_EQ(fingerprint(five.examples), fingerprint(one.examples));
  EXPECT_EQ(five.cut, one.cut);
  EXPECT_EQ(five.dropped, one.dropped);
  const TokenizedData whole = tokenize_rows(text_rows(read_records({name}), {}), Tokenizer::load(folder_.path()), {}, 9);
  EXPECT_EQ(fingerprint(whole.examples), fingerprint(one.examples));
  EXPECT_EQ(five.examples.back().row.where, one.examples.back().row.where);
  const TokenizedData tokens = tokenized(name, false);
  ASSERT_EQ(tokens.examples.size(), one.examples.size());
  for (size_t i = 0; i < tokens.examples.size(); i += 97) {
    EXPECT_EQ(tokens.examples[i].ids, one.examples[i].ids);
    EXPECT_EQ(tokens.examples[i].learned_from, one.examples[i].learned_from);
    EXPECT_TRUE(tokens.examples[i].row.completion.empty());
  }
}

TEST_F(ManyRows, ErrorsNameTheFirstBadRow) {
  at::set_num_threads(4);
  for (int bad : {3, 9000, 39999}) {
    const std::string name = file([&](int row, std::string line) { return row >= bad && row % 2 == bad % 2 ? "{\"text\": }" : line; });
    const std::string message = testing::error_of([&] { read_rows({name}, {}); }, Fault::Input);
    EXPECT_NE(message.find(fmt::format("line {} ", bad + 1)), std::string::npos) << message;
  }
  const std::string name = file([&](int row, std::string line) { return row >= 20000 ? "{\"prompt\": \"1\"}" : line; });
  const std::string message = testing::error_of([&] { read_rows({name}, {}); }, Fault::Input);
  EXPECT_NE(message.find("line 20001 has a prompt but no completion"), std::string::npos) << message;
}

TEST_F(ManyRows, SignalsEndTheWork) {
  at::set_num_threads(3);
  std::atomic<int> done{0};
  const auto work = [&](size_t i) {
    if (i == 1000) request_stop(15);
    ++done;
  };
  EXPECT_THROW(parallel_rows(1000000, work), Stopped);
  EXPECT_LT(done, 100000);
}

}  // namespace
}  // namespace graft
