// Every stage and option of tokenizer.json against golden files of Hugging Face's tokenizers (tools/golden/tokenizers.py).
#include <fstream>

#include "core/files.h"
#include "core/json.h"
#include "support/support.h"
#include "tokenizer/pattern.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode.h"

namespace graft {
namespace {
namespace fs = std::filesystem;

TEST(TokenizerStages, EqualTheReference) {
  std::vector<fs::path> files;
  for (auto& entry : fs::directory_iterator(fs::path(__FILE__).parent_path() / "golden")) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  EXPECT_GE(files.size(), 110u);
  for (auto& file : files) {
    const Json golden = read_json(file);
    const testing::TempFolder folder;
    write_json(folder / "tokenizer.json", golden["tokenizer"]);
    const Tokenizer tokenizer = Tokenizer::load(folder.path());
    EXPECT_GE(golden["cases"].size(), 10u) << file;
    for (auto& row : golden["cases"]) {
      const bool special = row["special"];
      const auto ids = row["ids"].get<std::vector<int64_t>>();
      if (row.contains("text")) {
        EXPECT_EQ(tokenizer.encode(row["text"].get<std::string>(), special), ids) << file << json_line(row["text"]);
      }
      if (row.contains("decoded")) {
        EXPECT_EQ(tokenizer.decode(ids, !special), row["decoded"].get<std::string>()) << file << json_line(row["ids"]);
      }
    }
  }
}

// The matchers by hand and the general engine are twins.
TEST(Pattern, MatchersByHandEqualTheEngine) {
  const std::string llama3 =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  std::string qwen2 = llama3;
  qwen2.replace(qwen2.find("{1,3}"), 5, "");
  const std::vector<std::string> parts = {
      "a",        "é",       "'",  "'s",   "'S",  "'ſ",       "'ll",          "'RE",
      " ",        "  ",      "\n", "\r\n", "\t",  "\xC2\xA0", "\xE3\x80\x80", "1",
      "12345",    "½",       "٣",  ".",    "...", "_",        "日本",         "\xF0\x9F\x98\x80",
      "\xCC\x81", "\xC2\x85"};
  uint32_t state = 1;
  for (const std::string& expression : {std::string(kGpt2Expression), llama3, qwen2}) {
    const Pattern by_hand = Pattern::regex(expression, "test"), engine = Pattern::regex("(?:" + expression + ")", "test");
    ASSERT_TRUE(by_hand.matcher());
    ASSERT_FALSE(engine.matcher());
    for (int i = 0; i < 3000; ++i) {
      std::string text;
      for (int n = 0; n < 8; ++n) {
        state = state * 1664525 + 1013904223;
        text += parts[(state >> 16) % parts.size()];
      }
      std::vector<Span> a, b;
      by_hand.matches(text, a);
      engine.matches(text, b);
      ASSERT_EQ(a, b) << expression << " in " << json_line(text);
    }
  }
}

TEST(Pattern, WhatCannotBeTheSameIsRefused) {
  const auto error = [](const std::string& expression) {
    return testing::error_of([&] { Pattern::regex(expression, "Split"); }, Fault::Input);
  };
  EXPECT_NE(error("[a[bc]]").find("a class within a class"), std::string::npos);
  EXPECT_NE(error("[a&&b]").find("an intersection"), std::string::npos);
  EXPECT_NE(error("[[:alpha:]]").find("a POSIX class"), std::string::npos);
  EXPECT_NE(error("(?i:strasse)").find("without regard to case"), std::string::npos);
  EXPECT_NE(error("(?i)x(é)").find("beyond ASCII"), std::string::npos);
  EXPECT_NE(error("(").find("cannot be used"), std::string::npos);
  EXPECT_NE(error("\\").find("a single"), std::string::npos);
  EXPECT_NO_THROW(Pattern::regex("(?i:s)s(?i)(t)(?-i)ss", "Split"));
}

TEST(Unicode, NormalisesAsTheReference) {
  EXPECT_EQ(normalize_unicode("e\xCC\x81", UnicodeForm::C), "\xC3\xA9");
  EXPECT_EQ(normalize_unicode("\xE3\x8B\xBF", UnicodeForm::KC), "\xE3\x8B\xBF");  // U+32FF is younger than the reference's tables
  EXPECT_EQ(lowercase("\xC4\xB0\xCE\xA3"), "i\xCC\x87\xCF\x83");
  EXPECT_EQ(script_of(' '), -1);
}

}  // namespace
}  // namespace graft
