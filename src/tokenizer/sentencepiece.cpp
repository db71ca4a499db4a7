// SentencePiece's own files: a protobuf of pieces, scores and rules (sentencepiece_model.proto). Encoding and decoding are the
// library's.
#include <algorithm>
#include <bit>
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "core/check.h"
#include "tokenizer/fields.h"
#include "tokenizer/sources.h"
#include "tokenizer/unicode.h"

namespace graft {
namespace {

constexpr const char* kSpaceMark = "\xE2\x96\x81";
enum PieceType { kNormal = 1, kUnknownPiece = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

// Fields of a protobuf message one after the other.
class Message {
 public:
  Message(std::string_view bytes, std::string name) : bytes_(bytes), name_(std::move(name)) {}
  bool next() {
    if (at_ == bytes_.size()) return false;
    const uint64_t tag = varint();
    field = static_cast<int>(tag >> 3);
    number = 0;
    text = {};
    switch (tag & 7) {
      case 0:
        number = varint();
        break;
      case 1:
        text = take(8);
        break;
      case 2:
        text = take(varint());
        break;
      case 5:
        text = take(4);
        for (int i = 3; i >= 0; --i) number = number << 8 | static_cast<unsigned char>(text[static_cast<size_t>(i)]);
        break;
      default:
        broken();
    }
    return true;
  }
  float real() const { return std::bit_cast<float>(static_cast<uint32_t>(number)); }
  [[noreturn]] void broken() const {
    tokenizer_error(fmt::format("{} is no SentencePiece model: its protobuf is broken at byte {}", name_, at_));
  }

  int field = 0;
  uint64_t number = 0;
  std::string_view text;

 private:
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ >= bytes_.size()) broken();
      const auto byte = static_cast<unsigned char>(bytes_[at_++]);
      value |= static_cast<uint64_t>(byte & 127) << shift;
      if (byte < 128) return value;
    }
    broken();
  }
  std::string_view take(uint64_t size) {
    if (size > bytes_.size() - at_) broken();
    const std::string_view part = bytes_.substr(at_, size);
    at_ += size;
    return part;
  }
  std::string_view bytes_;
  std::string name_;
  size_t at_ = 0;
};

struct PieceRow {
  std::string text;
  float score = 0;
  int type = kNormal;
};

struct Model {
  std::vector<PieceRow> pieces;
  int model_type = 1;  // 1 Unigram, 2 BPE
  bool byte_fallback = false, space_as_suffix = false;
  std::string unk_surface = " \xE2\x81\x87 ";
  std::string charsmap;
  bool dummy_prefix = true, remove_extra_spaces = true, escape_spaces = true;
  int64_t unk_id = -1;
};

Model read_proto(const std::string& bytes, const std::string& name) {
  Model model;
  for (Message outer(bytes, name); outer.next();) {
    Message inner(outer.text, name);
    if (outer.field == 1) {
      PieceRow& row = model.pieces.emplace_back();
      while (inner.next()) {
        if (inner.field == 1) row.text = inner.text;
        if (inner.field == 2) row.score = inner.real();
        if (inner.field == 3) row.type = static_cast<int>(inner.number);
      }
      if (!valid_utf8(row.text) || !std::isfinite(row.score))
        tokenizer_error(fmt::format("{}: piece {} has a text or a score that cannot be used", name, model.pieces.size() - 1));
      if (row.type == kUnknownPiece) model.unk_id = static_cast<int64_t>(model.pieces.size()) - 1;
    } else if (outer.field == 2) {
      while (inner.next()) {
        if (inner.field == 3) model.model_type = static_cast<int>(inner.number);
        if (inner.field == 24) model.space_as_suffix = inner.number;
        if (inner.field == 35) model.byte_fallback = inner.number;
        if (inner.field == 44) model.unk_surface = inner.text;
      }
    } else if (outer.field == 3) {
      while (inner.next()) {
        if (inner.field == 2) model.charsmap = inner.text;
        if (inner.field == 3) model.dummy_prefix = inner.number;
        if (inner.field == 4) model.remove_extra_spaces = inner.number;
        if (inner.field == 5) model.escape_spaces = inner.number;
      }
    }
  }
  if (model.pieces.empty()) tokenizer_error(name + " is no SentencePiece model: it has no pieces");
  if (model.unk_id < 0) tokenizer_error(name + ": there is no unknown piece");
  if (model.model_type != 1 && model.model_type != 2)
    tokenizer_error(fmt::format("{}: the model type {} is not supported", name, model.model_type), "known: 1 (unigram), 2 (BPE)");
  if (model.model_type == 2 &&
      std::any_of(model.pieces.begin(), model.pieces.end(), [](auto& row) { return row.type == kUnused; }))
    tokenizer_error(name + ": BPE with unused pieces is not supported");
  return model;
}

