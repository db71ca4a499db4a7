#include "embedded/grammar/english.h"

#include <array>
#include <cctype>
#include <map>

namespace graft {
namespace {

// base -> past, participle. Verbs that double their consonant stand here too: no rule tells "stop" from "visit".
const std::map<std::string, std::array<const char*, 2>, std::less<>> kIrregular = {
    {"be", {"was", "been"}},          {"have", {"had", "had"}},         {"do", {"did", "done"}},
    {"go", {"went", "gone"}},         {"come", {"came", "come"}},       {"see", {"saw", "seen"}},
    {"take", {"took", "taken"}},      {"give", {"gave", "given"}},      {"get", {"got", "got"}},
    {"make", {"made", "made"}},       {"find", {"found", "found"}},     {"know", {"knew", "known"}},
    {"think", {"thought", "thought"}}, {"say", {"said", "said"}},       {"tell", {"told", "told"}},
    {"run", {"ran", "run"}},          {"sit", {"sat", "sat"}},          {"stand", {"stood", "stood"}},
    {"eat", {"ate", "eaten"}},        {"drink", {"drank", "drunk"}},    {"sleep", {"slept", "slept"}},
    {"buy", {"bought", "bought"}},    {"sell", {"sold", "sold"}},       {"pay", {"paid", "paid"}},
    {"bring", {"brought", "brought"}}, {"catch", {"caught", "caught"}}, {"hold", {"held", "held"}},
    {"keep", {"kept", "kept"}},       {"lose", {"lost", "lost"}},       {"break", {"broke", "broken"}},
    {"sing", {"sang", "sung"}},       {"swim", {"swam", "swum"}},       {"fly", {"flew", "flown"}},
    {"fall", {"fell", "fallen"}},     {"feel", {"felt", "felt"}},       {"hear", {"heard", "heard"}},
    {"leave", {"left", "left"}},      {"meet", {"met", "met"}},         {"read", {"read", "read"}},
    {"write", {"wrote", "written"}},  {"draw", {"drew", "drawn"}},      {"build", {"built", "built"}},
    {"cut", {"cut", "cut"}},          {"put", {"put", "put"}},          {"hide", {"hid", "hidden"}},
    {"win", {"won", "won"}},          {"throw", {"threw", "thrown"}},   {"grow", {"grew", "grown"}},
    {"blow", {"blew", "blown"}},      {"shine", {"shone", "shone"}},    {"begin", {"began", "begun"}},
    {"wake", {"woke", "woken"}},      {"ride", {"rode", "ridden"}},     {"feed", {"fed", "fed"}},
    {"send", {"sent", "sent"}},       {"lend", {"lent", "lent"}},       {"speak", {"spoke", "spoken"}},
    {"wear", {"wore", "worn"}},       {"choose", {"chose", "chosen"}},  {"spend", {"spent", "spent"}},
    {"stop", {"stopped", "stopped"}}, {"hug", {"hugged", "hugged"}},    {"drop", {"dropped", "dropped"}},
    {"plan", {"planned", "planned"}}, {"clap", {"clapped", "clapped"}}, {"nod", {"nodded", "nodded"}},
    {"dig", {"dug", "dug"}},          {"rise", {"rose", "risen"}},      {"let", {"let", "let"}},
    {"forget", {"forgot", "forgotten"}}, {"understand", {"understood", "understood"}}, {"hop", {"hopped", "hopped"}},
    {"lie", {"lay", "lain"}},         {"fight", {"fought", "fought"}},  {"sink", {"sank", "sunk"}},     {"travel", {"travelled", "travelled"}},
    {"sweep", {"swept", "swept"}},    {"become", {"became", "become"}},   {"cost", {"cost", "cost"}},         {"shake", {"shook", "shaken"}},  {"light", {"lit", "lit"}},           {"hang", {"hung", "hung"}},
};

const std::map<std::string, const char*, std::less<>> kPlurals = {
    {"child", "children"}, {"mouse", "mice"}, {"sheep", "sheep"}, {"deer", "deer"},   {"fish", "fish"},     {"goose", "geese"},
    {"leaf", "leaves"},    {"loaf", "loaves"}, {"knife", "knives"}, {"shelf", "shelves"}, {"wolf", "wolves"},
    {"man", "men"},        {"woman", "women"}, {"potato", "potatoes"}, {"tomato", "tomatoes"}, {"foot", "feet"},
};

constexpr std::array<const char*, 20> kSmall = {"zero",    "one",     "two",       "three",    "four",     "five",    "six",
                                                "seven",   "eight",   "nine",      "ten",      "eleven",   "twelve",  "thirteen",
                                                "fourteen", "fifteen", "sixteen",  "seventeen", "eighteen", "nineteen"};
constexpr std::array<const char*, 10> kTens = {"", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"};

// Whether the words after closed speech say who speaks: `said Tom`, `he asked`.
bool names_speaker(std::string_view rest) {
  for (int word = 0; word < 2; ++word) {
    const size_t start = rest.find_first_not_of(' ');
    if (start == std::string_view::npos) return false;
    rest.remove_prefix(start);
    const std::string_view first = rest.substr(0, rest.find_first_of(" ,.!?\"\n"));
    for (const std::string_view verb : {"says", "said", "asks", "asked", "answers", "answered", "writes", "wrote"})
      if (first == verb) return true;
    rest.remove_prefix(first.size());
  }
  return false;
}

bool vowel(char c) { return std::string_view("aeiou").find(static_cast<char>(std::tolower(static_cast<unsigned char>(c)))) != std::string_view::npos; }
bool letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }
bool ends_with_y_after_consonant(std::string_view w) { return w.size() > 1 && w.back() == 'y' && !vowel(w[w.size() - 2]); }
bool hisses(std::string_view w) {
  return w.ends_with("s") || w.ends_with("x") || w.ends_with("z") || w.ends_with("ch") || w.ends_with("sh");
}
std::string with_s(std::string_view word) {
  std::string w(word);
  if (ends_with_y_after_consonant(w)) return w.substr(0, w.size() - 1) + "ies";
  return w + (hisses(w) || w.ends_with("o") ? "es" : "s");
}
std::string gerund(const std::string& w, bool doubled) {
  if (w == "be") return "being";
  if (w == "lie") return "lying";
  if (doubled) return w + w.back() + "ing";
  if (w.size() > 2 && w.back() == 'e' && w[w.size() - 2] != 'e') return w.substr(0, w.size() - 1) + "ing";
  return w + "ing";
}
std::string regular_past(const std::string& w) {
  if (w.back() == 'e') return w + "d";
  if (ends_with_y_after_consonant(w)) return w.substr(0, w.size() - 1) + "ied";
  return w + "ed";
}
// Irregular verbs of one short closed syllable double their consonant before "ing"; regular doublers have it in the past.
bool doubles(const std::string& w, const char* past) {
  const std::string_view p = past;
  if (p == w + w.back() + "ed") return true;
  for (const char* known : {"run", "sit", "get", "put", "cut", "win", "swim", "begin", "dig", "let", "forget"})
    if (w == known) return true;
  return false;
}

}  // namespace

std::string verb_form(std::string_view base, VerbForm form) {
  const std::string w(base);
  const auto irregular = kIrregular.find(base);
  switch (form) {
    case VerbForm::Base: return w == "be" ? "are" : w;
    case VerbForm::ThirdPerson: return w == "be" ? "is" : w == "have" ? "has" : with_s(w);
    case VerbForm::PastPlural:
      if (w == "be") return "were";
      [[fallthrough]];
    case VerbForm::Past: return irregular != kIrregular.end() ? irregular->second[0] : regular_past(w);
    case VerbForm::Participle: return irregular != kIrregular.end() ? irregular->second[1] : regular_past(w);
    case VerbForm::Gerund: return gerund(w, irregular != kIrregular.end() && doubles(w, irregular->second[0]));
  }
  return w;
}

std::string phrase_form(std::string_view phrase, VerbForm form) {
  const size_t space = std::min(phrase.find(' '), phrase.size());
  return verb_form(phrase.substr(0, space), form) + std::string(phrase.substr(space));
}

std::string plural(std::string_view noun) {
  const size_t space = noun.rfind(' ');
  const std::string head(space == std::string_view::npos ? std::string_view() : noun.substr(0, space + 1));
  const std::string_view last = space == std::string_view::npos ? noun : noun.substr(space + 1);
  if (const auto found = kPlurals.find(last); found != kPlurals.end()) return head + found->second;
  return head + with_s(last);
}

std::string number_word(int value) {
  if (value < 0 || value > 99) return std::to_string(value);
  if (value < 20) return kSmall[value];
  return std::string(kTens[value / 10]) + (value % 10 ? std::string("-") + kSmall[value % 10] : "");
}

int number_value(std::string_view word) {
  for (int value = 0; value < 100; ++value)
    if (number_word(value) == word) return value;
  return -1;
}

std::string finish_text(std::string_view text) {
  std::string spaced;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '~' && i + 1 < text.size()) {  // a gender tag: see grammar.h
      ++i;
      continue;
    }
    if (c == ' ' && (spaced.empty() || spaced.back() == ' ' || spaced.back() == '\n')) continue;
    if (std::string_view(".,!?;:\n").find(c) != std::string_view::npos)
      while (!spaced.empty() && spaced.back() == ' ') spaced.pop_back();
    spaced += c;
  }
  while (!spaced.empty() && (spaced.back() == ' ' || spaced.back() == '\n')) spaced.pop_back();

  std::string out;
  bool capital = true, in_speech = false;
  for (size_t i = 0; i < spaced.size(); ++i) {
    const char c = spaced[i];
    const bool starts_word = letter(c) && (i == 0 || !(letter(spaced[i - 1]) || spaced[i - 1] == '\'' || spaced[i - 1] == '-'));
    if (c == '"') {
      in_speech = !in_speech;
      if (in_speech) {
        capital = true;
      } else {  // "Where?" asked Tom. "Here," said Mia. She laughed.
        const bool speaker = names_speaker(std::string_view(spaced).substr(i + 1));
        capital = !out.empty() && !speaker && std::string_view(".!?").find(out.back()) != std::string_view::npos;
        if (speaker && !out.empty() && out.back() == '.') out.back() = ',';
      }
    }
    out += capital && starts_word ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
    if (starts_word) capital = false;
    if (c == '.' || c == '!' || c == '?' || c == '\n') capital = true;
    if (starts_word && std::tolower(static_cast<unsigned char>(c)) == 'a' && i + 2 < spaced.size() && spaced[i + 1] == ' ' && vowel(spaced[i + 2]))
      out += 'n';
  }
  return out;
}

}  // namespace graft
