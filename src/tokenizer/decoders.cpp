#include <algorithm>
#include <array>
#include <unordered_map>

#include "core/check.h"
#include "tokenizer/fields.h"
#include "tokenizer/pattern.h"
#include "tokenizer/stages.h"
#include "tokenizer/unicode.h"

namespace graft {
namespace {

using Tokens = std::vector<std::string>;

constexpr const char* kDecoders =
    "Sequence, ByteLevel, Metaspace, WordPiece, BPEDecoder, CTC, ByteFallback, Fuse, Strip, Replace";
constexpr int kDeepestDecoder = 32;
constexpr int64_t kMostStripped = int64_t{1} << 31;

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  size_t at = text.find(from);
  if (at == std::string::npos) return;
  std::string out;
  size_t last = 0;
  for (; at != std::string::npos; at = text.find(from, last)) {
    out.append(text, last, at - last).append(to);
    last = at + from.size();
  }
  text = out.append(text, last);
}

// English as BERT's tokenizer tidies it up, the reference's rules in its order.
void clean_up(std::string& text) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 11> rules = {{{" .", "."},
                                                                                           {" ?", "?"},
                                                                                           {" !", "!"},
                                                                                           {" ,", ","},
                                                                                           {" ' ", "'"},
                                                                                           {" n't", "n't"},
                                                                                           {" 'm", "'m"},
                                                                                           {" do not", " don't"},
                                                                                           {" 's", "'s"},
                                                                                           {" 've", "'ve"},
                                                                                           {" 're", "'re"}}};
  for (auto& [from, to] : rules) replace_all(text, from, to);
}

// Bytes of tokens like <0x0A>; a run of them that is no UTF-8 becomes as many U+FFFD.
void byte_fallback(Tokens& tokens) {
  Tokens out;
  std::string bytes;
  const auto flush = [&] {
    if (valid_utf8(bytes)) {
      if (!bytes.empty()) out.push_back(bytes);
    } else {
      out.insert(out.end(), bytes.size(), "\xEF\xBF\xBD");
    }
    bytes.clear();
  };
  const auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  for (auto& token : tokens) {
    int value = -1;
    if (token.size() == 6 && token.starts_with("<0x") && token[5] == '>' && digit(token[4]) >= 0) {
      if (digit(token[3]) >= 0)
        value = digit(token[3]) * 16 + digit(token[4]);
      else if (token[3] == '+')
        value = digit(token[4]);  // the reference's number parser takes a sign
    }
    if (value >= 0) {
      bytes += static_cast<char>(value);
      continue;
    }
    flush();
    out.push_back(std::move(token));
  }
  flush();
  tokens = std::move(out);
}

void strip_characters(std::string& token, const std::string& character, int64_t start, int64_t stop) {
  size_t begin = 0, end = token.size();
  for (int64_t i = 0; i < start && token.compare(begin, character.size(), character) == 0; ++i) begin += character.size();
  for (int64_t i = 0;
       i < stop && end >= begin + character.size() && token.compare(end - character.size(), character.size(), character) == 0;
       ++i)
    end -= character.size();
  if (begin > 0 || end < token.size()) token = token.substr(begin, end - begin);
}

Decoder read_ctc(const Json& json, const std::string& where) {
  const std::string pad = text_field(json, "pad_token", where), delimiter = text_field(json, "word_delimiter_token", where);
  const bool tidy = required_flag(json, "cleanup", where);
  return [=](Tokens& tokens) {
    tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
    for (auto& token : tokens) {
      if (!pad.empty()) replace_all(token, pad, "");
      if (!tidy) continue;
      clean_up(token);
      if (!delimiter.empty()) replace_all(token, delimiter, " ");
    }
    std::erase_if(tokens, [](auto& token) { return token.empty(); });
  };
}

Decoder read_metaspace_decoder(const Json& json, const std::string& where) {
  const std::string mark = character_field(json, "replacement", where);
  const bool prefix =
      text_field_or(json, "prepend_scheme", where, "always") != "never" && flag_field(json, "add_prefix_space", where, true);
  return [=](Tokens& tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) replace_all(tokens[i], mark, i == 0 && prefix ? "" : " ");
  };
}

