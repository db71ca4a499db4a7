// Files of every kind, good and broken; labels, choices, templates; durations and fingerprints.
#include <set>

#include "core/files.h"
#include "data/order.h"
#include "data/table.h"
#include "support/support.h"

namespace graft {
namespace {

using Texts = std::vector<std::string>;

class Formats : public ::testing::Test {
 protected:
  std::string file(const std::string& name, const std::string& text) {
    write_file(folder_ / name, text);
    return (folder_ / name).string();
  }
  std::vector<TextRow> rows(const std::string& name, const std::string& text, const DataConfig& config = {}) {
    const std::string path = file(name, text);
    return text_rows(read_records({path}), config, labels_beside({path}));
  }
  std::string error(const std::string& name, const std::string& text, const DataConfig& config = {}, Fault fault = Fault::Input) {
    return testing::error_of([&] { rows(name, text, config); }, fault);
  }
  testing::TempFolder folder_;
};

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST(Table, QuotesLineEndsAndEmptyFields) {
  const auto fields = [](std::string_view text, char separator = ',') {
    std::vector<Texts> all;
    for (auto& row : parse_table(text, separator, "t")) all.push_back(row.fields);
    return all;
  };
  using Rows = std::vector<Texts>;
  EXPECT_EQ(fields("a,b\n1,2"), (Rows{{"a", "b"}, {"1", "2"}}));
  EXPECT_EQ(fields("a,b\r\n1,\r\n,2\r\n"), (Rows{{"a", "b"}, {"1", ""}, {"", "2"}}));
  EXPECT_EQ(fields("a,\n1,"), (Rows{{"a", ""}, {"1", ""}}));
  EXPECT_EQ(fields("\"x,\"\"y\"\"\r\nz\",2\n"), (Rows{{"x,\"y\"\r\nz", "2"}}));
  EXPECT_EQ(fields("\"\"\n\n\r\nb\n"), (Rows{{""}, {"b"}}));  // a quoted nothing is a row, an empty line is none
  EXPECT_EQ(fields("5\" pipe,b\rc\n"), (Rows{{"5\" pipe", "b\rc"}}));
  EXPECT_EQ(fields("a,b\tc\n", '\t'), (Rows{{"a,b", "c"}}));
  EXPECT_TRUE(fields("").empty());
  EXPECT_EQ(parse_table("h\n\"1\n2\"\n3\n", ',', "t")[2].line, 4);  // lines inside quotes count
}

TEST(Table, BrokenQuotesNameTheLine) {
  EXPECT_HAS(testing::error_of([] { parse_table("h\n\"a\"b\n", ',', "t.csv"); }, Fault::Input), "t.csv line 2: a closing quote");
  EXPECT_HAS(testing::error_of([] { parse_table("h\n\"a\"\rb\n", ',', "t.csv"); }, Fault::Input), "t.csv line 2: a closing quote");
  EXPECT_HAS(testing::error_of([] { parse_table("h\nx\n\"a\n\n\n", ',', "t.csv"); }, Fault::Input), "row of line 3 never closes");
}

TEST_F(Formats, OneRowReadsTheSameFromEveryFormat) {
  const std::string prompt = "Zoë, \"so\"\nsaid", completion = "ja\t— nein";
  const Json row{{"prompt", prompt}, {"completion", completion}};
  const std::string quoted = "\"Zoë, \"\"so\"\"\nsaid\"";
  for (const std::string& path : {file("a.jsonl", "\xEF\xBB\xBF" + row.dump() + "\r\n"), file("a.json", Json::array({row}).dump(2)),
                                  file("a.CSV", "completion,prompt\n" + completion + "," + quoted + "\n"),
                                  file("a.tsv", "prompt\tcompletion\n" + quoted + "\t\"" + completion + "\"\n")}) {
    const auto all = text_rows(read_records({path}), {});
    ASSERT_EQ(all.size(), 1u) << path;
    EXPECT_EQ(all[0].prompt, prompt) << path;
    EXPECT_EQ(all[0].completion, completion) << path;
    EXPECT_EQ(all[0].references, Texts{completion}) << path;
  }
}

TEST_F(Formats, SeveralFilesFollowOneAnother) {
  const auto all = text_rows(read_records({file("a.jsonl", "{\"text\":\"1\"}\n"), file("b.csv", "text\n2\n3\n")}), {});
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[2].completion, "3");
  EXPECT_EQ(all[2].id, "2");
  EXPECT_HAS(all[2].where, "b.csv line 3");
}

TEST_F(Formats, BrokenFilesNameFileAndLine) {
  EXPECT_HAS(error("a.jsonl", "{\"text\":\"a\"}\n\n{\"text\":\"b\xE4\"}\n"), "a.jsonl line 3 is not UTF-8 text: byte 0xe4");
  EXPECT_HAS(error("a.csv", "text\nok\nb\xFF\n"), "a.csv line 3 is not UTF-8");
  EXPECT_HAS(error("a.json", "{\"text\":\"a\"}"), "list of objects");
  EXPECT_HAS(error("a.json", "[{\"text\":\"a\"},7]"), "a.json row 2 must be an object but is 7");
  EXPECT_HAS(error("a.json", "[]"), "holds no row");
  EXPECT_HAS(error("a.json", "[{\"text\":\"a\xFF\"}]"), "a.json is not UTF-8");
  const std::string opening(200000, '['), closing(200000, ']');
  EXPECT_HAS(error("a.jsonl", "{\"text\":\"a\",\"more\":" + opening + closing + "}\n"), "a.jsonl line 1 nests");
  EXPECT_HAS(error("a.json", opening + closing), "a.json nests");
  EXPECT_EQ(rows("a.jsonl", Json{{"text", "\"" + opening}}.dump()).size(), 1u);  // brackets in a text are text
  EXPECT_HAS(error("a.jsonl", ""), "holds no row");
  EXPECT_HAS(error("a.csv", "text,label\n"), "holds no row");
  EXPECT_HAS(error("a.csv", "text,text\na,b\n"), "two columns are named 'text'");
  EXPECT_HAS(error("a.jsonl", "{\"text\":\"a\",\"text\":\"b\"}\n"), "stands twice");
  EXPECT_HAS(error("a.jsonl", "{\"text\":null}\n"), "'text' must be text but is null");
  EXPECT_HAS(error("a.jsonl", "{\"prompt\":\"a\",\"completion\":[\"b\"]}\n"), "'completion' must be text but is a list");
  EXPECT_HAS(error("a.jsonl", "{\"prompt\":\"a\",\"references\":[]}\n"), "list of texts but is empty");
  EXPECT_HAS(error("a.jsonl", "{\"prompt\":\"a\",\"references\":[null]}\n"), "'references' must be text");
  EXPECT_HAS(testing::error_of([&] { read_records({folder_.path().string()}); }, Fault::Input), "is a folder");
  testing::error_of([] { read_records({}); }, Fault::Usage);
}

TEST_F(Formats, LabelsBesideTheFileFixTheChoices) {
  file("labels.txt", "\xEF\xBB\xBFyes\r\nno\r\n\nmaybe\n");
  const auto all = rows("a.jsonl", "{\"text\":\"a\",\"label\":\"no\"}\n");
  EXPECT_EQ(all[0].choices, (Texts{" yes", " no", " maybe"}));
  EXPECT_EQ(all[0].label, 1);
  EXPECT_HAS(error("a.jsonl", "{\"text\":\"a\",\"label\":\"nope\"}\n"), "the label 'nope' is not in");
  EXPECT_HAS(error("a.jsonl", "{\"text\":\"a\",\"label\":\"\"}\n"), "the label is empty");
  EXPECT_HAS(error("a.jsonl", "{\"text\":\"a\",\"label\":null}\n"), "'label' must be text");
  file("labels.txt", "yes\nyes\n");
  EXPECT_HAS(error("a.jsonl", "{\"text\":\"a\",\"label\":\"yes\"}\n"), "stands twice");
}

TEST_F(Formats, LabelsBehindATemplateAreChoices) {
  DataConfig config;
  config.prompt_template = "{text} Mood: {label}!";
  config.response_template = "Mood:";
  const std::string text = "{\"text\":\"a\",\"label\":\"sad\"}\n{\"text\":\"b\",\"label\":\"glad\"}\n";
  const auto all = rows("a.jsonl", text, config);
  EXPECT_EQ(all[0].prompt, "a Mood:");
  EXPECT_EQ(all[0].completion, " sad!");
  EXPECT_EQ(all[0].choices, (Texts{" glad!", " sad!"}));
  EXPECT_EQ(all[0].label, 1);
  config.prompt_template = "{label} Mood: {label}";  // the prompt gives the label away
  EXPECT_TRUE(rows("a.jsonl", text, config)[0].choices.empty());
}

TEST_F(Formats, TooManyLabelsAreNoClasses) {
  std::string text = "text,label\n";
  for (int i = 0; i <= 1000; ++i) text += "a," + std::to_string(i) + "\n";
  const auto all = rows("a.csv", text);
  EXPECT_TRUE(all[0].choices.empty());
  EXPECT_EQ(all[1000].completion, " 1000");
}

TEST_F(Formats, ColumnsInEveryNotation) {
  for (const Json& columns : {Json("text=body"), Json::array({"text=body"}), Json{{"text", "body"}}}) {
    DataConfig config;
    config.columns = columns;
    EXPECT_EQ(rows("a.jsonl", "{\"body\":\"b\",\"text\":\"t\"}\n", config)[0].completion, "b");
  }
  DataConfig swapped;
  swapped.columns = {{"prompt", "completion"}, {"completion", "prompt"}};
  EXPECT_EQ(rows("a.jsonl", "{\"prompt\":\"p\",\"completion\":\"c\"}\n", swapped)[0].prompt, "c");
  DataConfig wrong;
  wrong.columns = {{"text", "boby"}};
  const std::string message = error("a.jsonl", "{\"body\":\"b\"}\n", wrong);
  EXPECT_HAS(message, "a.jsonl line 1 has no column 'boby'");
  EXPECT_HAS(message, "did you mean 'body'");
  for (const Json& columns : {Json("text"), Json("=body"), Json("text="), Json::array({"a=b", "a=c"}), Json{{"text", 1}}, Json(3)}) {
    wrong.columns = columns;
    EXPECT_HAS(error("a.jsonl", "{\"body\":\"b\"}\n", wrong, Fault::Usage), "columns:");
  }
}

TEST_F(Formats, TemplatesThatCannotBe) {
  const auto failure = [&](const char* pattern, std::optional<std::string> response, Fault fault) {
    DataConfig config;
    if (pattern) config.prompt_template = pattern;
    config.response_template = response;
    return error("a.jsonl", "{\"text\":\"a\"}\n", config, fault);
  };
  EXPECT_HAS(failure("{te{text}", {}, Fault::Usage), "never closes");
  EXPECT_HAS(failure("text}", {}, Fault::Usage), "a lone }");
  EXPECT_HAS(failure("{texd}", {}, Fault::Input), "no column 'texd'; it has text");
  EXPECT_HAS(failure("{text}", "Answer:", Fault::Input), "does not hold the response template 'Answer:'");
  EXPECT_HAS(failure("{text}", "", Fault::Usage), "response_template is empty");
  EXPECT_HAS(failure(nullptr, "Answer:", Fault::Usage), "without template");
}

std::vector<Example> of_lengths(const std::vector<size_t>& lengths) {
  std::vector<Example> examples(lengths.size());
  for (size_t i = 0; i < lengths.size(); ++i) examples[i].ids.assign(lengths[i], static_cast<int64_t>(i));
  return examples;
}

TEST(DataOrder, StepsFarAwayEqualStepsWalkedTo) {
  const auto examples = of_lengths({3, 9, 4, 2, 7, 5, 11, 2, 6});
  for (const bool by_tokens : {false, true}) {
    DataConfig config;
    config.batch_size = 2;
    if (by_tokens) config.batch_tokens = 10;
    const DataOrder walked(examples, config, 1);
    int64_t tokens = 0, documents = 0;
    for (int64_t step = 0; step < 40; ++step) {
      const auto batches = walked.batches(step);
      ASSERT_EQ(batches.size(), 1u);
      EXPECT_EQ(DataOrder(examples, config, 1).batches(step)[0].ids, batches[0].ids);
      EXPECT_TRUE(!by_tokens || batches[0].tokens() <= 10 || batches[0].documents() == 1);
      tokens += batches[0].tokens();
      documents += batches[0].documents();
      EXPECT_EQ(walked.steps_for_tokens(tokens), step + 1);
      EXPECT_EQ(walked.steps_for_tokens(tokens - batches[0].tokens() + 1), step + 1);
      if (documents % 9 == 0) {
        EXPECT_EQ(walked.steps_for_epochs(static_cast<double>(documents / 9)), step + 1);
      }
    }
    EXPECT_GE(walked.steps_for_epochs(1e-12), 1);
    testing::error_of([&] { walked.steps_for_epochs(1e18); }, Fault::Usage);
    testing::error_of([&] { walked.steps_for_tokens(int64_t{1} << 62); }, Fault::Usage);
  }
  const std::vector<Example> none;
  testing::error_of([&] { DataOrder(none, {}, 1); }, Fault::Input);
}

TEST(Fingerprint, ChangesWithWhateverDecidesAResult) {
  const auto base = of_lengths({3, 4});
  std::set<std::string> seen{fingerprint(base)};
  EXPECT_EQ(fingerprint(of_lengths({3, 4})), *seen.begin());
  const auto changed = [&](const std::function<void(std::vector<Example>&)>& change) {
    auto examples = base;
    change(examples);
    EXPECT_TRUE(seen.insert(fingerprint(examples)).second);
  };
  changed([](auto& e) { std::swap(e[0], e[1]); });
  changed([](auto& e) { e.pop_back(); });
  changed([](auto& e) { e[1].ids[2] = 5; });
  changed([](auto& e) { e[1].learned_from = 2; });
  changed([](auto& e) { e[1].row.references = {"a"}; });
  changed([](auto& e) { e[0].row.references = {"a"}; });
  changed([](auto& e) { e[0].row.choices = {"a"}; });
  changed([](auto& e) { e[0].row.label = 1; });
}

TEST(SharedTokens, ManyThreadsGiveTheSameRowsInOrder) {
  NEEDS_SHARED_DATA();
  const auto data = testing::shared_data();
  const Tokenizer tokenizer = Tokenizer::load(data / "stories260k");
  const std::vector<std::string> files{(data / "trec6" / "train.jsonl").string()};
  auto rows = text_rows(read_records(files), {}, labels_beside(files));
  ASSERT_EQ(rows.size(), 4956u);
  EXPECT_EQ(rows[0].choices, (Texts{" abbreviation", " description", " entity", " human", " location", " number"}));
  const auto all = tokenize_rows(rows, tokenizer, {}, 512);
  ASSERT_EQ(all.examples.size(), rows.size());
  for (size_t i = 0; i < rows.size(); i += 500) {
    std::vector<int64_t> expected = tokenizer.encode(rows[i].prompt, true);  // BOS in front
    EXPECT_EQ(expected[0], 1);
    EXPECT_EQ(all.examples[i].learned_from, static_cast<int64_t>(expected.size()));
    for (const int64_t id : tokenizer.encode(rows[i].completion, false)) expected.push_back(id);
    expected.push_back(2);
    EXPECT_EQ(all.examples[i].ids, expected);
    EXPECT_EQ(all.examples[i].row.id, std::to_string(i));
  }
}

}  // namespace
}  // namespace graft
