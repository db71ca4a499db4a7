#include "chat/text.h"

#include <utf8proc.h>

#include <algorithm>

#include "chat/value.h"
#include "core/check.h"
#include "tokenizer/unicode.h"

namespace graft::chat {
namespace {

constexpr int64_t kWidest = 1 << 24;

utf8proc_category_t category(uint32_t code) { return utf8proc_category(static_cast<utf8proc_int32_t>(code)); }

// Characters whose capital is several: the first, then the others.
struct Expansion {
  uint32_t code;
  const char* capitals;
};
constexpr Expansion kExpansions[] = {
    {0xDF, "SS"},        {0x149, "\u02BCN"},   {0x1F0, "J\u030C"},  {0x390, "\u0399\u0308\u0301"}, {0x3B0, "\u03A5\u0308\u0301"},
    {0x587, "\u0535\u0552"}, {0x1E96, "H\u0331"}, {0x1E97, "T\u0308"}, {0x1E98, "W\u030A"},           {0x1E99, "Y\u030A"},
    {0x1E9A, "A\u02BE"}, {0xFB00, "FF"},       {0xFB01, "FI"},      {0xFB02, "FL"},                {0xFB03, "FFI"},
    {0xFB04, "FFL"},     {0xFB05, "ST"},       {0xFB06, "ST"}};

void append_upper(std::string& out, uint32_t code) {
  for (auto& [from, capitals] : kExpansions)
    if (from == code) {
      out += capitals;
      return;
    }
  append_code_point(out, static_cast<uint32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(code))));
}

void append_title(std::string& out, uint32_t code) {
  for (auto& [from, capitals] : kExpansions)
    if (from == code) {
      const auto codes = code_points(capitals);
      append_code_point(out, codes[0]);
      for (size_t i = 1; i < codes.size(); ++i) append_code_point(out, static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(codes[i]))));
      return;
    }
  append_code_point(out, static_cast<uint32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(code))));
}

bool cased(uint32_t code) { return is_upper(code) || is_lower(code) || category(code) == UTF8PROC_CATEGORY_LT; }

bool case_ignorable(uint32_t code) {
  const auto kind = category(code);
  return kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_ME || kind == UTF8PROC_CATEGORY_CF || kind == UTF8PROC_CATEGORY_LM || kind == UTF8PROC_CATEGORY_SK ||
         code == '\'' || code == '.' || code == ':' || code == 0xB7 || code == 0x2019 || code == 0x2018 || code == 0x2027;
}

// A sigma behind letters and not before one is written in its final form.
bool final_sigma(const std::vector<uint32_t>& codes, size_t at) {
  size_t before = at;
  while (before > 0 && case_ignorable(codes[before - 1])) --before;
  if (before == 0 || !cased(codes[before - 1])) return false;
  size_t after = at + 1;
  while (after < codes.size() && case_ignorable(codes[after])) ++after;
  return after == codes.size() || !cased(codes[after]);
}

void append_lower(std::string& out, const std::vector<uint32_t>& codes, size_t at) {
  if (codes[at] == 0x3A3) return append_code_point(out, final_sigma(codes, at) ? 0x3C2 : 0x3C3);
  if (codes[at] == 0x130) return void(out += "i\u0307");
  append_code_point(out, static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(codes[at]))));
}

bool taken(uint32_t code, const std::vector<uint32_t>* chars) {
  return chars ? std::find(chars->begin(), chars->end(), code) != chars->end() : is_space(code);
}

bool ends_line(uint32_t code) { return (code >= '\n' && code <= '\r') || (code >= 0x1C && code <= 0x1E) || code == 0x85 || code == 0x2028 || code == 0x2029; }

size_t last_start(std::string_view text, size_t end) {
  size_t at = end - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

}  // namespace

std::vector<uint32_t> code_points(std::string_view text) {
  std::vector<uint32_t> codes;
  codes.reserve(text.size());
  for (size_t at = 0, size = 0; at < text.size(); at += size) codes.push_back(decode_utf8(text, at, &size));
  return codes;
}

void append_code_point(std::string& text, uint32_t code) { append_utf8(text, code); }

