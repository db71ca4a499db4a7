// What is known about code points: the encoded tables, made ready at first use, and what utf8proc adds to them.
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <map>

#include "core/check.h"
#include "tokenizer/unicode.h"
#include "tokenizer/unicode_tables.h"

namespace graft {
namespace {

constexpr uint32_t kCodes = 0x110000, kPage = 256;
constexpr std::array kCategories = {"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe",
                                    "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Co", "Cn"};

class Numbers {
 public:
  explicit Numbers(const char* text) : at_(text) {}
  bool more() const { return *at_; }
  uint32_t next() {
    uint32_t number = 0;
    for (int shift = 0;; shift += 5) {
      const uint32_t digit = value(*at_++);
      number |= (digit & 31) << shift;
      if (!(digit & 32)) return number;
    }
  }

 private:
  static uint32_t value(char c) {
    if (c >= 'A' && c <= 'Z') return static_cast<uint32_t>(c - 'A');
    if (c >= 'a' && c <= 'z') return static_cast<uint32_t>(c - 'a') + 26;
    if (c >= '0' && c <= '9') return static_cast<uint32_t>(c - '0') + 52;
    return c == '+' ? 62 : 63;
  }
  const char* at_;
};

CodeRanges read_set(const char* text) {
  CodeRanges ranges;
  uint32_t at = 0;
  for (Numbers numbers(text); numbers.more();) {
    const uint32_t begin = at + numbers.next();
    at = begin + numbers.next();
    ranges.emplace_back(begin, at);
  }
  return ranges;
}

// The flags of all code points in two steps: page of 256, then the code point in it; equal pages are kept once.
struct FlagTable {
  std::array<uint16_t, kCodes / kPage> page{};
  std::vector<uint16_t> flags;

  FlagTable() {
    std::vector<uint16_t> all(kCodes);
    const auto mark = [&](const CodeRanges& ranges, uint16_t flag) {
      for (auto& [begin, end] : ranges)
        for (uint32_t c = begin; c < end; ++c) all[c] |= flag;
    };
    using namespace unicode_tables;
    mark(read_set(kWhitespaceSet), kWhitespace);
    mark(read_set(kWordSet), kWord);
    mark(read_set(kNumericSet), kNumeric);
    mark(read_set(kPunctuationSet), kPunctuation);
    mark(read_set(kAccentSet), kAccent);
    mark(read_set(kBertAccentSet), kBertAccent);
    mark(read_set(kBertControlSet), kBertControl);
    mark(read_set(kInertSet), kInert);
    mark(regex_property("L"), kRegexLetter);
    mark(regex_property("N"), kRegexNumber);
    std::map<std::vector<uint16_t>, uint16_t> known;
    for (uint32_t p = 0; p < page.size(); ++p) {
      std::vector<uint16_t> content(all.begin() + p * kPage, all.begin() + (p + 1) * kPage);
      const auto [found, fresh] = known.emplace(content, static_cast<uint16_t>(known.size()));
      if (fresh) flags.insert(flags.end(), content.begin(), content.end());
      page[p] = found->second;
    }
  }
};

struct ScriptRun {
  uint32_t begin, end;
  int script;
};

const std::vector<ScriptRun>& script_runs() {
  static const std::vector<ScriptRun> runs = [] {
    std::vector<ScriptRun> all;
    uint32_t at = 0;
    for (Numbers numbers(unicode_tables::kScriptRuns); numbers.more();) {
      const uint32_t begin = at + numbers.next();
      at = begin + numbers.next();
      all.push_back({begin, at, static_cast<int>(numbers.next())});
    }
    return all;
  }();
  return runs;
}

const std::vector<std::pair<uint32_t, uint32_t>>& lowercase_pairs() {
  static const std::vector<std::pair<uint32_t, uint32_t>> pairs = [] {
    std::vector<std::pair<uint32_t, uint32_t>> all;
    uint32_t at = 0;
    for (Numbers numbers(unicode_tables::kLowercaseRuns); numbers.more();) {
      at += numbers.next();
      const uint32_t count = numbers.next(), stride = numbers.next(), folded = numbers.next();
      const uint32_t difference = folded & 1 ? 0u - (folded + 1) / 2 : folded / 2;
      for (uint32_t i = 0; i < count; ++i) all.emplace_back(at + i * stride, at + i * stride + difference);
    }
    return all;
  }();
  return pairs;
}

}  // namespace

uint16_t character_flags(uint32_t code) {
  static const FlagTable table;
  return code < kCodes ? table.flags[static_cast<size_t>(table.page[code / kPage]) * kPage + code % kPage] : uint16_t{0};
}

CodeRanges regex_property(std::string_view name) {
  if (name == "w") return read_set(unicode_tables::kRegexWordSet);
  CodeRanges ranges;
  uint32_t at = 0;
  for (Numbers numbers(unicode_tables::kCategoryRuns); numbers.more();) {
    const uint32_t end = at + numbers.next();
    const std::string_view category = kCategories[numbers.next()];
    const bool hit = category == name || (name.size() == 1 && category[0] == name[0]);
    if (hit && !ranges.empty() && ranges.back().second == at)
      ranges.back().second = end;
    else if (hit)
      ranges.emplace_back(at, end);
    at = end;
  }
  return ranges;
}

int script_of(uint32_t code) {
  const auto& runs = script_runs();
  const auto after =
      std::upper_bound(runs.begin(), runs.end(), code, [](uint32_t c, const ScriptRun& run) { return c < run.begin; });
  return after != runs.begin() && code < std::prev(after)->end ? std::prev(after)->script : -1;
}

std::string lowercase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  const auto& pairs = lowercase_pairs();
  for (size_t at = 0, n = 0; at < text.size(); at += n) {
    const uint32_t code = decode_utf8(text, at, &n);
    if (code < 0x80) {
      out += static_cast<char>(code >= 'A' && code <= 'Z' ? code + 32 : code);
      continue;
    }
    if (code == 0x130) {  // the only one that becomes two characters
      out += "i\xCC\x87";
      continue;
    }
    const auto found = std::lower_bound(pairs.begin(), pairs.end(), code, [](auto& pair, uint32_t c) { return pair.first < c; });
    append_utf8(out, found != pairs.end() && found->first == code ? found->second : code);
  }
  return out;
}

