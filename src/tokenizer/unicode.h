// UTF-8 helpers.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace graft {

// Length in bytes of the character that begins at text[at]; 1 for a byte that begins none.
size_t utf8_length(std::string_view text, size_t at);
uint32_t decode_utf8(std::string_view text, size_t at, size_t* length);
void append_utf8(std::string& text, uint32_t code);
bool valid_utf8(std::string_view text);
// Each longest broken sequence becomes one U+FFFD, as Unicode recommends.
std::string repair_utf8(std::string_view text);

bool is_whitespace(uint32_t code);  // Unicode's White_Space
bool is_punctuation(uint32_t code); // ASCII punctuation and categories P*
bool is_number(uint32_t code);      // categories N*
bool is_word(uint32_t code);        // letters, marks, digits, underscore

// NFC, NFD, NFKC, NFKD.
enum class UnicodeForm { C, D, KC, KD };
std::string normalize_unicode(const std::string& text, UnicodeForm form);
std::string lowercase(const std::string& text);

}  // namespace graft
