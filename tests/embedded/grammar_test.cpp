#include "embedded/grammar/grammar.h"

#include <set>

#include "embedded/grammar/corpus.h"
#include "embedded/grammar/english.h"
#include "support/support.h"

namespace graft {
namespace {

TEST(English, FormsVerbs) {
  const auto forms = [](const char* verb) {
    std::string all;
    for (const VerbForm form : {VerbForm::ThirdPerson, VerbForm::Past, VerbForm::Participle, VerbForm::Gerund}) all += verb_form(verb, form) + " ";
    return all;
  };
  EXPECT_EQ(forms("walk"), "walks walked walked walking ");
  EXPECT_EQ(forms("carry"), "carries carried carried carrying ");
  EXPECT_EQ(forms("play"), "plays played played playing ");
  EXPECT_EQ(forms("like"), "likes liked liked liking ");
  EXPECT_EQ(forms("see"), "sees saw seen seeing ");
  EXPECT_EQ(forms("watch"), "watches watched watched watching ");
  EXPECT_EQ(forms("go"), "goes went gone going ");
  EXPECT_EQ(forms("have"), "has had had having ");
  EXPECT_EQ(forms("stop"), "stops stopped stopped stopping ");
  EXPECT_EQ(forms("lie"), "lies lay lain lying ");
  EXPECT_EQ(forms("be"), "is was been being ");
  EXPECT_EQ(verb_form("be", VerbForm::PastPlural), "were");
  EXPECT_EQ(phrase_form("pick up the ball", VerbForm::Past), "picked up the ball");
}

TEST(English, FormsPluralsAndNumbers) {
  EXPECT_EQ(plural("berry"), "berries");
  EXPECT_EQ(plural("box"), "boxes");
  EXPECT_EQ(plural("toy"), "toys");
  EXPECT_EQ(plural("red leaf"), "red leaves");
  for (int n = 0; n < 100; ++n) EXPECT_EQ(number_value(number_word(n)), n);
  EXPECT_EQ(number_word(42), "forty-two");
  EXPECT_EQ(number_value("many"), -1);
}

TEST(English, FinishesText) {
  EXPECT_EQ(finish_text("a old  man~m saw a  owl . it flew ."), "An old man saw an owl. It flew.");
  EXPECT_EQ(finish_text("\"who is it?\" asked Tom. \"a friend.\" said Mia. \"come in!\" he laughed."),
            "\"Who is it?\" asked Tom. \"A friend,\" said Mia. \"Come in!\" He laughed.");
  EXPECT_EQ(finish_text("it's a dog\nand a ant"), "It's a dog\nAnd an ant");
}

TEST(Grammar, TellsWithMemoryTenseAndForms) {
  const Grammar grammar({"story = {A:who} <carry> a {x:thing}. {A.he} <like> {A.his} {x}. two {x.s}. {n:num} and {m:num} are {=n+m}.\n"
                         "who = Mia~f\nthing = box\nnum = five\n"});
  Rng rng(1);
  EXPECT_EQ(Telling(grammar, rng, true).tell("story"), "Mia carried a box. She liked her box. Two boxes. Five and five are ten.");
  EXPECT_EQ(Telling(grammar, rng, false).tell("story"), "Mia carries a box. She likes her box. Two boxes. Five and five are ten.");
}

TEST(Grammar, WeightsAndDifferences) {
  const Grammar grammar({"a = 3* x | y\npair = {p:a}{q:a!p}\n"});
  EXPECT_EQ(grammar.alternatives("a").size(), 4u);
  Rng rng(2);
  for (int i = 0; i < 50; ++i) {
    const auto pair = Telling(grammar, rng, false).expand("[pair]");
    EXPECT_TRUE(pair == "xy" || pair == "yx") << pair;
  }
}

TEST(Grammar, RefusesBrokenRules) {
  Rng rng(1);
  const auto error = [&](const char* rules) {
    return testing::error_of([&] { const Grammar g({rules}); Telling(g, rng, false).tell("a"); }, Fault::Internal);
  };
  EXPECT_NE(error("a = [b]").find("no rule 'b'"), std::string::npos);
  EXPECT_NE(error("a = (x").find("stays open"), std::string::npos);
  EXPECT_NE(error("a = x\na = y").find("stands twice"), std::string::npos);
  EXPECT_NE(error("a = {b}").find("stands for nothing"), std::string::npos);
  EXPECT_NE(error("a = y [a]").find("without end"), std::string::npos);
}

// The names of rules that the alternatives of a rule use.
std::set<std::string> used_rules(const std::string& text) {
  std::set<std::string> names;
  for (size_t i = 0; i < text.size(); ++i) {
    size_t start = std::string::npos;
    if (text[i] == '[') start = i + 1;
    if (text[i] == '{') {
      const size_t end = text.find('}', i), colon = text.find(':', i);
      if (colon < end) start = colon + 1;
    }
    if (start != std::string::npos) names.insert(text.substr(start, text.find_first_of("].!}", start) - start));
  }
  return names;
}

TEST(Corpus, EveryRuleIsKnownAndUsed) {
  const auto rules = prose_grammar().rules();
  std::set<std::string> used = {"text"};
  for (const auto& rule : rules)
    for (const auto& alternative : prose_grammar().alternatives(rule))
      for (const auto& name : used_rules(alternative)) used.insert(name);
  EXPECT_GT(rules.size(), 150u);
  EXPECT_EQ(used, std::set<std::string>(rules.begin(), rules.end()));
}

TEST(Corpus, IsReadableAndVaried) {
  Rng rng(5);
  std::set<std::string> documents, words;
  for (int i = 0; i < 4000; ++i) {
    const std::string document = make_document(rng);
    ASSERT_EQ(document.find_first_of("[]{}<>()|~/="), std::string::npos) << document;
    ASSERT_EQ(document.find("  "), std::string::npos) << document;
    ASSERT_TRUE(std::isupper(static_cast<unsigned char>(document[0])) || document[0] == '"') << document;
    ASSERT_LT(document.size(), 2000u);
    for (const char* wrong : {" a apple", " an car", " he are ", " the the ", " a a ", "..", ",.", "?."}) ASSERT_EQ(document.find(wrong), std::string::npos) << document;
    documents.insert(document);
    for (size_t start = 0; start < document.size();) {
      const size_t end = std::min(document.find_first_of(" .,!?\"\n", start), document.size());
      if (end > start) words.insert(document.substr(start, end - start));
      start = end + 1;
    }
  }
  EXPECT_GT(documents.size(), 3950u);
  EXPECT_GT(words.size(), 1200u);
}

// The corpus is the same everywhere. A change of the rules changes these numbers: the base must then be trained anew.
TEST(Corpus, IsTheSameOnEveryMachine) {
  Rng rng(1);
  std::string text;
  for (int i = 0; i < 100; ++i) text += make_document(rng) + "\n\n";
  EXPECT_EQ(hash_bytes(text), 13974004064900102777u);
}

}  // namespace
}  // namespace graft
