#include "eval/metrics.h"

#include <fstream>

#include "core/json.h"
#include "eval/bleu.h"
#include "eval/rouge.h"
#include "eval/text.h"
#include "support/support.h"

namespace graft {
namespace {

using Texts = std::vector<std::string>;

// tools/golden/metrics.py: sacrebleu, rouge-score and scikit-learn on the same texts.
const Json& golden() {
  static const Json json = read_json(std::filesystem::path(__FILE__).parent_path() / "golden" / "metrics.json");
  return json;
}

std::string joined(const Texts& words) {
  std::string text;
  for (const auto& word : words) (text += text.empty() ? "" : " ") += word;
  return text;
}

std::vector<int64_t> flat(const BleuStats& s) {
  std::vector<int64_t> out{s.length, s.ref_length};
  out.insert(out.end(), s.matches.begin(), s.matches.end());
  out.insert(out.end(), s.totals.begin(), s.totals.end());
  return out;
}

void expect_close(double actual, double expected) {
  EXPECT_NEAR(actual, expected, 1e-12 * std::abs(expected));
}

void expect_rouge(const RougeScore& actual, const Json& expected) {
  EXPECT_EQ((std::vector<double>{actual.precision, actual.recall, actual.f}), expected.get<std::vector<double>>());
}

TEST(Metrics, EveryItemEqualsTheReferencePackages) {
  size_t seen = 0;
  for (const Json& item : golden().at("items")) {
    const auto text = item.at("text").get<std::string>();
    const auto references = item.at("references").get<Texts>();
    SCOPED_TRACE(item.dump());
    EXPECT_EQ(joined(tokenize_13a(text)), item.at("tokens").get<std::string>());
    EXPECT_EQ(lower_case(text), item.at("lower_case").get<std::string>());
    EXPECT_EQ(flat(bleu_stats(text, references)), item.at("stats").get<std::vector<int64_t>>());
    EXPECT_EQ(flat(bleu_stats(text, references, {.lower_case = true})), item.at("stats_lower").get<std::vector<int64_t>>());
    expect_close(sentence_bleu(text, references), item.at("sentence_bleu"));
    expect_rouge(rouge_l(text, references), item.at("rouge_l"));
    expect_rouge(rouge_l(text, references, {.stem = true}), item.at("rouge_l_stemmed"));
    ++seen;
  }
  EXPECT_EQ(seen, 246u);
}

TEST(Bleu, CorpusEqualsSacrebleu) {
  Texts texts;
  std::vector<Texts> references;
  for (const Json& item : golden().at("items")) {
    texts.push_back(item.at("text"));
    references.push_back(item.at("references"));
  }
  expect_close(corpus_bleu(texts, references), golden().at("corpus_bleu"));
  expect_close(corpus_bleu(texts, references, {.lower_case = true}), golden().at("corpus_bleu_lower"));
  // Short corpora: no match, no 4-gram, smoothed orders.
  const Json& first = golden().at("corpus_bleu_first");
  for (size_t n = 1; n <= first.size(); ++n)
    expect_close(corpus_bleu(std::span(texts).first(n), std::span(references).first(n)), first[n - 1]);
}

TEST(Bleu, CorpusComesFromSummedStatistics) {
  const Texts texts{"the cat sat on the mat .", "a dog ran home"};
  const std::vector<Texts> references{{"the cat sat on a mat .", "there sat the cat"}, {"a dog ran to its home"}};
  std::array<double, BleuStats::kWidth> twice{};
  for (size_t i = 0; i < 2; ++i) {
    const auto numbers = bleu_stats(texts[i], references[i]).numbers();
    for (size_t k = 0; k < numbers.size(); ++k) twice[k] += 2 * numbers[k];
  }
  expect_close(bleu_of_sums(twice), corpus_bleu(texts, references));
  EXPECT_GT(corpus_bleu(texts, references), 30);
}

TEST(Metrics, E2eReferencesEqualTheReferencePackages) {
  NEEDS_SHARED_DATA();
  for (const std::string split : {"dev", "test"}) {
    std::ifstream file(testing::shared_data() / "e2e" / (split + "_refs.jsonl"));
    Texts texts;
    std::vector<Texts> references;
    double rouge = 0, stemmed = 0;
    for (std::string line; std::getline(file, line);) {
      Texts all = parse_json(line, split).at("references");
      texts.push_back(all.front());
      if (all.size() == 1) {
        const auto words = split_space(texts.back());
        all.push_back(joined(Texts(words.rbegin(), words.rend())));
      }
      all.erase(all.begin());
      rouge += rouge_l(texts.back(), all).f;
      stemmed += rouge_l(texts.back(), all, {.stem = true}).f;
      references.push_back(all);
    }
    ASSERT_GT(texts.size(), 500u);
    const Json& expected = golden().at("e2e_" + split);
    expect_close(corpus_bleu(texts, references), expected.at("bleu"));
    expect_close(corpus_bleu(texts, references, {.lower_case = true}), expected.at("bleu_lower"));
    expect_close(rouge / static_cast<double>(texts.size()), expected.at("rouge_l"));
    expect_close(stemmed / static_cast<double>(texts.size()), expected.at("rouge_l_stemmed"));
  }
}

TEST(Rouge, TheFirstOfEqualReferencesCounts) {
  const Texts references{"a x", "a b c d e f", "a y"};  // f = 1/2 three times, precision 1/2, 1 and 1/2
  EXPECT_EQ(rouge_l("a b", references).precision, 0.5);
  EXPECT_EQ(rouge_l("a b", std::span(references).subspan(1)).precision, 1.0);
}

TEST(Rouge, StemsAsNltk) {
  const Json& stems = golden().at("stems");
  EXPECT_GT(stems.size(), 300u);
  for (const auto& [word, stem] : stems.items()) EXPECT_EQ(porter_stem(word), stem.get<std::string>()) << word;
}

TEST(Text, BytesThatAreNoUtf8PassThrough) {
  const std::string broken =
      "A\xff\xc3 \xe2\x82"
      "B\xce";
  EXPECT_EQ(lower_case(broken),
            "a\xff\xc3 \xe2\x82"
            "b\xce");
  EXPECT_EQ(split_space(broken).size(), 2u);
  EXPECT_EQ(strip(" \xc2\xa0 x\xff\u3000\n"), "x\xff");
  const Texts references{broken};
  EXPECT_NEAR(sentence_bleu(broken, references), 100, 1e-9);
  EXPECT_EQ(rouge_l(broken, references).f, 1);
}

TEST(ExactMatch, NumbersMatchByValue) {
  for (const auto& [text, plain] :
       std::vector<std::pair<std::string, std::string>>{{"1,080", "1080"},
                                                        {" $1080.00 ", "1080"},
                                                        {"+7", "7"},
                                                        {"-0.50", "-0.5"},
                                                        {"007", "7"},
                                                        {"18.", "18"},
                                                        {".5", "0.5"},
                                                        {"-0", "0"},
                                                        {"-$3", "-3"},
                                                        {"$-3", "-3"},
                                                        {"€2", "2"},
                                                        {"12,345,678.90", "12345678.9"},
                                                        {"123456789012345678901", "123456789012345678901"}})
    EXPECT_EQ(plain_number(text), plain) << text;
  for (const std::string text :
       {"", ".", "-", "$", "1,2", "10,80", ",100", "1,0800", "1,080,", "1.2.3", "1e3", "5%", "two", "1 2", "--1", "1.0,5"})
    EXPECT_EQ(plain_number(text), std::nullopt) << text;
  const Texts references{"1080"};
  EXPECT_TRUE(exact_match("1,080", references));
  EXPECT_FALSE(exact_match("1,080", references, {.numbers = false}));
  EXPECT_FALSE(exact_match("1,081", references));
}

TEST(ExactMatch, StripsAndTakesAnyReference) {
  const Texts references{"Paris", " the city of Paris\n"};
  EXPECT_TRUE(exact_match("\tthe city of Paris ", references));
  EXPECT_FALSE(exact_match("paris", references));
  EXPECT_TRUE(exact_match("PARIS", references, {.ignore_case = true}));
  EXPECT_FALSE(exact_match("", references));
  testing::error_of([] { exact_match("x", Texts{}); }, Fault::Input);
  testing::error_of([] { bleu_stats("x", Texts{}); }, Fault::Input);
  testing::error_of([] { rouge_l("x", Texts{}); }, Fault::Input);
}

TEST(ExactMatch, FinalAnswers) {
  const Texts worked{"16 - 3 = 13\n#### 1,018"}, bare{"1018"};
  for (const auto& references : {worked, bare}) {
    EXPECT_TRUE(exact_match("so\n#### 1018\nand more 7", references, {.answer = FinalAnswer::Marker}));
    EXPECT_TRUE(exact_match("#### 5\n#### $1,018.00", references, {.answer = FinalAnswer::Marker}));
    EXPECT_FALSE(exact_match("The answer is 1018.", references, {.answer = FinalAnswer::Marker}));
    EXPECT_TRUE(exact_match("2 and 3, so the answer is $1,018.", references, {.answer = FinalAnswer::LastNumber}));
    EXPECT_FALSE(exact_match("no number", references, {.answer = FinalAnswer::LastNumber}));
    EXPECT_FALSE(exact_match("1018 of 2", references, {.answer = FinalAnswer::LastNumber}));
  }
  EXPECT_EQ(final_answer("it fell to -4.5 degrees", FinalAnswer::LastNumber), "-4.5");
  EXPECT_EQ(final_answer("10-4", FinalAnswer::LastNumber), "4");
  EXPECT_EQ(final_answer("none", FinalAnswer::LastNumber), std::nullopt);
  EXPECT_EQ(final_answer("####", FinalAnswer::Marker), "");
  EXPECT_EQ(final_answer("####  x y \t\nz", FinalAnswer::Marker), "x y");
  EXPECT_TRUE(exact_match("it takes 24", Texts{"24 eggs"}, {.answer = FinalAnswer::LastNumber}));
}

TEST(Labels, AccuracyAndMacroF1EqualScikitLearn) {
  const Json& labels = golden().at("labels");
  const auto scores = label_scores(labels.at("predictions").get<Texts>(), labels.at("references").get<Texts>());
  expect_close(scores.accuracy, labels.at("accuracy"));
  expect_close(scores.macro_f1, labels.at("macro_f1"));
  testing::error_of([] { label_scores(Texts{"a"}, Texts{}); }, Fault::Input);
}

}  // namespace
}  // namespace graft
