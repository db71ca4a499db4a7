#include "tokenizer/unicode.h"

#include <utf8proc.h>

#include <cstdlib>

#include "core/check.h"

namespace graft {
namespace {

// Length of a well-formed sequence at `at`, or 0; `broken` is how many bytes the longest broken start has.
size_t well_formed(std::string_view s, size_t at, size_t* broken) {
  const auto byte = [&](size_t i) { return at + i < s.size() ? static_cast<unsigned char>(s[at + i]) : 0u; };
  const unsigned b0 = byte(0);
  *broken = 1;
  if (b0 < 0x80) return 1;
  unsigned low = 0x80, high = 0xBF;
  size_t length = 0;
  if (b0 >= 0xC2 && b0 <= 0xDF) length = 2;
  else if (b0 >= 0xE0 && b0 <= 0xEF) {
    length = 3;
    if (b0 == 0xE0) low = 0xA0;
    if (b0 == 0xED) high = 0x9F;
  } else if (b0 >= 0xF0 && b0 <= 0xF4) {
    length = 4;
    if (b0 == 0xF0) low = 0x90;
    if (b0 == 0xF4) high = 0x8F;
  } else {
    return 0;
  }
  for (size_t i = 1; i < length; ++i) {
    if (at + i >= s.size() || byte(i) < low || byte(i) > high) return 0;
    *broken = i + 1;
    low = 0x80, high = 0xBF;
  }
  return length;
}

utf8proc_category_t category(uint32_t code) { return utf8proc_category(static_cast<utf8proc_int32_t>(code)); }

}  // namespace

size_t utf8_length(std::string_view text, size_t at) {
  size_t broken = 0;
  const size_t length = well_formed(text, at, &broken);
  return length ? length : 1;
}

uint32_t decode_utf8(std::string_view text, size_t at, size_t* length) {
  size_t broken = 0;
  const size_t n = well_formed(text, at, &broken);
  *length = n ? n : 1;
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(text[at + i])); };
  switch (n) {
    case 1: return byte(0);
    case 2: return (byte(0) & 0x1F) << 6 | (byte(1) & 0x3F);
    case 3: return (byte(0) & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    case 4: return (byte(0) & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
    default: return 0xFFFD;
  }
}

void append_utf8(std::string& text, uint32_t code) {
  if (code < 0x80) text += static_cast<char>(code);
  else if (code < 0x800) text += {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
  else if (code < 0x10000) text += {static_cast<char>(0xE0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 0x3F)), static_cast<char>(0x80 | (code & 0x3F))};
  else
    text += {static_cast<char>(0xF0 | code >> 18), static_cast<char>(0x80 | (code >> 12 & 0x3F)), static_cast<char>(0x80 | (code >> 6 & 0x3F)),
             static_cast<char>(0x80 | (code & 0x3F))};
}

bool valid_utf8(std::string_view text) {
  size_t broken = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t n = well_formed(text, at, &broken);
    if (!n) return false;
    at += n;
  }
  return true;
}

std::string repair_utf8(std::string_view text) {
  std::string out;
  size_t broken = 0;
  for (size_t at = 0; at < text.size();) {
    if (const size_t n = well_formed(text, at, &broken)) {
      out.append(text, at, n);
      at += n;
    } else {
      out += "\xEF\xBF\xBD";
      at += broken;
    }
  }
  return out;
}

bool is_whitespace(uint32_t c) {
  if ((c >= 9 && c <= 13) || c == 0x85) return true;
  const auto k = category(c);
  return k == UTF8PROC_CATEGORY_ZS || k == UTF8PROC_CATEGORY_ZL || k == UTF8PROC_CATEGORY_ZP;
}

bool is_punctuation(uint32_t c) {
  if ((c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126)) return true;
  const auto k = category(c);
  return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

bool is_number(uint32_t c) {
  const auto k = category(c);
  return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

bool is_word(uint32_t c) {
  const auto k = category(c);
  return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_ME) || k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_PC;
}

std::string normalize_unicode(const std::string& text, UnicodeForm form) {
  int options = UTF8PROC_STABLE;
  options |= form == UnicodeForm::C || form == UnicodeForm::KC ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  if (form == UnicodeForm::KC || form == UnicodeForm::KD) options |= UTF8PROC_COMPAT;
  utf8proc_uint8_t* result = nullptr;
  const auto length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()), &result,
                                   static_cast<utf8proc_option_t>(options));
  if (length < 0) fail(Fault::Internal, "tokenizer", fmt::format("Unicode normalisation failed: {}", utf8proc_errmsg(length)));
  std::string out(reinterpret_cast<char*>(result), static_cast<size_t>(length));
  std::free(result);
  return out;
}

std::string lowercase(const std::string& text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    size_t n = 0;
    append_utf8(out, static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(decode_utf8(text, at, &n)))));
    at += n;
  }
  return out;
}

}  // namespace graft