std::string from_code_points(const std::vector<uint32_t>& codes) {
  std::string text;
  for (const uint32_t code : codes) append_code_point(text, code);
  return text;
}

size_t length(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

bool is_space(uint32_t code) {
  return (code >= 9 && code <= 13) || (code >= 0x1C && code <= 0x20) || code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) ||
         code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool is_alpha(uint32_t code) {
  const auto kind = category(code);
  return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}
bool is_decimal(uint32_t code) { return category(code) == UTF8PROC_CATEGORY_ND; }
bool is_digit(uint32_t code) {
  return is_decimal(code) || code == 0xB2 || code == 0xB3 || code == 0xB9 || code == 0x2070 || (code >= 0x2074 && code <= 0x2079) || (code >= 0x2080 && code <= 0x2089) ||
         (code >= 0x2460 && code <= 0x2468);
}
bool is_numeric(uint32_t code) {
  const auto kind = category(code);
  return kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_NL || kind == UTF8PROC_CATEGORY_NO;
}
bool is_upper(uint32_t code) { return category(code) == UTF8PROC_CATEGORY_LU || (code >= 0x2160 && code <= 0x216F) || (code >= 0x24B6 && code <= 0x24CF); }
bool is_lower(uint32_t code) {
  return category(code) == UTF8PROC_CATEGORY_LL || code == 0xAA || code == 0xBA || (code >= 0x2170 && code <= 0x217F) || (code >= 0x24D0 && code <= 0x24E9);
}

bool is_printable(uint32_t code) {
  if (code == ' ') return true;
  switch (category(code)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return false;
    default: return true;
  }
}

std::string upper(std::string_view text) {
  std::string out;
  for (const uint32_t code : code_points(text)) append_upper(out, code);
  return out;
}

std::string lower(std::string_view text) {
  const auto codes = code_points(text);
  std::string out;
  for (size_t i = 0; i < codes.size(); ++i) append_lower(out, codes, i);
  return out;
}

std::string capitalize(std::string_view text) {
  const auto codes = code_points(text);
  std::string out;
  for (size_t i = 0; i < codes.size(); ++i) i ? append_lower(out, codes, i) : append_title(out, codes[i]);
  return out;
}

std::string title(std::string_view text) {
  const auto codes = code_points(text);
  std::string out;
  bool inside = false;
  for (size_t i = 0; i < codes.size(); ++i) {
    inside ? append_lower(out, codes, i) : append_title(out, codes[i]);
    inside = cased(codes[i]);
  }
  return out;
}

std::string swapcase(std::string_view text) {
  const auto codes = code_points(text);
  std::string out;
  for (size_t i = 0; i < codes.size(); ++i) {
    if (is_upper(codes[i])) append_lower(out, codes, i);
    else if (is_lower(codes[i])) append_upper(out, codes[i]);
    else append_code_point(out, codes[i]);
  }
  return out;
}

std::string_view strip_left(std::string_view text, const std::string* chars) {
  const auto set = chars ? code_points(*chars) : std::vector<uint32_t>();
  for (size_t size = 0; !text.empty() && taken(decode_utf8(text, 0, &size), chars ? &set : nullptr);) text.remove_prefix(size);
  return text;
}

std::string_view strip_right(std::string_view text, const std::string* chars) {
  const auto set = chars ? code_points(*chars) : std::vector<uint32_t>();
  while (!text.empty()) {
    const size_t at = last_start(text, text.size());
    size_t size = 0;
    if (!taken(decode_utf8(text, at, &size), chars ? &set : nullptr)) break;
    text = text.substr(0, at);
  }
  return text;
}

std::vector<std::string> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string> lines;
  size_t begin = 0;
  for (size_t at = 0, size = 0; at < text.size(); at += size) {
    if (!ends_line(decode_utf8(text, at, &size))) continue;
    const size_t end = at;
    if (text[at] == '\r' && at + 1 < text.size() && text[at + 1] == '\n') size = 2;
    lines.emplace_back(text.substr(begin, (keep_ends ? at + size : end) - begin));
    begin = at + size;
  }
  if (begin < text.size()) lines.emplace_back(text.substr(begin));
  return lines;
}

