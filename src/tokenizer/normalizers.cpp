#include <algorithm>
#include <array>

#include "core/check.h"
#include "tokenizer/fields.h"
#include "tokenizer/pattern.h"
#include "tokenizer/stages.h"
#include "tokenizer/unicode.h"

namespace graft {
namespace {

constexpr const char* kNormalizers =
    "Sequence, NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Nmt, Prepend, Replace, BertNormalizer, Precompiled, "
    "ByteLevel";
constexpr int kDeepest = 32;  // sequences in sequences

void strip(std::string& text, bool& start, bool left, bool right) {
  size_t begin = 0, end = text.size(), n = 0;
  while (left && begin < end && is_whitespace(decode_utf8(text, begin, &n))) begin += n;
  while (right && end > begin) {
    const size_t last = utf8_before(text, end, begin);
    if (!is_whitespace(decode_utf8(text, last, &n))) break;
    end = last;
  }
  if (begin > 0) start = false;
  text = text.substr(begin, end - begin);
}

template <class F>
void rebuild(std::string& text, bool& start, F each) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0, n = 0; at < text.size(); at += n) {
    const uint32_t code = decode_utf8(text, at, &n);
    each(out, code, std::string_view(text).substr(at, n));
    if (at == 0 && out.empty()) start = false;
  }
  text = std::move(out);
}

void remove(std::string& text, bool& start, uint16_t flags) {
  size_t n = 0;
  if (!text.empty() && character_flags(decode_utf8(text, 0, &n)) & flags) start = false;
  remove_characters(text, flags);
}

// SentencePiece's rules of its nmt_ forms.
void nmt(std::string& text, bool& start) {
  rebuild(text, start, [](std::string& out, uint32_t c, std::string_view same) {
    if ((c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F) return;
    const bool space = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) || c == 0x2028 ||
                       c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
    out += space ? std::string_view(" ") : same;
  });
}

bool is_chinese(uint32_t c) {
  static constexpr std::array<std::pair<uint32_t, uint32_t>, 8> blocks = {{{0x4E00, 0x9FFF},
                                                                           {0x3400, 0x4DBF},
                                                                           {0x20000, 0x2A6DF},
                                                                           {0x2A700, 0x2B73F},
                                                                           {0x2B740, 0x2B81F},
                                                                           {0x2B920, 0x2CEAF},
                                                                           {0xF900, 0xFAFF},
                                                                           {0x2F800, 0x2FA1F}}};
  return std::any_of(blocks.begin(), blocks.end(), [c](auto& block) { return c >= block.first && c <= block.second; });
}

Normalizer read_bert(const Json& json, const std::string& where) {
  const bool clean = required_flag(json, "clean_text", where), chinese = required_flag(json, "handle_chinese_chars", where),
             lower = required_flag(json, "lowercase", where);
  const bool accents = flag_field(json, "strip_accents", where, lower);
  return [=](std::string& text, bool& start) {
    if (clean)
      rebuild(text, start, [](std::string& out, uint32_t c, std::string_view same) {
        const uint16_t flags = character_flags(c);
        if (!(flags & kBertControl)) out += flags & kWhitespace ? std::string_view(" ") : same;
      });
    if (chinese)
      rebuild(text, start, [](std::string& out, uint32_t c, std::string_view same) {
        if (is_chinese(c))
          out.append(" ").append(same).append(" ");
        else
          out += same;
      });
    if (accents) {
      text = normalize_unicode(text, UnicodeForm::D);
      remove(text, start, kBertAccent);
    }
    if (lower) text = lowercase(text);
  };
}

// By grapheme cluster: a short one that the table knows a beginning of is replaced whole, others character by character.
Normalizer read_precompiled(const Json& json, const std::string& where) {
  const std::string bytes = decode_base64(text_field(json, "precompiled_charsmap", where), where);
  if (bytes.empty()) return {};
  return [map = CharsMap(bytes, where)](std::string& text, bool&) {
    std::string out;
    out.reserve(text.size());
    const std::string_view whole = text;
    for (size_t at = 0, n = 0; at < whole.size(); at += n) {
      n = grapheme_end(whole, at) - at;
      const char* replaced = n < 6 ? map.shortest(whole.substr(at, n)) : nullptr;
      if (replaced) {
        out += replaced;
        continue;
      }
      for (size_t i = at, m = 0; i < at + n; i += m) {
        m = utf8_length(whole, i);
        const std::string_view character = whole.substr(i, m);
        if (const char* known = map.shortest(character))
          out += known;
        else
          out += character;
      }
    }
    text = std::move(out);
  };
}

Normalizer read_one(const Json& json, int depth) {
  if (json.is_null()) return {};
  const std::string type = type_of(json, "normalizer"), where = "normalizer " + type;
  if (type == "Sequence") {
    if (depth > kDeepest) tokenizer_error("the normalizer has too many sequences in one another");
    std::vector<Normalizer> all;
    for (auto& inner : list_field(json, "normalizers", where))
      if (Normalizer one = read_one(inner, depth + 1)) all.push_back(std::move(one));
    if (all.empty()) return {};
    return [all](std::string& text, bool& start) {
      for (auto& one : all) one(text, start);
    };
  }
  for (auto& [name, form] : {std::pair("NFC", UnicodeForm::C), std::pair("NFD", UnicodeForm::D),
                             std::pair("NFKC", UnicodeForm::KC), std::pair("NFKD", UnicodeForm::KD)})
    if (type == name) return [form = form](std::string& text, bool&) { text = normalize_unicode(text, form); };
  if (type == "Lowercase") return [](std::string& text, bool&) { text = lowercase(text); };
  if (type == "StripAccents") return [](std::string& text, bool& start) { remove(text, start, kAccent); };
  if (type == "Nmt") return nmt;
  if (type == "Strip") {
    const bool left = required_flag(json, "strip_left", where), right = required_flag(json, "strip_right", where);
    return [=](std::string& text, bool& start) { strip(text, start, left, right); };
  }
  if (type == "Prepend") {
    const std::string prefix = text_field(json, "prepend", where);
    return [=](std::string& text, bool&) {
      if (!text.empty()) text.insert(0, prefix);
    };
  }
  if (type == "Replace") {
    const Pattern pattern = Pattern::from_json(json.value("pattern", Json()), where);
    const std::string content = text_field(json, "content", where);
    return [=](std::string& text, bool& start) {
      bool dropped = false;
      text = pattern.replace(text, content, &dropped);
      if (dropped) start = false;
    };
  }
  if (type == "BertNormalizer") return read_bert(json, where);
  if (type == "Precompiled") return read_precompiled(json, where);
  if (type == "ByteLevel")
    return [](std::string& text, bool&) {
      std::string out;
      for (const unsigned char byte : text) out += byte_characters()[byte];
      text = std::move(out);
    };
  unknown_type("normalizer", type, kNormalizers);
}

}  // namespace

Normalizer read_normalizer(const Json& json) {
  return read_one(json, 0);
}

}  // namespace graft
