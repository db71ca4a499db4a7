// Porter's stemmer (M. F. Porter, An algorithm for suffix stripping, Program 14, 1980), with the changes that Porter made later
// and the extensions that NLTK switches on by default; ROUGE's reference implementation stems this way.
#include <initializer_list>
#include <string>
#include <string_view>

#include "eval/rouge.h"

namespace graft {
namespace {

bool is_vowel(char c) {
  return c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u';
}

// A stem seen as consonants and vowels; y is a consonant at the start and after a vowel.
struct Shape {
  std::string kinds;  // 'c' or 'v' per letter
  explicit Shape(std::string_view stem) {
    for (const char letter : stem) {
      const bool consonant = letter == 'y' ? kinds.empty() || kinds.back() == 'v' : !is_vowel(letter);
      kinds += consonant ? 'c' : 'v';
    }
  }
  int measure() const {  // how often a vowel is followed by a consonant
    int m = 0;
    for (size_t i = 1; i < kinds.size(); ++i) m += kinds[i - 1] == 'v' && kinds[i] == 'c';
    return m;
  }
  bool has_vowel() const { return kinds.find('v') != std::string::npos; }
  bool ends_in_consonant() const { return !kinds.empty() && kinds.back() == 'c'; }
};

int measure(std::string_view stem) {
  return Shape(stem).measure();
}

// Consonant, vowel, consonant other than w, x, y at the end; or just vowel, consonant as a whole word.
bool ends_short(std::string_view stem) {
  const std::string kinds = Shape(stem).kinds;
  if (kinds == "vc") return true;
  return kinds.size() >= 3 && kinds.substr(kinds.size() - 3) == "cvc" &&
         std::string_view("wxy").find(stem.back()) == std::string_view::npos;
}

struct Rule {
  std::string_view suffix, replacement;
};

// The first rule whose suffix fits decides; it applies only where `allowed(stem, rule)`.
template <class Allowed>
bool apply_first(std::string& word, std::initializer_list<Rule> rules, Allowed&& allowed) {
  for (const Rule& rule : rules) {
    if (!word.ends_with(rule.suffix)) continue;
    const std::string_view stem = std::string_view(word).substr(0, word.size() - rule.suffix.size());
    if (!allowed(stem, rule)) return false;
    word = std::string(stem) + std::string(rule.replacement);
    return true;
  }
  return false;
}

bool always(std::string_view, const Rule&) {
  return true;
}
bool positive_measure(std::string_view stem, const Rule&) {
  return measure(stem) > 0;
}

void plurals(std::string& word) {  // step 1a
  if (word.size() == 4 && word.ends_with("ies"))
    word.pop_back();
  else
    apply_first(word, {{"sses", "ss"}, {"ies", "i"}, {"ss", "ss"}, {"s", ""}}, always);
}

void past_and_gerund(std::string& word) {  // step 1b
  if (word.ends_with("ied")) {
    word.resize(word.size() - (word.size() == 4 ? 1 : 2));
    return;
  }
  if (word.ends_with("eed")) {
    if (measure(std::string_view(word).substr(0, word.size() - 3)) > 0) word.pop_back();
    return;
  }
  const auto with_vowel = [](std::string_view stem, const Rule&) { return Shape(stem).has_vowel(); };
  if (!apply_first(word, {{"ed", ""}}, with_vowel) && !apply_first(word, {{"ing", ""}}, with_vowel)) return;
  if (apply_first(word, {{"at", "ate"}, {"bl", "ble"}, {"iz", "ize"}}, always)) return;
  const char last = word.back();
  if (word.size() >= 2 && word[word.size() - 2] == last && Shape(word).ends_in_consonant()) {
    if (last != 'l' && last != 's' && last != 'z') word.pop_back();
  } else if (measure(word) == 1 && ends_short(word)) {
    word += 'e';
  }
}

void final_y(std::string& word) {  // step 1c
  apply_first(word, {{"y", "i"}},
              [](std::string_view stem, const Rule&) { return stem.size() > 1 && Shape(stem).ends_in_consonant(); });
}

void double_suffixes(std::string& word) {  // step 2
  while (word.ends_with("alli") && measure(std::string_view(word).substr(0, word.size() - 4)) > 0) word.resize(word.size() - 2);
  apply_first(
      word, {{"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"},   {"anci", "ance"},   {"izer", "ize"},    {"bli", "ble"},
             {"alli", "al"},     {"entli", "ent"},   {"eli", "e"},       {"ousli", "ous"},   {"ization", "ize"}, {"ation", "ate"},
             {"ator", "ate"},    {"alism", "al"},    {"iveness", "ive"}, {"fulness", "ful"}, {"ousness", "ous"}, {"aliti", "al"},
             {"iviti", "ive"},   {"biliti", "ble"},  {"fulli", "ful"},   {"logi", "log"}},
      [&](std::string_view stem, const Rule& rule) {
        return measure(rule.suffix == "logi" ? std::string_view(word).substr(0, word.size() - 3) : stem) > 0;
      });
}

void adjectives(std::string& word) {  // step 3
  apply_first(word, {{"icate", "ic"}, {"ative", ""}, {"alize", "al"}, {"iciti", "ic"}, {"ical", "ic"}, {"ful", ""}, {"ness", ""}},
              positive_measure);
}

void single_suffixes(std::string& word) {  // step 4
  apply_first(word,
              {{"al", ""},
               {"ance", ""},
               {"ence", ""},
               {"er", ""},
               {"ic", ""},
               {"able", ""},
               {"ible", ""},
               {"ant", ""},
               {"ement", ""},
               {"ment", ""},
               {"ent", ""},
               {"ion", ""},
               {"ou", ""},
               {"ism", ""},
               {"ate", ""},
               {"iti", ""},
               {"ous", ""},
               {"ive", ""},
               {"ize", ""}},
              [](std::string_view stem, const Rule& rule) {
                return measure(stem) > 1 && (rule.suffix != "ion" || stem.ends_with('s') || stem.ends_with('t'));
              });
}

void tidy(std::string& word) {  // step 5
  if (word.ends_with('e')) {
    const std::string_view stem = std::string_view(word).substr(0, word.size() - 1);
    const int m = measure(stem);
    if (m > 1 || (m == 1 && !ends_short(stem))) word.pop_back();
  }
  if (word.ends_with("ll") && measure(std::string_view(word).substr(0, word.size() - 1)) > 1) word.pop_back();
}

std::string_view irregular(std::string_view word) {
  struct Form {
    std::string_view word, stem;
  };
  static constexpr Form kForms[] = {
      {"sky", "sky"},        {"skies", "sky"},       {"dying", "die"},        {"lying", "lie"},
      {"tying", "tie"},      {"news", "news"},       {"innings", "inning"},   {"inning", "inning"},
      {"outings", "outing"}, {"outing", "outing"},   {"cannings", "canning"}, {"canning", "canning"},
      {"howe", "howe"},      {"proceed", "proceed"}, {"exceed", "exceed"},    {"succeed", "succeed"}};
  for (const auto& form : kForms)
    if (form.word == word) return form.stem;
  return {};
}

}  // namespace

std::string porter_stem(std::string word) {
  if (const auto stem = irregular(word); !stem.empty()) return std::string(stem);
  if (word.size() <= 2) return word;
  for (const auto step : {plurals, past_and_gerund, final_y, double_suffixes, adjectives, single_suffixes, tidy}) step(word);
  return word;
}

}  // namespace graft
