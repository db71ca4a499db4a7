// Three expressions by hand, since most byte-level tokenizers have one of them and matching is where their time goes.
// A general engine remains the twin of each: tests compare them.
#include <array>

#include "tokenizer/pattern.h"
#include "tokenizer/unicode.h"

namespace graft {

const char* const kGpt2Expression = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

constexpr const char* kLlama3Expression =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2Expression =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

enum class Kind : uint8_t { Letter, Number, Space, Other };

Kind kind_of(uint32_t code) {
  const uint16_t flags = character_flags(code);
  if (flags & kRegexLetter) return Kind::Letter;
  if (flags & kRegexNumber) return Kind::Number;
  return flags & kWhitespace ? Kind::Space : Kind::Other;
}

Kind kind_at(std::string_view text, size_t at, size_t* length) {
  static const std::array<Kind, 128> ascii = [] {
    std::array<Kind, 128> kinds{};
    for (uint32_t c = 0; c < 128; ++c) kinds[c] = kind_of(c);
    return kinds;
  }();
  const auto first = static_cast<unsigned char>(text[at]);
  if (first < 128) {
    *length = 1;
    return ascii[first];
  }
  return kind_of(decode_utf8(text, at, length));
}

size_t run_of(std::string_view text, size_t at, Kind kind) {
  for (size_t n = 0; at < text.size() && kind_at(text, at, &n) == kind; at += n) {
  }
  return at;
}

// \s+(?!\S)|\s+ for a run of white space: the last one is left to what follows.
size_t spaces_before_text(std::string_view text, size_t begin, size_t end) {
  if (end == text.size()) return end;
  const size_t last = utf8_before(text, end, begin);
  return last > begin ? last : end;
}

size_t contraction(std::string_view text, size_t at, bool any_case) {
  const auto lower = [&](size_t i) {
    const char c = i < text.size() ? text[i] : '\0';
    return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  const char a = lower(at + 1), b = lower(at + 2);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return at + 2;
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return at + 3;
  if (any_case && text.substr(at + 1, 2) == "\xC5\xBF") return at + 3;  // the long s
  return 0;
}

size_t run_of_breaks(std::string_view text, size_t at) {
  while (at < text.size() && (text[at] == '\r' || text[at] == '\n')) ++at;
  return at;
}

template <int kDigits>
size_t cl100k_matcher(std::string_view text, size_t at) {
  if (text[at] == '\'')
    if (const size_t end = contraction(text, at, true)) return end;
  size_t n = 0, m = 0;
  const Kind kind = kind_at(text, at, &n);
  if (kind == Kind::Letter) return run_of(text, at + n, Kind::Letter);
  if (kind == Kind::Number) {
    at += n;
    for (int i = 1; i < kDigits && at < text.size() && kind_at(text, at, &n) == Kind::Number; ++i) at += n;
    return at;
  }
  const bool line_break = text[at] == '\r' || text[at] == '\n';
  if (!line_break && at + n < text.size()) {
    const Kind next = kind_at(text, at + n, &m);
    if (next == Kind::Letter) return run_of(text, at + n + m, Kind::Letter);
    if (text[at] == ' ' && next == Kind::Other) return run_of_breaks(text, run_of(text, at + 1, Kind::Other));
  }
  if (kind == Kind::Other) return run_of_breaks(text, run_of(text, at, Kind::Other));
  const size_t end = run_of(text, at, Kind::Space);
  for (size_t i = end; i > at; --i)
    if (text[i - 1] == '\r' || text[i - 1] == '\n') return i;
  return spaces_before_text(text, at, end);
}

}  // namespace

size_t gpt2_matcher(std::string_view text, size_t at) {
  if (text[at] == '\'')
    if (const size_t end = contraction(text, at, false)) return end;
  size_t n = 0;
  Kind kind = kind_at(text, at, &n);
  if (kind != Kind::Space) return run_of(text, at + n, kind);
  if (text[at] == ' ' && at + 1 < text.size()) {
    kind = kind_at(text, at + 1, &n);
    if (kind != Kind::Space) return run_of(text, at + 1 + n, kind);
  }
  return spaces_before_text(text, at, run_of(text, at, Kind::Space));
}

Pattern::Matcher hand_written_matcher(std::string_view expression) {
  if (expression == kGpt2Expression) return gpt2_matcher;
  if (expression == kLlama3Expression) return cl100k_matcher<3>;
  if (expression == kQwen2Expression) return cl100k_matcher<1>;
  return nullptr;
}

}  // namespace graft
