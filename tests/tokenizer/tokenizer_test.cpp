// Against reference encodings of Hugging Face's tokenizers, and small hand-made files.
#include "tokenizer/tokenizer.h"

#include <atomic>
#include <fstream>
#include <thread>

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
INSTANTIATE_TEST_SUITE_P(All, SharedTokenizer,
                         ::testing::Values("bert_base_uncased", "gpt2", "llama2", "llama3", "minimind", "qwen2", "t5_small"));

// From each cut on, the rest of the text has the same ids by itself. → how many cuts there are
size_t check_cuts(const Tokenizer& tokenizer, const std::string& text) {
  std::vector<Tokenizer::Cut> cuts;
  const auto ids = tokenizer.encode(text, cuts);
  EXPECT_EQ(ids, tokenizer.encode(text, false)) << text;
  for (auto& cut : cuts) EXPECT_EQ(tokenizer.encode(std::string_view(text).substr(cut.byte), false), std::vector<int64_t>(ids.begin() + cut.id, ids.end())) << text << " from byte " << cut.byte;
  return cuts.size();
}

TEST_P(SharedTokenizer, TheRestBehindACutStandsAlone) {
  NEEDS_SHARED_DATA();
  const Tokenizer tokenizer = Tokenizer::load(testing::shared_data() / "tokenizers" / GetParam());
  const auto lines = sample_lines(testing::shared_data() / "tokenizers" / "sample.txt");
  const auto eos = tokenizer.eos_id();
  const std::string special = eos ? tokenizer.id_to_token(*eos) : GetParam() == std::string("gpt2") ? "<|endoftext|>" : "[SEP]";
  size_t cuts = 0;
  for (size_t i = 0; i + 2 < lines.size(); i += 3) cuts += check_cuts(tokenizer, special + lines[i] + special + " " + lines[i + 1] + " \n" + special + special + lines[i + 2]);
  EXPECT_GE(cuts, 400u);
}

TEST(SharedTokenizer, Gpt2FilesEqualTokenizerJson) {
  NEEDS_SHARED_DATA();
  const fs::path given = testing::shared_data() / "tokenizers" / "gpt2";
  const testing::TempFolder folder;
  for (const char* name : {"vocab.json", "merges.txt"}) fs::copy_file(given / name, folder / name);
  check_samples(Tokenizer::load(folder.path()), given / "sample_ids.jsonl", testing::shared_data() / "tokenizers" / "sample.txt");
}

// Without tokenizer.json and configuration a SentencePiece model is read as its library does.
TEST(SharedTokenizer, SentencePieceModelsEqualTheLibrary) {
  NEEDS_SHARED_DATA();
  const fs::path data = testing::shared_data() / "tokenizers";
  for (const auto& [name, file] : {std::pair("llama2", "tokenizer.model"), std::pair("spm_unigram_en", "test_model.model")}) {
    const testing::TempFolder folder;
    fs::copy_file(data / name / file, folder / "tokenizer.model");
    check_samples(Tokenizer::load(folder.path()), data / name / "sample_ids_spm.jsonl", data / "sample.txt");
  }
}

// Bytes that are no UTF-8: the library keeps what is, transformers nothing of the run.
TEST(SharedTokenizer, SentencePieceModelsDecodeBrokenBytes) {
  NEEDS_SHARED_DATA();
  const fs::path data = testing::shared_data() / "tokenizers" / "llama2";
  const testing::TempFolder folder;
  fs::copy_file(data / "tokenizer.model", folder / "tokenizer.model");
  const std::vector<int64_t> ids = {0xF8 + 3, 0x15 + 3, 0xE2 + 3, 0x96 + 3, 0xC3 + 3, 0xA9 + 3};
  EXPECT_EQ(Tokenizer::load(folder.path()).decode(ids), "\xEF\xBF\xBD\x15\xEF\xBF\xBD\xEF\xBF\xBD\xC3\xA9");
  fs::copy_file(data / "tokenizer_config.json", folder / "tokenizer_config.json");
  std::string broken;
  for (int i = 0; i < 6; ++i) broken += "\xEF\xBF\xBD";
  EXPECT_EQ(Tokenizer::load(folder.path()).decode(ids), broken);
}

// With it, the tokens that it declares are found in texts, and BOS goes first.
TEST(SharedTokenizer, SentencePieceModelsWithConfigurationEqualTransformers) {
  NEEDS_SHARED_DATA();
  const fs::path data = testing::shared_data() / "tokenizers" / "llama2";
  const testing::TempFolder folder;
  for (const char* name : {"tokenizer.model", "tokenizer_config.json"}) fs::copy_file(data / name, folder / name);
  const Tokenizer tokenizer = Tokenizer::load(folder.path());
  EXPECT_EQ(tokenizer.encode("Hello world</s>"), (std::vector<int64_t>{1, 15043, 3186, 2}));
  EXPECT_EQ(tokenizer.decode(std::vector<int64_t>{1, 15043, 3186, 2}, false), "<s> Hello world</s>");
  EXPECT_EQ(tokenizer.decode(std::vector<int64_t>{1, 15043, 3186, 2}, true), "Hello world");
  EXPECT_TRUE(tokenizer.adds_bos());
}

