// From Oniguruma's syntax of expressions to PCRE2's. Most is the same; properties and \s \w \d \h differ in the code points that
// they hold, since the libraries know different versions of Unicode, (?m) is PCRE2's (?s), and classes within classes do not
// exist in PCRE2.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <map>
#include <mutex>

#include "core/check.h"
#include "tokenizer/pattern.h"
#include "tokenizer/unicode.h"

namespace graft {
namespace {

constexpr uint32_t kEnd = 0x110000;

// What PCRE2 itself takes a property for.
CodeRanges pcre2_property(const std::string& name) {
  const std::string expression = "\\p{" + name + "}";
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(), PCRE2_UTF | PCRE2_UCP,
                                   &error, &offset, nullptr);
  CodeRanges ranges;
  if (!code) return ranges;
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  std::string text;
  for (uint32_t c = 0; c < kEnd; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    text.clear();
    append_utf8(text, c);
    const int hit =
        pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, PCRE2_NO_UTF_CHECK, data, nullptr);
    if (hit < 0) continue;
    if (!ranges.empty() && ranges.back().second == c)
      ranges.back().second = c + 1;
    else
      ranges.emplace_back(c, c + 1);
  }
  pcre2_match_data_free(data);
  pcre2_code_free(code);
  return ranges;
}

CodeRanges complement(const CodeRanges& ranges) {
  CodeRanges out;
  uint32_t at = 0;
  for (auto& [begin, end] : ranges) {
    if (begin > at) out.emplace_back(at, begin);
    at = end;
  }
  if (at < kEnd) out.emplace_back(at, kEnd);
  return out;
}

// a without b.
CodeRanges without(const CodeRanges& a, const CodeRanges& b) {
  CodeRanges out;
  size_t j = 0;
  for (auto [begin, end] : a) {
    while (j < b.size() && b[j].second <= begin) ++j;
    for (size_t k = j; k < b.size() && b[k].first < end; ++k) {
      if (b[k].first > begin) out.emplace_back(begin, b[k].first);
      begin = std::max(begin, b[k].second);
    }
    if (begin < end) out.emplace_back(begin, end);
  }
  return out;
}

std::string in_class(const CodeRanges& ranges) {
  std::string out;
  for (auto [begin, end] : ranges) {
    if (begin >= 0xD800 && begin < 0xE000) begin = 0xE000;  // no surrogates at an end
    if (end > 0xD800 && end <= 0xE000) end = 0xD800;
    if (begin >= end) continue;
    out += fmt::format("\\x{{{:x}}}", begin);
    if (end - begin > 1) out += fmt::format("-\\x{{{:x}}}", end - 1);
  }
  return out;
}

// The inside of a class for a property of general categories. PCRE2's own property is used where it lacks no more than some
// ranges.
std::string property_class(const std::string& name, bool negative) {
  static std::mutex mutex;
  static std::map<std::string, std::string> known;
  const std::lock_guard lock(mutex);
  std::string& text = known[(negative ? "^" : "") + name];
  if (!text.empty()) return text;
  // Oniguruma's \w takes ² ³ ¹ ¼ ½ ¾ for word characters, but not where it stands in a class ("W" here).
  CodeRanges ours = regex_property(name == "W" ? "w" : name);
  if (name == "W") ours = without(ours, {{0xB2, 0xB4}, {0xB9, 0xBA}, {0xBC, 0xBF}});
  if (negative) return text = in_class(complement(ours));
  const CodeRanges theirs = pcre2_property(name);
  text =
      without(theirs, ours).empty() && !theirs.empty() ? "\\p{" + name + "}" + in_class(without(ours, theirs)) : in_class(ours);
  return text;
}

class Translator {
 public:
  Translator(const std::string& expression, const std::string& where) : in_(expression), where_(where) {}

  std::string run() {
    while (at_ < in_.size()) {
      if (in_[at_] == '\\')
        escape();
      else if (inside_)
        class_character();
      else
        plain();
    }
    return out_;
  }