Decoder read_word_piece(const Json& json, const std::string& where) {
  const std::string prefix = text_field(json, "prefix", where);
  const bool tidy = required_flag(json, "cleanup", where);
  return [=](Tokens& tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0) {
        if (tokens[i].starts_with(prefix))
          tokens[i].erase(0, prefix.size());
        else
          tokens[i].insert(0, " ");
      }
      if (tidy) clean_up(tokens[i]);
    }
  };
}

void join_all(Tokens& tokens) {
  std::string all;
  for (auto& token : tokens) all += token;
  tokens.assign(1, std::move(all));
}

Decoder read_decoder_stage(const Json& json, int depth) {
  const std::string type = type_of(json, "decoder"), where = "decoder " + type;
  if (type == "Sequence") {
    if (depth > kDeepestDecoder) tokenizer_error("the decoder has too many sequences in one another");
    std::vector<Decoder> all;
    for (auto& inner : list_field(json, "decoders", where)) all.push_back(read_decoder_stage(inner, depth + 1));
    return [all](Tokens& tokens) {
      for (auto& one : all) one(tokens);
    };
  }
  if (type == "ByteLevel")
    return [](Tokens& tokens) {
      std::string bytes;
      for (auto& token : tokens)
        if (!bytes_of_characters(token, bytes)) bytes += token;
      tokens.assign(1, valid_utf8(bytes) ? std::move(bytes) : repair_utf8(bytes));
    };
  if (type == "Metaspace") return read_metaspace_decoder(json, where);
  if (type == "WordPiece") return read_word_piece(json, where);
  if (type == "CTC") return read_ctc(json, where);
  if (type == "ByteFallback") return byte_fallback;
  if (type == "Fuse") return join_all;
  if (type == "BPEDecoder") {
    const std::string suffix = text_field(json, "suffix", where);
    return [=](Tokens& tokens) {
      for (size_t i = 0; !suffix.empty() && i < tokens.size(); ++i)
        replace_all(tokens[i], suffix, i + 1 == tokens.size() ? "" : " ");
    };
  }
  if (type == "Replace") {
    const Pattern pattern = Pattern::from_json(json.value("pattern", Json()), where);
    const std::string content = text_field(json, "content", where);
    return [=](Tokens& tokens) {
      for (auto& token : tokens) token = pattern.replace(token, content);
    };
  }
  if (type == "Strip") {
    const std::string content = character_field(json, "content", where);
    const int64_t start = count_field(json, "start", where, kMostStripped),
                  stop = count_field(json, "stop", where, kMostStripped);
    return [=](Tokens& tokens) {
      for (auto& token : tokens) strip_characters(token, content, start, stop);
    };
  }
  unknown_type("decoder", type, kDecoders);
}

}  // namespace

const std::vector<std::string>& byte_characters() {
  static const std::vector<std::string> table = [] {
    std::vector<std::string> characters(256);
    uint32_t next = 256;
    for (uint32_t b = 0; b < 256; ++b) {
      const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
      append_utf8(characters[b], printable ? b : next++);
    }
    return characters;
  }();
  return table;
}

bool bytes_of_characters(std::string_view token, std::string& bytes) {
  static const std::array<int16_t, 512> byte_of = [] {
    std::array<int16_t, 512> table;
    table.fill(-1);
    size_t n = 0;
    for (int b = 0; b < 256; ++b) table[decode_utf8(byte_characters()[static_cast<size_t>(b)], 0, &n)] = static_cast<int16_t>(b);
    return table;
  }();
  const size_t before = bytes.size();
  for (size_t at = 0, n = 0; at < token.size(); at += n) {
    const uint32_t code = decode_utf8(token, at, &n);
    if (code >= 512 || byte_of[code] < 0) {
      bytes.resize(before);
      return false;
    }
    bytes += static_cast<char>(byte_of[code]);
  }
  return true;
}

Decoder read_decoder(const Json& json) {
  if (!json.is_null()) return read_decoder_stage(json, 0);
  return [](Tokens& tokens) {
    for (size_t i = 1; i < tokens.size(); ++i) tokens[i].insert(0, " ");
  };
}

}  // namespace graft