std::vector<std::string> split_space(std::string_view text, int64_t most) {
  std::vector<std::string> words;
  for (text = strip_left(text); !text.empty(); text = strip_left(text)) {
    if (most >= 0 && static_cast<int64_t>(words.size()) >= most) {
      words.emplace_back(text);
      break;
    }
    size_t end = 0;
    for (size_t size = 0; end < text.size() && !is_space(decode_utf8(text, end, &size)); end += size) {
    }
    words.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return words;
}

std::vector<std::string> split_space_from_right(std::string_view text, int64_t most) {
  std::vector<std::string> words;
  for (text = strip_right(text); !text.empty(); text = strip_right(text)) {
    if (most >= 0 && static_cast<int64_t>(words.size()) >= most) {
      words.emplace_back(text);
      break;
    }
    size_t begin = text.size();
    while (begin > 0) {
      const size_t at = last_start(text, begin);
      size_t size = 0;
      if (is_space(decode_utf8(text, at, &size))) break;
      begin = at;
    }
    words.emplace_back(text.substr(begin));
    text = text.substr(0, begin);
  }
  std::reverse(words.begin(), words.end());
  return words;
}

std::vector<std::string> split(std::string_view text, std::string_view separator, int64_t most) {
  if (separator.empty()) render_error("empty separator");
  std::vector<std::string> parts;
  size_t at = 0;
  while (most < 0 || static_cast<int64_t>(parts.size()) < most) {
    const size_t found = text.find(separator, at);
    if (found == std::string_view::npos) break;
    parts.emplace_back(text.substr(at, found - at));
    at = found + separator.size();
  }
  parts.emplace_back(text.substr(at));
  return parts;
}

std::vector<std::string> split_from_right(std::string_view text, std::string_view separator, int64_t most) {
  if (separator.empty()) render_error("empty separator");
  std::vector<std::string> parts;
  while (most < 0 || static_cast<int64_t>(parts.size()) < most) {
    const size_t found = text.rfind(separator);
    if (found == std::string_view::npos) break;
    parts.emplace_back(text.substr(found + separator.size()));
    text = text.substr(0, found);
  }
  parts.emplace_back(text);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::string replace(std::string_view text, std::string_view from, std::string_view to, int64_t most) {
  std::string out;
  size_t at = 0;
  for (int64_t done = 0; most < 0 || done < most; ++done) {
    if (out.size() > static_cast<size_t>(kWidest)) render_error("a text grows beyond 16 million bytes");
    if (from.empty()) {  // before each character, and at the end
      out += to;
      if (at == text.size()) return out;
      const size_t size = utf8_length(text, at);
      out += text.substr(at, size);
      at += size;
      continue;
    }
    const size_t found = text.find(from, at);
    if (found == std::string_view::npos) break;
    out += text.substr(at, found - at);
    out += to;
    at = found + from.size();
  }
  return out += text.substr(at);
}

std::string padded(std::string_view text, int64_t width, Align align, std::string_view fill) {
  if (width > kWidest) render_error(fmt::format("a width of {} is too large", width));
  const int64_t room = width - static_cast<int64_t>(length(text));
  if (room <= 0) return std::string(text);
  // str.center puts the odd character left when the width is odd.
  const int64_t left = align == Align::Left ? 0 : align == Align::Right ? room : room / 2 + (room & width & 1);
  std::string out;
  for (int64_t i = 0; i < left; ++i) out += fill;
  out += text;
  for (int64_t i = left; i < room; ++i) out += fill;
  return out;
}

std::string string_repr(std::string_view text) {
  const char quote = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out(1, quote);
  for (const uint32_t code : code_points(text)) {
    if (code == static_cast<uint32_t>(quote) || code == '\\') out += '\\', out += static_cast<char>(code);
    else if (code == '\n') out += "\\n";
    else if (code == '\r') out += "\\r";
    else if (code == '\t') out += "\\t";
    else if (is_printable(code)) append_code_point(out, code);
    else if (code < 0x100) out += fmt::format("\\x{:02x}", code);
    else if (code < 0x10000) out += fmt::format("\\u{:04x}", code);
    else out += fmt::format("\\U{:08x}", code);
  }
  return out + quote;
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&#34;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}

}  // namespace graft::chat