 private:
  [[noreturn]] void refuse(const char* what) const {
    input_error("tokenizer",
                fmt::format("{}: the expression '{}' has {} at character {}, which is not supported", where_, in_, what, at_));
  }
  void plain() {
    const char c = in_[at_];
    if (c == '(') caseless_.push_back(caseless_.back());
    if (c == ')' && caseless_.size() > 1) caseless_.pop_back();
    if (in_.compare(at_, 2, "(?") == 0) return options();
    if (c == '[') return begin_class();
    if (caseless_.back()) check_folding();
    out_ += in_[at_++];
  }
  // Without regard to case Oniguruma also takes ß for ss, and so on: one character for two, which PCRE2 does not.
  void check_folding() {
    if (static_cast<unsigned char>(in_[at_]) >= 0x80) refuse("a character beyond ASCII without regard to case");
    std::string pair = in_.substr(at_, 2);
    for (char& c : pair) c = static_cast<char>(tolower(static_cast<unsigned char>(c)));
    for (const char* folded : {"ss", "ff", "fi", "fl", "st"})
      if (pair == folded) refuse("letters without regard to case that a ligature may stand for");
  }
  void begin_class() {
    inside_ = true;
    out_ += in_[at_++];
    if (at_ < in_.size() && in_[at_] == '^') out_ += in_[at_++];
    if (at_ < in_.size() && in_[at_] == ']') out_ += "\\]", ++at_;
  }
  void class_character() {
    const char c = in_[at_];
    if (in_.compare(at_, 2, "[:") == 0) refuse("a POSIX class");
    if (c == '[') refuse("a class within a class");
    if (in_.compare(at_, 2, "&&") == 0) refuse("an intersection of classes");
    if (c == ']') inside_ = false;
    out_ += c;
    ++at_;
  }
  // (?m) lets . match line breaks, as (?s) does in PCRE2.
  void options() {
    out_ += "(?";
    at_ += 2;
    size_t end = at_;
    while (end < in_.size() && (isalpha(static_cast<unsigned char>(in_[end])) || in_[end] == '-')) ++end;
    if (end >= in_.size() || (in_[end] != ':' && in_[end] != ')') || end == at_) return;
    bool on = true, caseless = caseless_.back();
    for (; at_ < end; ++at_) {
      if (in_[at_] == '-') on = false;
      if (in_[at_] == 'i') caseless = on;
      out_ += in_[at_] == 'm' ? 's' : in_[at_];
    }
    // (?i) without a group lasts until the group around it ends.
    if (in_[end] == ')') caseless_.pop_back();
    caseless_.back() = caseless;
    if (in_[end] == ')') caseless_.push_back(caseless);
  }
  void add(const std::string& name, bool negative) {
    if (inside_)
      out_ += property_class(name, negative);
    else
      out_ += (negative ? "[^" : "[") + property_class(name, false) + "]";
  }
  void escape() {
    if (at_ + 1 >= in_.size()) refuse("a single \\");
    const char c = in_[at_ + 1];
    const bool negative = isupper(static_cast<unsigned char>(c));
    switch (c) {
      case 'p':
      case 'P':
        return property();
      case 's':
      case 'S': {
        // White space never changes: written out, PCRE2 has one more.
        const char* spaces =
            "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}";
        if (inside_ && negative)
          out_ +=
              "\\x00-\\x08\\x0e-\\x1f\\x21-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}"
              "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}";
        else if (inside_)
          out_ += spaces;
        else
          out_ += (negative ? "[^" : "[") + std::string(spaces) + "]";
        break;
      }
      case 'd':
      case 'D':
        add("Nd", negative);
        break;
      case 'w':
      case 'W':
        add(inside_ ? "W" : "w", negative);
        break;
      case 'h':
      case 'H':
        if (inside_ && negative) refuse("\\H in a class");
        out_ += inside_ ? "0-9a-fA-F" : negative ? "[^0-9a-fA-F]" : "[0-9a-fA-F]";
        break;
      case 'b':
      case 'B': {
        if (inside_) {
          out_ += "\\x08";
          break;
        }
        const std::string word = "[" + property_class("w", false) + "]";
        out_ += negative ? "(?:(?<=" + word + ")(?=" + word + ")|(?<!" + word + ")(?!" + word + "))"
                         : "(?:(?<=" + word + ")(?!" + word + ")|(?<!" + word + ")(?=" + word + "))";
        break;
      }
      case 'u':
        if (at_ + 6 > in_.size()) refuse("an unfinished \\u");
        out_ += "\\x{" + in_.substr(at_ + 2, 4) + "}";
        at_ += 4;
        break;
      default:
        out_.append(in_, at_, 2);
    }
    at_ += 2;
  }
  void property() {
    const size_t open = at_ + 2, close = in_.find('}', open);
    if (open >= in_.size() || in_[open] != '{' || close == std::string::npos) refuse("a property without braces");
    std::string name = in_.substr(open + 1, close - open - 1);
    bool negative = in_[at_ + 1] == 'P';
    if (name.starts_with("^")) name.erase(0, 1), negative = !negative;
    static const std::map<std::string, std::string> kLongNames = {
        {"Letter", "L"}, {"Mark", "M"},      {"Number", "N"}, {"Punctuation", "P"}, {"Punct", "P"},
        {"Symbol", "S"}, {"Separator", "Z"}, {"Digit", "Nd"}, {"Lower", "Ll"},      {"Upper", "Lu"}};
    if (const auto found = kLongNames.find(name); found != kLongNames.end()) name = found->second;
    if (name != "w" && name != "W" && !regex_property(name).empty())
      add(name, negative);
    else
      out_ += fmt::format("\\{}{{{}}}", negative ? 'P' : 'p', name);  // scripts and the like
    at_ = close + 1;
  }

  const std::string& in_;
  const std::string& where_;
  std::string out_;
  std::vector<bool> caseless_{false};  // of the groups around
  size_t at_ = 0;
  bool inside_ = false;
};

}  // namespace

std::string pcre2_syntax(const std::string& expression, const std::string& where) {
  return Translator(expression, where).run();
}

}  // namespace graft