TEST(SharedTokenizer, ThreadsEncodeAlike) {
  NEEDS_SHARED_DATA();
  const fs::path data = testing::shared_data() / "tokenizers";
  const auto lines = sample_lines(data / "sample.txt");
  for (const char* name : {"gpt2", "t5_small", "bert_base_uncased"}) {
    const Tokenizer tokenizer = Tokenizer::load(data / name);
    std::vector<std::vector<int64_t>> expected;
    for (auto& line : lines) expected.push_back(tokenizer.encode(line));
    std::atomic<int> wrong = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&, t] {
        for (size_t i = 0; i < lines.size(); ++i) {
          const size_t line = (i * 7 + static_cast<size_t>(t) * 31) % lines.size();
          wrong += tokenizer.encode(lines[line]) != expected[line];
        }
      });
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0) << name;
  }
}

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

TEST(Tokenizer, CutsAreWhereAddedTokensStand) {
  const testing::TempFolder folder;
  Json json = parse_json(kTiny, "tiny");
  json["added_tokens"].push_back({{"id", 6}, {"content", "<l>"}, {"lstrip", true}, {"normalized", false}});
  json["added_tokens"].push_back({{"id", 7}, {"content", "<r>"}, {"rstrip", true}, {"normalized", false}});
  json["added_tokens"].push_back({{"id", 8}, {"content", "ba"}, {"single_word", true}, {"normalized", false}});
  const Tokenizer t = tiny(folder, json);
  std::vector<Tokenizer::Cut> cuts;
  t.encode("ab<s>ab ab<s>", cuts);
  ASSERT_EQ(cuts.size(), 2u);
  EXPECT_EQ(cuts[0].byte, 2u);
  EXPECT_EQ(cuts[0].id, 1);
  EXPECT_EQ(cuts[1].byte, 10u);
  EXPECT_EQ(cuts[1].id, 4);
  for (const char* text : {"ab  <l> ab<r>  ba <s>ba", "<l><l>  <l>ba<r> <r>  <l>ab", "bab ba<s>ba bab  <l>", "ab"}) EXPECT_EQ(check_cuts(t, text) > 0, std::string(text) != "ab");
  t.encode("ab<s>\xff", cuts);
  EXPECT_TRUE(cuts.empty()) << "what is repaired first has other bytes";
}