Normalizer make_normalizer(const Model& model, const std::string& name) {
  std::shared_ptr<const CharsMap> map;
  if (!model.charsmap.empty()) map = std::make_shared<CharsMap>(model.charsmap, name);
  const std::string space = model.escape_spaces ? kSpaceMark : " ";
  return [map, space, suffix = model.space_as_suffix, dummy = model.dummy_prefix, remove = model.remove_extra_spaces](
             std::string& text, bool&) {
    // The replacement of what `rest` begins with, and how long that is.
    const auto replaced = [&](std::string_view rest, size_t* length) -> std::string_view {
      if (map)
        if (const char* known = map->longest(rest, length)) return known;
      *length = utf8_length(rest, 0);
      return rest.substr(0, *length);
    };
    std::string_view rest = text;
    size_t n = 0;
    while (remove && !rest.empty() && replaced(rest, &n) == " ") rest.remove_prefix(n);
    if (rest.empty()) return text.clear();
    std::string out;
    if (dummy && !suffix) out += space;
    for (bool after_space = remove; !rest.empty(); rest.remove_prefix(n)) {
      std::string_view part = replaced(rest, &n);
      while (after_space && part.starts_with(' ')) part.remove_prefix(1);
      for (const char c : part) {
        if (c == ' ')
          out += space;
        else
          out += c;
      }
      if (!part.empty()) after_space = remove && part.ends_with(' ');
    }
    while (remove && out.ends_with(space)) out.resize(out.size() - space.size());
    if (dummy && suffix) out += space;
    text = std::move(out);
  };
}

// A run of bytes as text. Where it is no UTF-8 the library writes U+FFFD for each byte that belongs to no character, transformers
// for each byte.
void append_bytes(const std::string& bytes, bool as_library, std::string& text) {
  if (valid_utf8(bytes)) {
    text += bytes;
    return;
  }
  for (size_t at = 0, n = 1; at < bytes.size(); at += n) {
    n = as_library ? utf8_length(bytes, at) : 1;
    if (n > 1 || (as_library && static_cast<unsigned char>(bytes[at]) < 0x80))
      text.append(bytes, at, n);
    else
      text += "\xEF\xBF\xBD";
  }
}

Decoder make_decoder(const Model& model, const std::unordered_set<std::string>& shown, bool as_library) {
  std::unordered_set<std::string> hidden;
  std::unordered_map<std::string, char> bytes;
  for (auto& row : model.pieces) {
    if (row.type == kControl && !shown.contains(row.text)) hidden.insert(row.text);
    if (row.type != kByte) continue;
    for (size_t b = 0; b < 256; ++b)
      if (row.text == fmt::format("<0x{:02X}>", b)) bytes[row.text] = static_cast<char>(b);
  }
  const std::string unknown = model.pieces[static_cast<size_t>(model.unk_id)].text;
  return [=, surface = model.unk_surface, dummy = model.dummy_prefix, remove = model.remove_extra_spaces,
          suffix = model.space_as_suffix](std::vector<std::string>& tokens) {
    std::string text, run;
    const auto flush = [&] {
      append_bytes(run, as_library, text);
      run.clear();
    };
    bool at_start = true;  // where leading spaces are what encoding put there
    for (auto& token : tokens) {
      if (const auto byte = bytes.find(token); byte != bytes.end()) {
        run += byte->second;
        at_start = false;
        continue;
      }
      flush();
      if (hidden.contains(token)) continue;
      if (token == unknown && !shown.contains(unknown)) {
        text += surface;
        at_start = false;
        continue;
      }
      std::string_view rest = token;
      if (at_start && (dummy || remove) && !suffix && rest.starts_with(kSpaceMark)) {
        rest.remove_prefix(3);
        if (!remove || !rest.empty()) at_start = false;
      } else {
        at_start = false;
      }
      for (size_t at = rest.find(kSpaceMark); at != std::string_view::npos; at = rest.find(kSpaceMark)) {
        text.append(rest.substr(0, at)).append(" ");
        rest.remove_prefix(at + 3);
      }
      text += rest;
    }
    flush();
    tokens.assign(1, std::move(text));
  };
}