void remove_characters(std::string& text, uint16_t flags) {
  size_t to = 0;
  for (size_t at = 0, n = 0; at < text.size(); at += n) {
    if (character_flags(decode_utf8(text, at, &n)) & flags) continue;
    std::memmove(&text[to], &text[at], n);
    to += n;
  }
  text.resize(to);
}

std::string normalize_unicode(std::string_view text, UnicodeForm form) {
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; }))
    return std::string(text);
  int options = UTF8PROC_STABLE;
  options |= form == UnicodeForm::C || form == UnicodeForm::KC ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  if (form == UnicodeForm::KC || form == UnicodeForm::KD) options |= UTF8PROC_COMPAT;
  std::string out;
  const auto flush = [&](std::string_view run) {
    if (run.empty()) return;
    utf8proc_uint8_t* result = nullptr;
    const auto length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(run.data()),
                                     static_cast<utf8proc_ssize_t>(run.size()), &result, static_cast<utf8proc_option_t>(options));
    if (length < 0) fail(Fault::Internal, "tokenizer", fmt::format("Unicode normalisation failed: {}", utf8proc_errmsg(length)));
    out.append(reinterpret_cast<char*>(result), static_cast<size_t>(length));
    std::free(result);
  };
  // A code point that the reference does not know is a starter that combines with nothing, so the text falls apart there.
  size_t begin = 0;
  for (size_t at = 0, n = 0; at < text.size(); at += n) {
    if (!(character_flags(decode_utf8(text, at, &n)) & kInert)) continue;
    flush(text.substr(begin, at - begin));
    out.append(text, at, n);
    begin = at + n;
  }
  flush(text.substr(begin));
  return out;
}

size_t grapheme_end(std::string_view text, size_t at) {
  size_t n = 0;
  utf8proc_int32_t state = 0, last = static_cast<utf8proc_int32_t>(decode_utf8(text, at, &n));
  for (at += n; at < text.size(); at += n) {
    const auto code = static_cast<utf8proc_int32_t>(decode_utf8(text, at, &n));
    if (utf8proc_grapheme_break_stateful(last, code, &state)) break;
    last = code;
  }
  return at;
}

}  // namespace graft
