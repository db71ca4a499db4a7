#include "embedded/embedded.h"

#include <map>
#include <set>

#include "core/files.h"
#include "core/rng.h"
#include "support/support.h"

namespace graft {
namespace {
namespace fs = std::filesystem;

EmbeddedConfig small() {
  EmbeddedConfig config;
  config.documents = 300;
  config.dev_documents = 20;
  config.forgetting_documents = 20;
  config.vocab_size = 512;
  config.task_train = 40;
  config.task_dev = 8;
  config.task_test = 8;
  return config;
}

std::map<std::string, uint64_t> hashes(const fs::path& folder) {
  std::map<std::string, uint64_t> out;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) out[fs::relative(entry.path(), folder).string()] = hash_bytes(read_file(entry.path()));
  return out;
}

std::vector<Json> rows(const fs::path& path) {
  std::vector<Json> out;
  const std::string text = read_file(path);
  for (size_t start = 0; start < text.size();) {
    const size_t end = text.find('\n', start);
    out.push_back(parse_json(text.substr(start, end - start), path.string()));
    start = end + 1;
  }
  return out;
}

TEST(Embedded, WritesTheSameFolderTwice) {
  testing::TempFolder temp;
  write_embedded(temp / "a", small());
  write_embedded(temp / "b", small());
  const auto first = hashes(temp / "a");
  EXPECT_EQ(first, hashes(temp / "b"));
  EXPECT_EQ(first.size(), 18u);
  auto other = small();
  other.seed = 2;
  write_embedded(temp / "b", other);
  EXPECT_NE(first.at("corpus/train.jsonl"), hashes(temp / "b").at("corpus/train.jsonl"));
  EXPECT_NE(first.at("tasks/review/train.jsonl"), hashes(temp / "b").at("tasks/review/train.jsonl"));
}

TEST(Embedded, NoDocumentStandsInTwoTexts) {
  testing::TempFolder temp;
  write_embedded(temp / "a", small());
  std::set<std::string> seen;
  size_t count = 0;
  for (const char* file : {"corpus/train.jsonl", "corpus/dev.jsonl", "forgetting.jsonl"})
    for (const Json& row : rows(temp / "a" / file)) {
      EXPECT_TRUE(seen.insert(row.at("text")).second);
      ++count;
    }
  EXPECT_EQ(count, 340u);
}

TEST(Embedded, DescribesTheBase) {
  testing::TempFolder temp;
  write_embedded(temp / "a", small());
  const Json config = read_json(temp / "a" / "base/config.json"), tokenizer = read_json(temp / "a" / "base/tokenizer.json");
  EXPECT_EQ(config.at("model_type"), "llama");
  EXPECT_EQ(config.at("vocab_size"), 512);
  EXPECT_EQ(config.at("attention_bias"), true);
  EXPECT_EQ(config.at("mlp_bias"), true);
  EXPECT_EQ(config.at("tie_word_embeddings"), true);
  EXPECT_EQ(tokenizer.at("model").at("vocab").size(), 512u);
  EXPECT_EQ(tokenizer.at("model").at("vocab").at("</s>"), config.at("eos_token_id"));
  EXPECT_EQ(read_file(temp / "a" / "tasks/review/labels.txt"), "good\nbad\nmixed\nplain\n");
  EXPECT_EQ(rows(temp / "a" / "tasks/describe/test.jsonl").size(), 8u);
}

TEST(Embedded, RefusesImpossibleShapesAndLeavesNothing) {
  testing::TempFolder temp;
  const auto error = [&](auto change) {
    auto config = small();
    change(config);
    return testing::error_of([&] { write_embedded(temp / "x", config); }, Fault::Usage);
  };
  EXPECT_NE(error([](auto& c) { c.num_attention_heads = 3; }).find("num_attention_heads must divide hidden_size = 128"), std::string::npos);
  EXPECT_NE(error([](auto& c) { c.num_key_value_heads = 3; }).find("num_key_value_heads must divide"), std::string::npos);
  EXPECT_NE(error([](auto& c) { c.vocab_size = 100; }).find("vocab_size"), std::string::npos);
  EXPECT_NE(error([](auto& c) { c.vocab_size = 20000; }).find("yields only"), std::string::npos);
  EXPECT_FALSE(fs::exists(temp / "x"));
  EXPECT_TRUE(fs::is_empty(temp.path()));
}

}  // namespace
}  // namespace graft
