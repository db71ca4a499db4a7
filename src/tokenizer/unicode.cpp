#include "tokenizer/unicode.h"

#include <cstring>

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
  if (b0 >= 0xC2 && b0 <= 0xDF)
    length = 2;
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

}  // namespace

size_t utf8_length(std::string_view text, size_t at) {
  if (static_cast<unsigned char>(text[at]) < 0x80) return 1;
  size_t broken = 0;
  const size_t length = well_formed(text, at, &broken);
  return length ? length : 1;
}

uint32_t decode_utf8(std::string_view text, size_t at, size_t* length) {
  if (const auto first = static_cast<unsigned char>(text[at]); first < 0x80) {
    *length = 1;
    return first;
  }
  size_t broken = 0;
  const size_t n = well_formed(text, at, &broken);
  *length = n ? n : 1;
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(text[at + i])); };
  switch (n) {
    case 1:
      return byte(0);
    case 2:
      return (byte(0) & 0x1F) << 6 | (byte(1) & 0x3F);
    case 3:
      return (byte(0) & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    case 4:
      return (byte(0) & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
    default:
      return 0xFFFD;
  }
}

void append_utf8(std::string& text, uint32_t code) {
  if (code < 0x80)
    text += static_cast<char>(code);
  else if (code < 0x800)
    text += {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
  else if (code < 0x10000)
    text += {static_cast<char>(0xE0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 0x3F)),
             static_cast<char>(0x80 | (code & 0x3F))};
  else
    text += {static_cast<char>(0xF0 | code >> 18), static_cast<char>(0x80 | (code >> 12 & 0x3F)),
             static_cast<char>(0x80 | (code >> 6 & 0x3F)), static_cast<char>(0x80 | (code & 0x3F))};
}

bool valid_utf8(std::string_view text) {
  size_t broken = 0;
  for (size_t at = 0; at < text.size();) {
    uint64_t eight;
    if (at + 8 <= text.size() && (std::memcpy(&eight, text.data() + at, 8), (eight & 0x8080808080808080u) == 0)) {
      at += 8;
      continue;
    }
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

size_t utf8_before(std::string_view text, size_t at, size_t floor) {
  size_t begin = at - 1;
  while (begin > floor && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return begin;
}

}  // namespace graft
