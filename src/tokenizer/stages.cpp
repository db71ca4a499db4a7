#include "tokenizer/stages.h"

#include <map>

#include "core/check.h"
#include "tokenizer/pattern.h"
#include "tokenizer/unicode.h"

namespace graft {
namespace {

const std::string kSpaceMark = "\xE2\x96\x81";  // ▁
constexpr const char* kGpt2Split = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

std::string type_of(const Json& json, const std::string& where) {
  if (!json.is_object() || !json.contains("type") || !json["type"].is_string())
    input_error("tokenizer", fmt::format("{} must be an object with a type but is {}", where, json_line(json).substr(0, 200)));
  return json["type"].get<std::string>();
}
[[noreturn]] void unsupported(const std::string& where, const std::string& type) {
  input_error("tokenizer", fmt::format("the {} type '{}' is not supported", where, type));
}
const Json& list_field(const Json& json, const char* key, const std::string& where) {
  if (!json.contains(key) || !json[key].is_array()) input_error("tokenizer", fmt::format("{} needs a list '{}'", where, key));
  return json[key];
}

using Span = std::pair<size_t, size_t>;

// Cuts one piece along matches with HF's behaviours. Removed drops the matches; the others differ in what they join.
std::vector<Piece> split(const Piece& piece, const std::vector<Span>& matches, const std::string& behavior, bool invert) {
  struct Part {
    Span span;
    bool match;
  };
  std::vector<Part> parts;
  size_t last = 0;
  for (auto& m : matches) {
    if (m.first > last) parts.push_back({{last, m.first}, invert});
    parts.push_back({m, !invert});
    last = m.second;
  }
  if (last < piece.text.size()) parts.push_back({{last, piece.text.size()}, invert});
  std::vector<Part> joined;
  if (behavior == "Removed") {
    for (auto& p : parts)
      if (!p.match) joined.push_back(p);
  } else if (behavior == "Isolated") {
    joined = parts;
  } else if (behavior == "Contiguous") {
    for (auto& p : parts) {
      if (!joined.empty() && joined.back().match == p.match) joined.back().span.second = p.span.second;
      else joined.push_back(p);
    }
  } else if (behavior == "MergedWithPrevious") {
    bool previous_match = false;
    for (auto& p : parts) {
      if (p.match && !previous_match && !joined.empty()) joined.back().span.second = p.span.second;
      else joined.push_back(p);
      previous_match = p.match;
    }
  } else if (behavior == "MergedWithNext") {
    bool previous_match = false;
    for (auto it = parts.rbegin(); it != parts.rend(); ++it) {
      if (it->match && !previous_match && !joined.empty()) joined.back().span.first = it->span.first;
      else joined.push_back(*it);
      previous_match = it->match;
    }
    std::reverse(joined.begin(), joined.end());
  } else {
    unsupported("split behaviour", behavior);
  }
  std::vector<Piece> pieces;
  for (auto& p : joined)
    if (p.span.second > p.span.first) pieces.push_back({piece.text.substr(p.span.first, p.span.second - p.span.first), piece.first && p.span.first == 0});
  return pieces;
}

// Matches of every character (or run) for which `test` holds.
std::vector<Span> character_matches(const std::string& text, bool (*test)(uint32_t), bool runs) {
  std::vector<Span> found;
  for (size_t at = 0; at < text.size();) {
    size_t n = 0;
    const bool hit = test(decode_utf8(text, at, &n));
    if (hit && runs && !found.empty() && found.back().second == at) found.back().second = at + n;
    else if (hit) found.emplace_back(at, at + n);
    at += n;
  }
  return found;
}

template <class F>
PreTokenizer each_piece(F f) {
  return [f](std::vector<Piece> pieces) {
    std::vector<Piece> out;
    for (auto& piece : pieces)
      for (auto& part : f(piece)) out.push_back(std::move(part));
    return out;
  };
}

PreTokenizer metaspace(const Json& json) {
  const std::string mark = json.value("replacement", kSpaceMark);
  std::string scheme = json.value("prepend_scheme", std::string("always"));
  if (!flag_field(json, "add_prefix_space", true)) scheme = "never";
  const bool splits = flag_field(json, "split", true);
  const Json literal = {{"String", mark}};
  const Pattern pattern = Pattern::from_json(literal, "pre_tokenizer");
  const Pattern space = Pattern::from_json({{"String", " "}}, "pre_tokenizer");
  return each_piece([=](const Piece& piece) {
    Piece marked{space.replace(piece.text, mark), piece.first};
    if ((scheme == "always" || (scheme == "first" && piece.first)) && !marked.text.starts_with(mark)) marked.text = mark + marked.text;
    return splits ? split(marked, pattern.matches(marked.text), "MergedWithNext", false) : std::vector<Piece>{marked};
  });
}

PreTokenizer byte_level(const Json& json) {
  const bool prefix = flag_field(json, "add_prefix_space", true), regex = flag_field(json, "use_regex", true);
  const Pattern pattern = Pattern::regex(kGpt2Split, "pre_tokenizer");
  return each_piece([=](Piece piece) {
    if (prefix && !piece.text.starts_with(" ")) piece.text = " " + piece.text;
    std::vector<Piece> parts = regex ? split(piece, pattern.matches(piece.text), "Isolated", false) : std::vector<Piece>{piece};
    for (auto& part : parts) {
      std::string visible;
      for (const unsigned char byte : part.text) visible += byte_characters()[byte];
      part.text = visible;
    }
    return parts;
  });
}

}  // namespace

std::string text_field(const Json& json, const char* key, const std::string& where) {
  if (!json.contains(key) || !json[key].is_string()) input_error("tokenizer", fmt::format("{} needs the text '{}'", where, key));
  return json[key].get<std::string>();
}
bool flag_field(const Json& json, const char* key, bool fallback) {
  return json.contains(key) && json[key].is_boolean() ? json[key].get<bool>() : fallback;
}

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

std::string bytes_of_characters(const std::string& token) {
  static const std::map<std::string, char> bytes = [] {
    std::map<std::string, char> map;
    for (int b = 0; b < 256; ++b) map[byte_characters()[static_cast<size_t>(b)]] = static_cast<char>(b);
    return map;
  }();
  std::string out;
  for (size_t at = 0; at < token.size();) {
    const size_t n = utf8_length(token, at);
    const auto found = bytes.find(token.substr(at, n));
    if (found == bytes.end()) return token;
    out += found->second;
    at += n;
  }
  return out;
}

Normalizer read_normalizer(const Json& json) {
  if (json.is_null()) return [](const std::string& text) { return text; };
  const std::string type = type_of(json, "normalizer");
  if (type == "Sequence") {
    std::vector<Normalizer> all;
    for (auto& inner : list_field(json, "normalizers", "normalizer")) all.push_back(read_normalizer(inner));
    return [all](const std::string& text) {
      std::string result = text;
      for (auto& n : all) result = n(result);
      return result;
    };
  }
  if (type == "Prepend") {
    const std::string prefix = text_field(json, "prepend", "normalizer Prepend");
    return [prefix](const std::string& text) { return text.empty() ? text : prefix + text; };
  }
  if (type == "Replace") {
    const Pattern pattern = Pattern::from_json(json.value("pattern", Json()), "normalizer Replace");
    const std::string content = text_field(json, "content", "normalizer Replace");
    return [pattern, content](const std::string& text) { return pattern.replace(text, content); };
  }
  for (auto& [name, form] : {std::pair("NFC", UnicodeForm::C), std::pair("NFD", UnicodeForm::D), std::pair("NFKC", UnicodeForm::KC), std::pair("NFKD", UnicodeForm::KD)})
    if (type == name) return [form = form](const std::string& text) { return normalize_unicode(text, form); };
  if (type == "Lowercase") return lowercase;
  if (type == "Strip") {
    const bool left = flag_field(json, "strip_left", true), right = flag_field(json, "strip_right", true);
    return [left, right](const std::string& text) {
      const auto spaces = character_matches(text, is_whitespace, true);
      size_t begin = 0, end = text.size();
      if (left && !spaces.empty() && spaces.front().first == 0) begin = spaces.front().second;
      if (right && !spaces.empty() && spaces.back().second == end) end = std::max(begin, spaces.back().first);
      return text.substr(begin, end - begin);
    };
  }
  unsupported("normalizer", type);
}

PreTokenizer read_pre_tokenizer(const Json& json) {
  if (json.is_null()) return [](std::vector<Piece> pieces) { return pieces; };
  const std::string type = type_of(json, "pre_tokenizer");
  if (type == "Sequence") {
    std::vector<PreTokenizer> all;
    for (auto& inner : list_field(json, "pretokenizers", "pre_tokenizer")) all.push_back(read_pre_tokenizer(inner));
    return [all](std::vector<Piece> pieces) {
      for (auto& p : all) pieces = p(std::move(pieces));
      return pieces;
    };
  }
  if (type == "ByteLevel") return byte_level(json);
  if (type == "Metaspace") return metaspace(json);
  if (type == "Split") {
    const Pattern pattern = Pattern::from_json(json.value("pattern", Json()), "pre_tokenizer Split");
    const std::string behavior = text_field(json, "behavior", "pre_tokenizer Split");
    const bool invert = flag_field(json, "invert", false);
    split({"x", false}, {}, behavior, invert);  // an unknown behaviour fails now
    return each_piece([=](const Piece& piece) { return split(piece, pattern.matches(piece.text), behavior, invert); });
  }
  if (type == "Digits") {
    const bool single = flag_field(json, "individual_digits", false);
    return each_piece([=](const Piece& piece) { return split(piece, character_matches(piece.text, is_number, !single), "Isolated", false); });
  }
  if (type == "Punctuation") {
    const std::string behavior = json.value("behavior", std::string("Isolated"));
    return each_piece([=](const Piece& piece) { return split(piece, character_matches(piece.text, is_punctuation, false), behavior, false); });
  }
  if (type == "WhitespaceSplit") return each_piece([](const Piece& piece) { return split(piece, character_matches(piece.text, is_whitespace, false), "Removed", false); });
  if (type == "Whitespace") {
    const Pattern pattern = Pattern::regex(R"(\w+|[^\w\s]+)", "pre_tokenizer");
    return each_piece([=](const Piece& piece) { return split(piece, pattern.matches(piece.text), "Removed", true); });
  }
  unsupported("pre_tokenizer", type);
}

Decoder read_decoder(const Json& json) {
  using Tokens = std::vector<std::string>;
  if (json.is_null())
    return [](Tokens tokens) {
      for (size_t i = 1; i < tokens.size(); ++i) tokens[i] = " " + tokens[i];
      return tokens;
    };
  const std::string type = type_of(json, "decoder");
  if (type == "Sequence") {
    std::vector<Decoder> all;
    for (auto& inner : list_field(json, "decoders", "decoder")) all.push_back(read_decoder(inner));
    return [all](Tokens tokens) {
      for (auto& d : all) tokens = d(std::move(tokens));
      return tokens;
    };
  }
  if (type == "ByteLevel")
    return [](Tokens tokens) {
      std::string bytes;
      for (auto& token : tokens) bytes += bytes_of_characters(token);
      return Tokens{repair_utf8(bytes)};
    };
  if (type == "Replace") {
    const Pattern pattern = Pattern::from_json(json.value("pattern", Json()), "decoder Replace");
    const std::string content = text_field(json, "content", "decoder Replace");
    return [pattern, content](Tokens tokens) {
      for (auto& token : tokens) token = pattern.replace(token, content);
      return tokens;
    };
  }
  if (type == "Fuse")
    return [](Tokens tokens) {
      std::string all;
      for (auto& token : tokens) all += token;
      return Tokens{all};
    };
  if (type == "ByteFallback")
    return [](Tokens tokens) {
      Tokens out;
      std::string bytes;
      const auto flush = [&] {
        if (valid_utf8(bytes)) {
          if (!bytes.empty()) out.push_back(bytes);
        } else {
          for (size_t i = 0; i < bytes.size(); ++i) out.push_back("\xEF\xBF\xBD");
        }
        bytes.clear();
      };
      for (auto& token : tokens) {
        const bool byte = token.size() == 6 && token.starts_with("<0x") && token[5] == '>' && isxdigit(token[3]) && isxdigit(token[4]);
        if (byte) {
          bytes += static_cast<char>(std::stoi(token.substr(3, 2), nullptr, 16));
        } else {
          flush();
          out.push_back(token);
        }
      }
      flush();
      return out;
    };
  if (type == "Strip") {
    const std::string content = text_field(json, "content", "decoder Strip");
    const int64_t start = json.value("start", int64_t{0}), stop = json.value("stop", int64_t{0});
    return [content, start, stop](Tokens tokens) {
      for (auto& token : tokens) {
        for (int64_t i = 0; i < start && token.starts_with(content); ++i) token.erase(0, content.size());
        for (int64_t i = 0; i < stop && token.ends_with(content); ++i) token.erase(token.size() - content.size());
      }
      return tokens;
    };
  }
  if (type == "Metaspace") {
    const std::string mark = json.value("replacement", kSpaceMark);
    const bool prefix = json.value("prepend_scheme", std::string("always")) != "never" && flag_field(json, "add_prefix_space", true);
    const Pattern pattern = Pattern::from_json({{"String", mark}}, "decoder");
    return [=](Tokens tokens) {
      for (size_t i = 0; i < tokens.size(); ++i) {
        if (i == 0 && prefix && tokens[i].starts_with(mark)) tokens[i].erase(0, mark.size());
        tokens[i] = pattern.replace(tokens[i], " ");
      }
      return tokens;
    };
  }
  unsupported("decoder", type);
}

PostProcessor read_post_processor(const Json& json) {
  PostProcessor result;
  if (json.is_null()) return result;
  const std::string type = type_of(json, "post_processor");
  if (type == "ByteLevel") return result;
  if (type == "Sequence") {
    for (auto& inner : list_field(json, "processors", "post_processor")) {
      const PostProcessor next = read_post_processor(inner);
      result.before.insert(result.before.begin(), next.before.begin(), next.before.end());
      result.after.insert(result.after.end(), next.after.begin(), next.after.end());
    }
    return result;
  }
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    const auto id = [&](const char* key) {
      const Json& pair = list_field(json, key, "post_processor " + type);
      if (pair.size() != 2 || !pair[1].is_number_integer()) input_error("tokenizer", fmt::format("post_processor {}: '{}' must be [token, id]", type, key));
      return pair[1].get<int64_t>();
    };
    return {{id("cls")}, {id("sep")}};
  }
  if (type != "TemplateProcessing") unsupported("post_processor", type);
  bool behind = false;
  for (auto& item : list_field(json, "single", "post_processor")) {
    if (item.is_object() && item.contains("Sequence")) {
      behind = true;
      continue;
    }
    const Json special = item.is_object() ? item.value("SpecialToken", Json()) : Json();
    const std::string name = special.is_object() ? special.value("id", std::string()) : std::string();
    const Json tokens = json.value("special_tokens", Json::object());
    if (name.empty() || !tokens.contains(name) || !tokens[name].is_object() || !tokens[name].contains("ids") || !tokens[name]["ids"].is_array())
      input_error("tokenizer", fmt::format("post_processor: the special token {} is not defined", json_line(item)));
    for (auto& id : tokens[name]["ids"]) {
      if (!id.is_number_integer()) input_error("tokenizer", fmt::format("post_processor: the ids of '{}' must be integers", name));
      (behind ? result.after : result.before).push_back(id.get<int64_t>());
    }
  }
  return result;
}

}  // namespace graft