TEST(Tokenizer, BadFilesAndIdsAreInputErrors) {
  const testing::TempFolder folder;
  const auto error = [&](const std::function<void(Json&)>& change) {
    Json json = parse_json(kTiny, "tiny");
    change(json);
    return testing::error_of([&] { tiny(folder, json); }, Fault::Input);
  };
  EXPECT_NE(error([](Json& j) { j["model"]["merges"].push_back("a z"); }).find("'z', which is not in the vocabulary"),
            std::string::npos);
  EXPECT_NE(error([](Json& j) { j["model"].erase("vocab"); }).find("vocab"), std::string::npos);
  EXPECT_NE(error([](Json& j) { j["model"]["type"] = "Magic"; }).find("model type 'Magic'"), std::string::npos);
  EXPECT_NE(error([](Json& j) { j["model"]["type"] = "Unigram"; }).find("model Unigram needs a list 'vocab'"), std::string::npos);
  EXPECT_NE(error([](Json& j) { j["model"]["vocab"]["a"] = int64_t{1} << 40; }).find("the id of 'a'"), std::string::npos);
  EXPECT_NE(error([](Json& j) { j["model"]["vocab"]["a"] = 200000000; }).find("the id of 'a'"), std::string::npos);
  EXPECT_NE(error([](Json& j) { j["model"]["vocab"]["a"] = -1; }).find("the id of 'a'"), std::string::npos);
  EXPECT_NE(error([](Json& j) { j["model"]["dropout"] = 0.1; }).find("dropout"), std::string::npos);
  EXPECT_NE(error([](Json& j) { j["version"] = "2.0"; }).find("version \"2.0\""), std::string::npos);
  EXPECT_NE(error([](Json& j) { j["truncation"] = {{"max_length", -3}}; }).find("max_length"), std::string::npos);
  EXPECT_NE(error([](Json& j) {
              j["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {{{"type", "Odd"}}}}};
            }).find("pre_tokenizer type 'Odd'"),
            std::string::npos);
  EXPECT_NE(error([](Json& j) { j["decoder"] = {{"type", "Odd"}}; }).find("decoder type 'Odd'"), std::string::npos);
  EXPECT_NE(error([](Json& j) { j["post_processor"]["single"][0]["SpecialToken"]["id"] = "<x>"; }).find("'<x>' is not defined"),
            std::string::npos);
  EXPECT_NE(error([](Json& j) { j["added_tokens"][0]["lstrip"] = 1; }).find("added_tokens[0]: 'lstrip'"), std::string::npos);
  EXPECT_NE(error([](Json& j) {
              Json nested = nullptr;
              for (int i = 0; i < 100; ++i) nested = {{"type", "Sequence"}, {"normalizers", Json::array({nested})}};
              j["normalizer"] = nested;
            }).find("too many sequences"),
            std::string::npos);
  EXPECT_NE(error([](Json& j) { j["normalizer"]["type"] = "Magic"; }).find("normalizer type 'Magic'"), std::string::npos);
  EXPECT_NE(error([](Json& j) { j["normalizer"]["pattern"] = {{"Regex", "("}}; }).find("cannot be used"), std::string::npos);
  EXPECT_NE(error([](Json& j) { j.erase("model"); }).find("no model"), std::string::npos);
  write_file(folder / "tokenizer.json", "{\"model\": {");
  EXPECT_NE(testing::error_of([&] { Tokenizer::load(folder.path()); }, Fault::Input).find("not valid JSON"), std::string::npos);
  EXPECT_NE(testing::error_of([&] { Tokenizer::load(folder / "nowhere"); }, Fault::Input).find("no such folder"),
            std::string::npos);
  const Tokenizer t = tiny(folder, parse_json(kTiny, "tiny"));
  testing::error_of([&] { t.id_to_token(99); }, Fault::Input);
  EXPECT_EQ(t.decode(std::vector<int64_t>{4, 99}), "ab");
  EXPECT_NO_THROW(t.encode("\xff\xfe broken \xc3"));
}

// Every place of small files of each kind with something else in it: an error for the user, or a tokenizer that works.
TEST(Tokenizer, NoChangeOfAFileCrashes) {
  const std::vector<Json> others = {
      nullptr,         true, -1, 3, 1e300, "", "x", Json::array(), Json::array({1, "a"}), Json::object(), {{"type", "Sequence"}},
      int64_t{1} << 62};
  int errors = 0, tried = 0;
  for (const char* name : {"bpe-byte-level", "word-piece", "unigram-ties", "word-level", "added-tokens-accents",
                           "post-truncation-left", "normalizer-Precompiled", "pre-Sequence", "decoder-Sequence"}) {
    Json golden = read_json(fs::path(__FILE__).parent_path() / "golden" / (std::string(name) + ".json"));
    const Json& original = golden["tokenizer"];
    const testing::TempFolder folder;
    size_t seen = 0;
    const Json flat = original.flatten();
    for (auto& [place, unused] : flat.items()) {
      // All of the stages, some of the many entries of a vocabulary.
      if (place.starts_with("/model/vocab") || place.starts_with("/model/merges") || place.starts_with("/added_tokens/2"))
        if (++seen % 151 != 1) continue;
      for (Json::json_pointer at(place); !at.empty(); at = at.parent_pointer()) {
        const Json& other = others[static_cast<size_t>(tried++) % others.size()];
        Json changed = original;
        changed[at] = other;
        std::ofstream(folder / "tokenizer.json") << json_line(changed);
        try {
          const Tokenizer tokenizer = Tokenizer::load(folder.path());
          tokenizer.decode(tokenizer.encode("a b <s> xyz \xC3\xA9\n"));
        } catch (const Error& e) {
          ++errors;
          EXPECT_EQ(static_cast<int>(e.fault()), static_cast<int>(Fault::Input)) << e.what();
        }
      }
    }
  }
  EXPECT_GT(errors, 200);
  EXPECT_GT(tried - errors, 50);
}

TEST(Tokenizer, BrokenModelFilesAreInputErrors) {
  const testing::TempFolder folder;
  const auto error = [&](const std::string& bytes) {
    write_file(folder / "tokenizer.model", bytes);
    return testing::error_of([&] { Tokenizer::load(folder.path()); }, Fault::Input);
  };
  EXPECT_NE(error("").find("no SentencePiece model"), std::string::npos);
  EXPECT_NE(error("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01").find("broken"), std::string::npos);
  EXPECT_NE(error("\x0a\x05\x0a\x03"
                  "abc")
                .find("no unknown piece"),
            std::string::npos);
  EXPECT_NE(error("\x0b").find("broken"), std::string::npos);
  EXPECT_NE(error("IQ== 0\nIg== 7\n").find("line 2"), std::string::npos);
  EXPECT_NE(error("IQ== 0\nI!== 1\n").find("not base64"), std::string::npos);
  write_file(folder / "tokenizer.model", "IQ== 0\nIg== 1\n");
  EXPECT_EQ(Tokenizer::load(folder.path()).encode("\"!"), (std::vector<int64_t>{1, 0}));
  write_file(folder / "tokenizer_config.json", R"({"added_tokens_decoder": {"x": {"content": "<a>"}}})");
  EXPECT_NE(testing::error_of([&] { Tokenizer::load(folder.path()); }, Fault::Input).find("must be an id"), std::string::npos);
  write_file(
      folder / "tokenizer_config.json",
      R"({"added_tokens_decoder": {"2": {"content": "<a>", "special": true}}, "eos_token": "<a>", "add_eos_token": true})");
  EXPECT_EQ(Tokenizer::load(folder.path()).encode("!<a>\""), (std::vector<int64_t>{0, 2, 1, 2}));
}

}  // namespace
}  // namespace graft
