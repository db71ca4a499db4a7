// Rows with messages: token ids and what is learned of them.
#include <fstream>

#include "core/files.h"
#include "data/examples.h"
#include "support/support.h"

namespace graft {
namespace {

namespace fs = std::filesystem;

bool learned_at(const Example& e, int64_t i) {
  if (i < e.learned_from) return false;
  return std::none_of(e.skipped.begin(), e.skipped.end(), [&](const TokenSpan& s) { return i >= s.begin && i < s.end; });
}

// BOS 0 in front of every text, </s> 1; one id for each letter.
class Turns : public ::testing::Test {
 protected:
  void SetUp() override {
    Json vocab{{"<s>", 0}, {"</s>", 1}};
    for (char c = 'a'; c <= 'z'; ++c) vocab[std::string(1, c)] = 2 + c - 'a';
    for (const char* other : {" ", ":", "\n", "A", "Q", "L"}) vocab[other] = vocab.size();
    write_json(folder_ / "tokenizer.json",
               {{"added_tokens", {{{"id", 0}, {"content", "<s>"}, {"special", true}}, {{"id", 1}, {"content", "</s>"}, {"special", true}}}},
                {"post_processor", {{"type", "TemplateProcessing"}, {"single", {{{"SpecialToken", {{"id", "<s>"}}}}, {{"Sequence", {{"id", "A"}}}}}},
                                    {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {0}}}}}}}},
                {"decoder", {{"type", "Fuse"}}},
                {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}}}});
    write_json(folder_ / "tokenizer_config.json", {{"bos_token", "<s>"}, {"eos_token", "</s>"}});
  }
  TokenizedData read(const std::string& rows, const std::string& chat_template, DataConfig config = {}, int64_t most = 500) {
    if (!chat_template.empty()) write_file(folder_ / "chat_template.jinja", chat_template);
    write_file(folder_ / "rows.jsonl", rows);
    return tokenize_rows(text_rows(read_records({(folder_ / "rows.jsonl").string()}), config), Tokenizer::load(folder_.path()), config, most, folder_.path());
  }
  // What is learned of the row, each stretch in brackets.
  std::string learned(const std::string& row, const std::string& chat_template, const DataConfig& config = {}) {
    const auto data = read(row, chat_template, config);
    const Tokenizer tokenizer = Tokenizer::load(folder_.path());
    const Example& e = data.examples.at(0);
    std::string text;
    int64_t count = 0;
    for (int64_t i = 0; i < static_cast<int64_t>(e.ids.size()); ++i) {
      if (!learned_at(e, i)) continue;
      text += (i == 0 || !learned_at(e, i - 1) ? "[" : "") + tokenizer.decode(std::vector{e.ids[static_cast<size_t>(i)]});
      if (i + 1 == static_cast<int64_t>(e.ids.size()) || !learned_at(e, i + 1)) text += "]";
      ++count;
    }
    EXPECT_EQ(count, e.supervised());
    const Example* const one[] = {&e};
    EXPECT_EQ(pack(one).supervised(), count);
    return text;
  }
  testing::TempFolder folder_;
};

const char* const kTwoTurns = R"({"messages":[{"role":"system","content":"ss"},{"role":"user","content":"ab"},{"role":"assistant","content":"cd"},{"role":"user","content":"ef"},{"role":"assistant","content":"gh"}]})";
const char* const kPlain = "{{ bos_token }}{% for m in messages %}{{ 'A:' if m.role == 'assistant' else 'Q:' }}{{ m.content }}</s>\n{% endfor %}{{ 'A:' if add_generation_prompt }}";

TEST_F(Turns, AssistantTurnsWithTheirEndAreLearned) {
  EXPECT_EQ(learned(kTwoTurns, kPlain), "[cd</s>][gh</s>]");
  const Example e = read(kTwoTurns, kPlain).examples[0];
  const Tokenizer tokenizer = Tokenizer::load(folder_.path());
  EXPECT_EQ(std::count(e.ids.begin(), e.ids.end(), 0), 1);  // the template's BOS is the only one
  EXPECT_EQ(tokenizer.decode(e.ids), "<s>Q:ss</s>\nQ:ab</s>\nA:cd</s>\nQ:ef</s>\nA:gh</s>\n");
  EXPECT_EQ(e.row.completion, "gh");
  EXPECT_EQ(e.row.references, std::vector<std::string>{"gh"});
  EXPECT_EQ(tokenizer.decode(std::vector(e.ids.begin(), e.ids.begin() + e.prompt_length)), "<s>Q:ss</s>\nQ:ab</s>\nA:cd</s>\nQ:ef</s>\nA:");
  EXPECT_EQ(e.row.prompt, "<s>Q:ss</s>\nQ:ab</s>\nA:cd</s>\nQ:ef</s>\nA:");
  DataConfig all;
  all.train_on_inputs = true;
  EXPECT_EQ(learned(kTwoTurns, kPlain, all), "[Q:ss</s>\nQ:ab</s>\nA:cd</s>\nQ:ef</s>\nA:gh</s>\n]");
}

