// Against reference encodings of Hugging Face's tokenizers, and small hand-made files.
#include "tokenizer/tokenizer.h"

#include <fstream>

#include "core/files.h"
#include "core/json.h"
#include "support/support.h"

namespace graft {
namespace {
namespace fs = std::filesystem;

// Lines of the sample text; the last entry is the whole file.
std::vector<std::string> sample_lines(const fs::path& file) {
  const std::string text = read_file(file);
  std::vector<std::string> lines;
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    lines.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  lines.push_back(text);
  return lines;
}

void check_samples(const Tokenizer& tokenizer, const fs::path& expected, const fs::path& sample) {
  const auto lines = sample_lines(sample);
  std::ifstream in(expected);
  size_t rows = 0;
  for (std::string line; std::getline(in, line); ++rows) {
    const Json row = parse_json(line, expected.string());
    const bool whole = !row["line"].is_number_integer();
    const std::string& text = whole ? lines.back() : lines.at(row["line"].get<size_t>());
    const auto ids = tokenizer.encode(text, false);
    EXPECT_EQ(ids, row["ids"].get<std::vector<int64_t>>()) << expected << " line " << row["line"];
    if (!whole || row.contains("decoded")) {
      EXPECT_EQ(tokenizer.decode(ids), row.value("decoded", text)) << expected << " line " << row["line"];
    }
  }
  EXPECT_GE(rows, 300u);
}

class SharedTokenizer : public ::testing::TestWithParam<const char*> {};

TEST_P(SharedTokenizer, EqualsTheReferenceOnDifficultText) {
  NEEDS_SHARED_DATA();
  const fs::path folder = testing::shared_data() / "tokenizers" / GetParam();
  const Tokenizer tokenizer = Tokenizer::load(folder);
  check_samples(tokenizer, folder / "sample_ids.jsonl", testing::shared_data() / "tokenizers" / "sample.txt");
  std::ifstream in(folder / "cases.jsonl");
  size_t rows = 0;
  for (std::string line; std::getline(in, line); ++rows) {
    const Json row = parse_json(line, "cases.jsonl");
    const std::string text = row.at("text");
    const auto ids = row.at("ids_with_special").get<std::vector<int64_t>>();
    EXPECT_EQ(tokenizer.encode(text, false), row.at("ids").get<std::vector<int64_t>>()) << text;
    EXPECT_EQ(tokenizer.encode(text, true), ids) << text;
    EXPECT_EQ(tokenizer.decode(ids, false), row.at("decoded").get<std::string>()) << text;
    EXPECT_EQ(tokenizer.decode(ids, true), row.at("decoded_skip_special").get<std::string>()) << text;
  }
  EXPECT_GE(rows, 5u);
}
INSTANTIATE_TEST_SUITE_P(Bpe, SharedTokenizer, ::testing::Values("gpt2", "llama2", "minimind", "qwen2"));

TEST(Stories260k, TokenizerEqualsTheReference) {
  NEEDS_SHARED_DATA();
  const fs::path data = testing::shared_data();
  const Tokenizer tokenizer = Tokenizer::load(data / "stories260k");
  check_samples(tokenizer, data / "tokenizers" / "stories260k_sample_ids.jsonl", data / "tokenizers" / "sample.txt");
  EXPECT_TRUE(tokenizer.adds_bos());
  EXPECT_EQ(tokenizer.bos_id(), 1);
  EXPECT_EQ(tokenizer.eos_id(), 2);
}

// A tiny byte-fallback tokenizer and what can be wrong with such a file.
const char* kTiny = R"({"added_tokens": [{"id": 0, "content": "<s>", "special": true, "normalized": false}],
  "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "_"}, "pre_tokenizer": null,
  "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                     "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
  "decoder": {"type": "Replace", "pattern": {"String": "_"}, "content": " "},
  "model": {"type": "BPE", "vocab": {"<s>": 0, "a": 1, "b": 2, "_": 3, "ab": 4, "_ab": 5}, "merges": ["a b", "_ ab"]}})";

Tokenizer tiny(const testing::TempFolder& folder, const Json& json) {
  write_json(folder / "tokenizer.json", json);
  return Tokenizer::load(folder.path());
}

TEST(Tokenizer, MergesByRankAndKeepsSpecialTokens) {
  const testing::TempFolder folder;
  const Tokenizer t = tiny(folder, parse_json(kTiny, "tiny"));
  EXPECT_EQ(t.encode("ab ab<s>a"), (std::vector<int64_t>{0, 4, 5, 0, 1}));
  EXPECT_EQ(t.encode("ab", false), (std::vector<int64_t>{4}));
  EXPECT_EQ(t.decode(std::vector<int64_t>{4, 5}), "ab ab");
  EXPECT_EQ(t.decode(std::vector<int64_t>{0, 4}, true), "ab");
  EXPECT_EQ(t.vocab_size(), 6);
}

TEST(Tokenizer, BadFilesAndIdsAreInputErrors) {
  const testing::TempFolder folder;
  const auto error = [&](const std::function<void(Json&)>& change) {
    Json json = parse_json(kTiny, "tiny");
    change(json);
    return testing::error_of([&] { tiny(folder, json); }, Fault::Input);
  };
  EXPECT_NE(error([](Json& j) { j["model"]["merges"].push_back("a z"); }).find("'z', which is not in the vocabulary"), std::string::npos);
  EXPECT_NE(error([](Json& j) { j["model"].erase("vocab"); }).find("vocab"), std::string::npos);
  EXPECT_NE(error([](Json& j) { j["model"]["type"] = "Unigram"; }).find("'Unigram' is not supported"), std::string::npos);
  EXPECT_NE(error([](Json& j) { j["normalizer"]["type"] = "Magic"; }).find("normalizer type 'Magic'"), std::string::npos);
  EXPECT_NE(error([](Json& j) { j["normalizer"]["pattern"] = {{"Regex", "("}}; }).find("cannot be used"), std::string::npos);
  EXPECT_NE(error([](Json& j) { j.erase("model"); }).find("no model"), std::string::npos);
  write_file(folder / "tokenizer.json", "{\"model\": {");
  EXPECT_NE(testing::error_of([&] { Tokenizer::load(folder.path()); }, Fault::Input).find("not valid JSON"), std::string::npos);
  EXPECT_NE(testing::error_of([&] { Tokenizer::load(folder / "nowhere"); }, Fault::Input).find("no such folder"), std::string::npos);
  const Tokenizer t = tiny(folder, parse_json(kTiny, "tiny"));
  testing::error_of([&] { t.id_to_token(99); }, Fault::Input);
  EXPECT_EQ(t.decode(std::vector<int64_t>{4, 99}), "ab");
  EXPECT_NO_THROW(t.encode("\xff\xfe broken \xc3"));
}

}  // namespace
}  // namespace graft