VocabularyPointer make_unigram_model(const Model& model, TokenMap tokens) {
  UnigramParts parts;
  float lowest = 0, highest = 0;
  bool any = false;
  for (auto& row : model.pieces) {
    if (row.type != kNormal) continue;
    lowest = any ? std::min(lowest, row.score) : row.score;
    highest = any ? std::max(highest, row.score) : row.score;
    any = true;
  }
  for (auto& row : model.pieces) {
    parts.scores.push_back(row.type == kUserDefined ? static_cast<double>(row.text.size()) * highest - 0.1 : row.score);
    parts.unusable.push_back(row.type != kNormal && row.type != kUserDefined);
  }
  parts.tokens = std::move(tokens);
  parts.lowest = lowest;
  parts.unk_id = model.unk_id;
  parts.byte_fallback = model.byte_fallback;
  parts.single_precision = true;
  return make_unigram(std::move(parts));
}

// Merges by score, the leftmost of equals: equal scores are one rank.
VocabularyPointer make_bpe_model(const Model& model, TokenMap tokens) {
  std::vector<float> scores;
  for (auto& row : model.pieces)
    if (row.type == kNormal || row.type == kUserDefined) scores.push_back(row.score);
  std::sort(scores.begin(), scores.end(), std::greater<>());
  scores.erase(std::unique(scores.begin(), scores.end()), scores.end());
  std::vector<int32_t> ranks;
  for (auto& row : model.pieces) {
    const auto place = std::lower_bound(scores.begin(), scores.end(), row.score, std::greater<>()) - scores.begin();
    ranks.push_back(row.type == kNormal || row.type == kUserDefined ? static_cast<int32_t>(place) : INT32_MAX);
  }
  BpeParts parts;
  parts.merges = merges_of_ranks(tokens, ranks);
  // Control pieces and bytes are no text.
  std::erase_if(parts.merges, [&](auto& m) {
    return ranks[static_cast<size_t>(m.left)] == INT32_MAX || ranks[static_cast<size_t>(m.right)] == INT32_MAX;
  });
  parts.tokens = std::move(tokens);
  parts.unk_token = model.pieces[static_cast<size_t>(model.unk_id)].text;
  parts.fuse_unk = true;
  parts.byte_fallback = model.byte_fallback;
  return make_bpe(std::move(parts), false);
}

}  // namespace

TokenizerParts read_sentencepiece(const std::string& bytes, const std::string& name, const Json& config) {
  const Model model = read_proto(bytes, name);
  TokenMap tokens;
  for (size_t i = 0; i < model.pieces.size(); ++i)
    if (!tokens.add(model.pieces[i].text, static_cast<int32_t>(i)))
      tokenizer_error(fmt::format("{}: the piece '{}' stands there twice", name, model.pieces[i].text));
  TokenizerParts parts;
  parts.normalizer = make_normalizer(model, name);
  // Beside a configuration control pieces are tokens that texts may hold, as transformers has it; the library alone knows them by
  // id only.
  std::unordered_set<std::string> shown;
  for (auto& row : model.pieces) {
    const bool control = config.is_object() && (row.type == kControl || row.type == kUnknownPiece);
    if (control || row.type == kUserDefined) parts.added.push_back({row.text, false, false, false, false, control});
    if (control) shown.insert(row.text);
  }
  parts.decoder = make_decoder(model, shown, !config.is_object());
  parts.vocabulary =
      model.model_type == 2 ? make_bpe_model(model, std::move(tokens)) : make_unigram_model(model, std::move(tokens));
  const std::string kind = config.is_object() ? text_field_or(config, "tokenizer_class", "tokenizer_config.json", "") : "";
  parts.adds_bos = kind.starts_with("Llama") || kind.starts_with("Gemma") || kind.starts_with("CodeLlama");
  parts.adds_eos = kind.starts_with("T5") || kind.starts_with("Albert");
  return parts;
}

}  // namespace graft