TEST_F(Turns, BeginningsThatAreWrittenOtherwise) {
  // A mark at the end of what is no prompt, as Phi-3 does.
  EXPECT_EQ(learned(kTwoTurns, "{% for m in messages %}{{ 'A:' if m.role == 'assistant' else 'Q:' }}{{ m.content }}</s>\n{% endfor %}{{ 'A:' if add_generation_prompt else 'zz' }}"), "[cd</s>][gh</s>\nzz]");
  // The last answer is written otherwise, as Qwen3 does.
  EXPECT_EQ(learned(kTwoTurns, "{% for m in messages %}{{ 'A:' if m.role == 'assistant' else 'Q:' }}{{ 'L ' if m.role == 'assistant' and loop.last }}{{ m.content }}</s>\n{% endfor %}{{ 'A:' if add_generation_prompt }}"),
            "[cd</s>][L gh</s>]");
  // The system message goes to the last question, as Mistral does.
  EXPECT_EQ(learned(kTwoTurns, "{% set us = messages | selectattr('role', 'equalto', 'user') | list %}{% for m in messages[1:] %}{{ 'A:' ~ m.content ~ '</s>' if m.role == 'assistant' else 'Q:' ~ (messages[0].content if m == us[-1] else '') ~ "
                               "m.content }}{% endfor %}{{ 'A:' if add_generation_prompt }}"),
            "[cd</s>][gh</s>]");
  // The prompt begins a thought that the answer goes on with.
  EXPECT_EQ(learned(kTwoTurns, "{% for m in messages %}{{ 'A:L ' if m.role == 'assistant' else 'Q:' }}{{ m.content }}</s>\n{% endfor %}{{ 'A:L zz' if add_generation_prompt }}"), "[cd</s>][gh</s>]");
  // No special token ends a turn: its line end stays.
  EXPECT_EQ(learned(kTwoTurns, "{% for m in messages %}{{ 'A:' if m.role == 'assistant' else 'Q:' }}{{ m.content }}\n{% endfor %}{{ 'A:' if add_generation_prompt }}"), "[cd\n][gh\n]");
  // The template tells by itself.
  EXPECT_EQ(learned(kTwoTurns, "{% for m in messages %}{% if m.role == 'assistant' %}A{% generation %}:{{ m.content }}{% endgeneration %}</s>{% else %}Q{{ m.content }}{% endif %}{% endfor %}"), "[:cd][:gh]");
  const std::string backwards = testing::error_of([&] { read(kTwoTurns, "{% for m in messages[::-1] %}{{ m.content }}:{% endfor %}"); }, Fault::Input);
  EXPECT_NE(backwards.find("rows.jsonl line 1: the chat template does not show where message 5"), std::string::npos) << backwards;
}

TEST_F(Turns, RowsAreCutRenamedAndCounted) {
  const auto data = read(std::string(kTwoTurns) + "\n", kPlain, {}, 16);  // behind the first answer's first letter
  EXPECT_EQ(data.cut, 1);
  const Example& e = data.examples.at(0);
  EXPECT_EQ(e.ids.size(), 16u);
  EXPECT_EQ(e.supervised(), 1);
  EXPECT_THROW(read(kTwoTurns, kPlain, {}, 15), Error);  // nothing is left to learn
  DataConfig config;
  config.columns = {{"messages", "talk"}};
  EXPECT_EQ(learned(R"({"talk":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]})", kPlain, config), "[b</s>]");
  // A conversation without an answer has nothing to learn from; with tools, their keys keep the file's order.
  EXPECT_EQ(read(std::string(R"({"messages":[{"role":"user","content":"a"}]})") + "\n" + kTwoTurns, kPlain).dropped, 1);
  EXPECT_EQ(read(R"({"messages":[{"role":"assistant","content":"a"}],"tools":[{"z":1,"a":2}]})", "{{ tools[0] | list | join }}{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}").examples[0].row.prompt, "za");
  write_file(folder_ / "list.json", R"([{"messages":[{"role":"assistant","content":"a"}],"tools":[{"z":1,"a":2}]}])");
  EXPECT_EQ(text_rows(read_records({(folder_ / "list.json").string()}), {}).at(0).conversation->tools.repr(), "[{'z': 1, 'a': 2}]");
  // Masks are part of the data's identity.
  auto one = read(kTwoTurns, kPlain).examples, other = one;
  other[0].skipped[0].end -= 1;
  EXPECT_NE(fingerprint(one), fingerprint(other));
}

