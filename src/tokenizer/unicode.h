// UTF-8 and code points, with the reference's idea of Unicode: its libraries have several versions of it (unicode_tables.h).
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace graft {

// Length in bytes of the character that begins at text[at]; 1 for a byte that begins none.
size_t utf8_length(std::string_view text, size_t at);
uint32_t decode_utf8(std::string_view text, size_t at, size_t* length);
// Where the character before `at` begins, not before `floor`.
size_t utf8_before(std::string_view text, size_t at, size_t floor = 0);
void append_utf8(std::string& text, uint32_t code);
bool valid_utf8(std::string_view text);
// Each longest broken sequence becomes one U+FFFD, as Unicode recommends.
std::string repair_utf8(std::string_view text);

// What a code point is, by the library that asks.
enum CharacterFlag : uint16_t {
  kWhitespace = 1,
  kWord = 2,           // \w of the pre-tokenizer Whitespace and of added tokens that are single words
  kNumeric = 4,        // Digits
  kPunctuation = 8,    // Punctuation, BertPreTokenizer
  kAccent = 16,        // StripAccents
  kBertAccent = 32,    // BertNormalizer
  kBertControl = 64,   // BertNormalizer
  kInert = 128,        // untouched by normalization forms
  kRegexLetter = 256,  // \p{L} of Split
  kRegexNumber = 512,  // \p{N} of Split
};
uint16_t character_flags(uint32_t code);
inline bool is_whitespace(uint32_t code) {
  return character_flags(code) & kWhitespace;
}
inline bool is_word(uint32_t code) {
  return character_flags(code) & kWord;
}

// Runs [begin, end) of code points of a general category ("Lu", or "L" for all of them), or of \w as "w"; empty for an unknown
// name.
using CodeRanges = std::vector<std::pair<uint32_t, uint32_t>>;
CodeRanges regex_property(std::string_view name);

// A script's number, -1 for code points that go with any.
int script_of(uint32_t code);

enum class UnicodeForm { C, D, KC, KD };
std::string normalize_unicode(std::string_view text, UnicodeForm form);
std::string lowercase(std::string_view text);
// Keeps the characters without any of these flags.
void remove_characters(std::string& text, uint16_t flags);
// End of the grapheme cluster that begins at `at`.
size_t grapheme_end(std::string_view text, size_t at);

}  // namespace graft
