#include <algorithm>

#include "core/check.h"
#include "tokenizer/fields.h"
#include "tokenizer/pattern.h"
#include "tokenizer/stages.h"
#include "tokenizer/unicode.h"

namespace graft {
namespace {

constexpr const char* kPreTokenizers =
    "Sequence, ByteLevel, Metaspace, Split, Digits, Punctuation, Whitespace, WhitespaceSplit, BertPreTokenizer, "
    "CharDelimiterSplit, UnicodeScripts, FixedLength";
constexpr int kDeepestSequence = 32;
constexpr int64_t kMostLength = int64_t{1} << 31;

enum class Behavior { Removed, Isolated, Contiguous, MergedWithPrevious, MergedWithNext };

Behavior read_behavior(const std::string& name, const std::string& where) {
  if (name == "Removed") return Behavior::Removed;
  if (name == "Isolated") return Behavior::Isolated;
  if (name == "Contiguous") return Behavior::Contiguous;
  if (name == "MergedWithPrevious") return Behavior::MergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::MergedWithNext;
  tokenizer_error(fmt::format("{}: the behavior '{}' is not supported", where, name),
                  "known: Removed, Isolated, Contiguous, MergedWithPrevious, MergedWithNext");
}

// What a stage needs while it cuts one piece.
struct Part {
  Span span;
  bool match;
};
struct Cutting {
  std::vector<Span> matches;
  std::vector<Part> parts, joined;
  std::vector<Piece> out;
};

void emit(const Piece& piece, Span span, std::vector<Piece>& out) {
  if (span.second > span.first)
    out.push_back({piece.text.substr(span.first, span.second - span.first), piece.first && span.first == 0});
}

// Cuts a piece along matches; `invert` takes what is between them for the matches.
void cut(const Piece& piece, Behavior behavior, bool invert, Cutting& work) {
  auto& [matches, parts, joined, out] = work;
  parts.clear();
  joined.clear();
  size_t last = 0;
  for (auto& m : matches) {
    if (m.first > last) parts.push_back({{last, m.first}, invert});
    parts.push_back({m, !invert});
    last = m.second;
  }
  if (last < piece.text.size()) parts.push_back({{last, piece.text.size()}, invert});
  bool previous = false;
  switch (behavior) {
    case Behavior::Removed:
      for (auto& p : parts)
        if (!p.match) emit(piece, p.span, out);
      return;
    case Behavior::Isolated:
      for (auto& p : parts) emit(piece, p.span, out);
      return;
    case Behavior::Contiguous:
      for (auto& p : parts) {
        if (!joined.empty() && previous == p.match)
          joined.back().span.second = p.span.second;
        else
          joined.push_back(p);
        previous = p.match;
      }
      break;
    case Behavior::MergedWithPrevious:
      for (auto& p : parts) {
        if (p.match && !previous && !joined.empty())
          joined.back().span.second = p.span.second;
        else
          joined.push_back(p);
        previous = p.match;
      }
      break;
    case Behavior::MergedWithNext:
      for (auto it = parts.rbegin(); it != parts.rend(); ++it) {
        if (it->match && !previous && !joined.empty())
          joined.back().span.first = it->span.first;
        else
          joined.push_back(*it);
        previous = it->match;
      }
      std::reverse(joined.begin(), joined.end());
  }
  for (auto& p : joined) emit(piece, p.span, out);
}

// A stage that cuts every piece by itself: f(piece, work) appends to work.out.
template <class F>
PreTokenizer each_piece(F f) {
  return [f](Pieces& pieces) {
    Cutting work;
    work.out.reserve(pieces.list.size());
    for (const Piece& piece : pieces.list) {
      work.matches.clear();
      f(piece, work, pieces);
    }
    pieces.list = std::move(work.out);
  };
}

// Cuts around characters with a flag: each alone, or runs of them and of others.
PreTokenizer by_flag(uint16_t flag, Behavior behavior) {
  return each_piece([=](const Piece& piece, Cutting& work, Pieces&) {
    for (size_t at = 0, n = 0; at < piece.text.size(); at += n)
      if (character_flags(decode_utf8(piece.text, at, &n)) & flag) work.matches.emplace_back(at, at + n);
    cut(piece, behavior, false, work);
  });
}

PreTokenizer by_pattern(const Pattern& pattern, Behavior behavior, bool invert) {
  if (const auto matcher = pattern.matcher(); matcher && behavior == Behavior::Isolated)
    return each_piece([=](const Piece& piece, Cutting& work, Pieces&) {
      for (size_t at = 0; at < piece.text.size();) {
        const size_t end = matcher(piece.text, at);
        emit(piece, {at, end}, work.out);
        at = end;
      }
    });
  return each_piece([=](const Piece& piece, Cutting& work, Pieces&) {
    pattern.matches(piece.text, work.matches);
    cut(piece, behavior, invert, work);
  });
}

PreTokenizer read_metaspace(const Json& json, const std::string& where) {
  const std::string mark = character_field(json, "replacement", where);
  std::string scheme = text_field_or(json, "prepend_scheme", where, "always");
  if (scheme != "always" && scheme != "first" && scheme != "never")
    tokenizer_error(fmt::format("{}: the prepend_scheme '{}' is not supported", where, scheme), "known: always, first, never");
  if (!flag_field(json, "add_prefix_space", where, true)) {
    if (json.contains("prepend_scheme") && scheme != "never")
      tokenizer_error(fmt::format("{}: add_prefix_space is false, but prepend_scheme is '{}'", where, scheme));
    scheme = "never";
  }
  const bool splits = flag_field(json, "split", where, true);
  const Pattern space = Pattern::literal(" "), pattern = Pattern::literal(mark);
  return each_piece([=](const Piece& piece, Cutting& work, Pieces& pieces) {
    std::string text = space.replace(piece.text, mark);
    if ((scheme == "always" || (scheme == "first" && piece.first)) && !text.starts_with(mark)) text.insert(0, mark);
    const Piece marked{pieces.keep(std::move(text)), piece.first};
    if (!splits) return work.out.push_back(marked);
    pattern.matches(marked.text, work.matches);
    cut(marked, Behavior::MergedWithNext, false, work);
  });
}

PreTokenizer read_byte_level(const Json& json, const std::string& where, bool raw_bytes) {
  const bool prefix = required_flag(json, "add_prefix_space", where), regex = flag_field(json, "use_regex", where, true);
  required_flag(json, "trim_offsets", where);
  return each_piece([=](const Piece& given, Cutting& work, Pieces& pieces) {
    Piece piece = given;
    if (prefix && !piece.text.starts_with(' ')) piece.text = pieces.keep(" " + std::string(piece.text));
    const size_t begin = work.out.size();
    for (size_t at = 0; regex && at < piece.text.size();) {
      const size_t end = gpt2_matcher(piece.text, at);
      emit(piece, {at, end}, work.out);
      at = end;
    }
    if (!regex) work.out.push_back(piece);
    for (size_t i = begin; !raw_bytes && i < work.out.size(); ++i) {
      std::string visible;
      for (const unsigned char byte : work.out[i].text) visible += byte_characters()[byte];
      work.out[i].text = pieces.keep(std::move(visible));
    }
  });
}

// Words of \w, and runs of what is neither that nor white space.
void cut_words(const Piece& piece, Cutting& work, Pieces&) {
  const std::string_view text = piece.text;
  const auto kind = [&](size_t at, size_t* n) {
    const uint16_t flags = character_flags(decode_utf8(text, at, n));
    return flags & kWord ? 2 : flags & kWhitespace ? 0 : 1;
  };
  for (size_t at = 0, n = 0; at < text.size();) {
    const int this_kind = kind(at, &n);
    size_t end = at + n;
    while (end < text.size() && kind(end, &n) == this_kind) end += n;
    if (this_kind) emit(piece, {at, end}, work.out);
    at = end;
  }
}

// Cuts where the script changes. Kana and the long vowel mark count as Han; what goes with any script (spaces) stays where it is,
// and is dropped where nothing is before it: so does the reference.
void cut_scripts(const Piece& piece, Cutting& work, Pieces&) {
  constexpr int kNone = -2, kAny = -1;
  static const int han = script_of(0x4E00), hiragana = script_of(0x3042), katakana = script_of(0x30A2);
  int last = kNone;
  size_t begin = std::string_view::npos;
  for (size_t at = 0, n = 0; at < piece.text.size(); at += n) {
    const uint32_t code = decode_utf8(piece.text, at, &n);
    int script = code == ' ' ? kAny : code == 0x30FC ? han : script_of(code);
    if (script == kAny) continue;
    if (script == hiragana || script == katakana) script = han;
    if (script != last) {
      if (begin != std::string_view::npos) emit(piece, {begin, at}, work.out);
      begin = at;
    }
    last = script;
  }
  if (begin != std::string_view::npos) emit(piece, {begin, piece.text.size()}, work.out);
}

PreTokenizer read_fixed_length(const Json& json, const std::string& where) {
  const int64_t length = json.contains("length") ? count_field(json, "length", where, kMostLength) : 5;
  if (length == 0) tokenizer_error(where + ": the length must not be 0");
  return each_piece([=](const Piece& piece, Cutting& work, Pieces&) {
    for (size_t at = 0; at < piece.text.size();) {
      size_t end = at;
      for (int64_t i = 0; i < length && end < piece.text.size(); ++i) end += utf8_length(piece.text, end);
      emit(piece, {at, end}, work.out);
      at = end;
    }
  });
}

PreTokenizer read_stage(const Json& json, bool raw_bytes, int depth) {
  if (json.is_null()) return {};
  const std::string type = type_of(json, "pre_tokenizer"), where = "pre_tokenizer " + type;
  if (type == "Sequence") {
    if (depth > kDeepestSequence) tokenizer_error("the pre_tokenizer has too many sequences in one another");
    std::vector<PreTokenizer> all;
    const Json& list = list_field(json, "pretokenizers", where);
    for (size_t i = 0; i < list.size(); ++i)
      if (PreTokenizer one = read_stage(list[i], raw_bytes && i + 1 == list.size(), depth + 1)) all.push_back(std::move(one));
    return [all](Pieces& pieces) {
      for (auto& one : all) one(pieces);
    };
  }
  if (type == "ByteLevel") return read_byte_level(json, where, raw_bytes);
  if (type == "Metaspace") return read_metaspace(json, where);
  if (type == "Split")
    return by_pattern(Pattern::from_json(json.value("pattern", Json()), where),
                      read_behavior(text_field(json, "behavior", where), where), required_flag(json, "invert", where));
  if (type == "Digits")
    return by_flag(kNumeric, required_flag(json, "individual_digits", where) ? Behavior::Isolated : Behavior::Contiguous);
  if (type == "Punctuation")
    return by_flag(kPunctuation, read_behavior(text_field_or(json, "behavior", where, "Isolated"), where));
  if (type == "WhitespaceSplit") return by_flag(kWhitespace, Behavior::Removed);
  if (type == "Whitespace") return each_piece(cut_words);
  if (type == "BertPreTokenizer")
    return [spaces = by_flag(kWhitespace, Behavior::Removed),
            punctuation = by_flag(kPunctuation, Behavior::Isolated)](Pieces& pieces) {
      spaces(pieces);
      punctuation(pieces);
    };
  if (type == "CharDelimiterSplit")
    return by_pattern(Pattern::literal(character_field(json, "delimiter", where)), Behavior::Removed, false);
  if (type == "UnicodeScripts") return each_piece(cut_scripts);
  if (type == "FixedLength") return read_fixed_length(json, where);
  unknown_type("pre_tokenizer", type, kPreTokenizers);
}

}  // namespace

bool ends_in_byte_level(const Json& json) {
  if (!json.is_object() || !json.contains("type")) return false;
  if (json["type"] == "ByteLevel") return true;
  return json["type"] == "Sequence" && json.contains("pretokenizers") && json["pretokenizers"].is_array() &&
         !json["pretokenizers"].empty() && json["pretokenizers"].back().is_object() &&
         json["pretokenizers"].back().value("type", Json()) == "ByteLevel";
}

PreTokenizer read_pre_tokenizer(const Json& json, bool raw_bytes) {
  return read_stage(json, raw_bytes, 0);
}

}  // namespace graft