TEST_F(Turns, WhatCannotBeRenderedIsNamed) {
  const auto error = [&](const std::string& row, const std::string& chat_template) { return testing::error_of([&] { read(row, chat_template); }, Fault::Input); };
  EXPECT_NE(error(kTwoTurns, "").find("has no chat template"), std::string::npos);
  EXPECT_NE(error(kTwoTurns, "{{ raise_exception('roles must alternate') }}").find("rows.jsonl line 1: the chat template refuses the conversation: roles must alternate"), std::string::npos);
  EXPECT_NE(error(R"({"messages":"hi"})", kPlain).find("rows.jsonl line 1: 'messages' must be a list"), std::string::npos);
  EXPECT_NE(error(R"({"messages":[{"content":"hi"}]})", kPlain).find("message 1 must be an object with a 'role'"), std::string::npos);
}

TEST(TurnsGolden, IdsAndMasksEqualTransformers) {
  NEEDS_SHARED_DATA();
  const fs::path model = testing::shared_data() / "tokenizers/minimind";
  const Tokenizer tokenizer = Tokenizer::load(model);
  const Json golden = read_json(fs::path(__FILE__).parent_path() / "golden/conversations.json");
  ASSERT_EQ(golden.size(), 12u);
  testing::TempFolder folder;
  for (auto& row : golden) {
    write_file(folder / "template.jinja", row["template"].get<std::string>());
    write_file(folder / "row.jsonl", json_line({{"messages", row["messages"]}}));
    DataConfig config;
    config.chat_template = (folder / "template.jinja").string();
    const auto data = tokenize_rows(text_rows(read_records({(folder / "row.jsonl").string()}), config), tokenizer, config, 1000, model);
    const Example& e = data.examples.at(0);
    EXPECT_EQ(Json(e.ids), row["ids"]) << row["name"];
    std::vector<int> mask;
    for (int64_t i = 0; i < static_cast<int64_t>(e.ids.size()); ++i) mask.push_back(learned_at(e, i));
    EXPECT_EQ(Json(mask), row["mask"]) << row["name"] << row["messages"] << "\n" << tokenizer.decode(e.ids);
  }
}

// Text is encoded from the last special token in front of a turn's ends on: the same as from its beginning on.
TEST(TurnsOfRealTokenizers, TokensOfASpanAreTheSameFromTheLastCutOn) {
  NEEDS_SHARED_DATA();
  for (const char* name : {"llama2", "llama3", "qwen2", "minimind"}) {
    const Tokenizer tokenizer = Tokenizer::load(testing::shared_data() / "tokenizers" / name);
    std::ifstream in(testing::shared_data() / "chat_templates" / "rendered.jsonl");
    size_t spans = 0, cut = 0;
    for (std::string line; std::getline(in, line);) {
      const Json row = parse_json(line, "rendered.jsonl");
      if (!row.contains("rendered")) continue;  // what the template refuses
      const ChatText rendered{row["rendered"].get<std::string>(), {}};
      std::vector<Tokenizer::Cut> cuts;
      const auto ids = tokenizer.encode(rendered.text, cuts);
      cut += !cuts.empty();
      const size_t size = rendered.text.size();
      // No turn begins or ends inside a character or a special token.
      const auto whole_before = [&](size_t byte) {
        const bool in_special = std::any_of(cuts.begin(), cuts.end(), [&](const Tokenizer::Cut& c) { return c.byte < byte && byte < c.byte + tokenizer.id_to_token(ids[static_cast<size_t>(c.id)]).size(); });
        return !in_special && (byte == size || (static_cast<unsigned char>(rendered.text[byte]) & 0xC0) != 0x80);
      };
      for (size_t begin = 0; begin < size; begin += 1 + size / 7)
        for (size_t end = begin + 1; end <= size; end += 1 + size / 5) {
          if (!whole_before(begin) || !whole_before(end)) continue;
          const TokenSpan one = tokens_in(rendered, {begin, end}, ids, {}, tokenizer), other = tokens_in(rendered, {begin, end}, ids, cuts, tokenizer);
          EXPECT_EQ(one.begin, other.begin) << name << " " << rendered.text << " " << begin << " " << end;
          EXPECT_EQ(one.end, other.end) << name << " " << rendered.text << " " << begin << " " << end;
          ++spans;
        }
    }
    EXPECT_GE(spans, 1000u) << name;
    EXPECT_GE(cut, 30u) << name;
  }
}

}  // namespace
}  // namespace graft
