#include "eval/text.h"

#include <utf8proc.h>

#include <cstdint>

namespace graft {
namespace {

struct CodePoint {
  int32_t value;  // -1: a byte that is no UTF-8
  size_t length;  // bytes, at least 1
};

CodePoint code_point_at(std::string_view text, size_t at) {
  if (static_cast<unsigned char>(text[at]) < 0x80) return {text[at], 1};
  int32_t value = -1;
  const auto length = utf8proc_iterate(reinterpret_cast<const uint8_t*>(text.data()) + at, text.size() - at, &value);
  if (length <= 0) return {-1, 1};
  return {value, static_cast<size_t>(length)};
}

bool is_space(int32_t c) {
  return (c >= 0x9 && c <= 0xd) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool within(int32_t c, int32_t low, int32_t high) {
  return c >= low && c <= high;
}

// Unicode's Cased and Case_Ignorable, needed only to tell a final sigma. Categories plus the standard's extra lists.
bool is_cased(int32_t c) {
  switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
      return true;
    default:
      return c == 0xaa || c == 0xba || within(c, 0x2b0, 0x2b8) || within(c, 0x2c0, 0x2c1) || within(c, 0x2e0, 0x2e4) ||
             c == 0x345 || c == 0x37a || within(c, 0x1d2c, 0x1d6a) || c == 0x1d78 || within(c, 0x1d9b, 0x1dbf) || c == 0x2071 ||
             c == 0x207f || within(c, 0x2090, 0x209c) || within(c, 0x2160, 0x217f) || within(c, 0x24b6, 0x24e9) ||
             within(c, 0x2c7c, 0x2c7d) || within(c, 0xa69c, 0xa69d) || c == 0xa770 || within(c, 0xa7f8, 0xa7f9) ||
             within(c, 0xab5c, 0xab5f) || c == 0x10780 || within(c, 0x10783, 0x10785) || within(c, 0x10787, 0x107b0) ||
             within(c, 0x107b2, 0x107ba) || within(c, 0x1f130, 0x1f149) || within(c, 0x1f150, 0x1f169) ||
             within(c, 0x1f170, 0x1f189);
  }
}
bool is_case_ignorable(int32_t c) {
  switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      for (const int32_t mark : {0x27, 0x2e, 0x3a, 0xb7, 0x387, 0x55f, 0x5f4, 0x2018, 0x2019, 0x2024, 0x2027, 0xfe13, 0xfe52,
                                 0xfe55, 0xff07, 0xff0e, 0xff1a})
        if (c == mark) return true;
      return false;
  }
}

// A capital sigma at `at` is final when a cased letter stands before it and none after it, ignorable signs skipped.
bool is_final_sigma(std::string_view text, size_t at, size_t length) {
  bool before = false;
  for (size_t i = at; i > 0;) {
    do --i;
    while (i > 0 && (static_cast<unsigned char>(text[i]) & 0xc0) == 0x80);
    const int32_t c = code_point_at(text, i).value;
    if (c >= 0 && is_case_ignorable(c)) continue;
    before = c >= 0 && is_cased(c);
    break;
  }
  if (!before) return false;
  for (size_t i = at + length; i < text.size();) {
    const auto [c, bytes] = code_point_at(text, i);
    if (c < 0 || !is_case_ignorable(c)) return c < 0 || !is_cased(c);
    i += bytes;
  }
  return true;
}

}  // namespace

std::string lower_case(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const auto [c, length] = code_point_at(text, i);
    if (c >= 0 && c < 0x80) {
      out += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    } else if (c == 0x130) {
      out += "i\xcc\x87";  // the one letter whose lower case is two: i and a dot above
    } else if (c == 0x3a3) {
      out += is_final_sigma(text, i, length) ? "\xcf\x82" : "\xcf\x83";
    } else if (const int32_t lower = c < 0 ? c : utf8proc_tolower(c); lower == c) {
      out += text.substr(i, length);
    } else {
      uint8_t bytes[4];
      out.append(reinterpret_cast<char*>(bytes), utf8proc_encode_char(lower, bytes));
    }
    i += length;
  }
  return out;
}

std::vector<std::string_view> split_space(std::string_view text) {
  std::vector<std::string_view> pieces;
  size_t begin = 0, i = 0;
  while (i < text.size()) {
    const auto [c, length] = code_point_at(text, i);
    if (is_space(c)) {
      if (i > begin) pieces.push_back(text.substr(begin, i - begin));
      begin = i + length;
    }
    i += length;
  }
  if (i > begin) pieces.push_back(text.substr(begin, i - begin));
  return pieces;
}

std::string_view strip_right(std::string_view text) {
  size_t end = 0;
  for (size_t i = 0; i < text.size();) {
    const auto [c, length] = code_point_at(text, i);
    i += length;
    if (!is_space(c)) end = i;
  }
  return text.substr(0, end);
}

std::string_view strip(std::string_view text) {
  while (!text.empty()) {
    const auto [c, length] = code_point_at(text, 0);
    if (!is_space(c)) break;
    text.remove_prefix(length);
  }
  return strip_right(text);
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  size_t begin = 0;
  for (size_t at; (at = text.find(from, begin)) != std::string_view::npos; begin = at + from.size()) {
    out += text.substr(begin, at - begin);
    out += to;
  }
  return out += text.substr(begin);
}

}  // namespace graft
