#include "embedded/bpe_trainer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <memory>
#include <unordered_map>

#include "core/check.h"

namespace graft {
namespace {

constexpr const char* kPattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

struct Pattern {
  std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> code{nullptr, pcre2_code_free};
  std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match{nullptr, pcre2_match_data_free};
  Pattern() {
    int error = 0;
    PCRE2_SIZE offset = 0;
    code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(kPattern), PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr));
    CHECK_THAT(code != nullptr, "the split pattern does not compile: error {} at {}", error, offset);
    pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
    match.reset(pcre2_match_data_create_from_pattern(code.get(), nullptr));
  }
};

std::string utf8(uint32_t code_point) {  // below 0x800 suffices here
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xc0 | (code_point >> 6)), static_cast<char>(0x80 | (code_point & 0x3f))};
}

// GPT-2 spells a byte as itself where it is printable Latin-1, else as the next code point from 256 on.
std::array<uint32_t, 256> byte_spelling() {
  std::array<uint32_t, 256> spelling{};
  uint32_t next = 256;
  for (uint32_t b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    spelling[b] = printable ? b : next++;
  }
  return spelling;
}

using Pair = std::pair<int32_t, int32_t>;
struct PairHash {
  size_t operator()(const Pair& p) const { return static_cast<size_t>(p.first) * 0x9e3779b97f4a7c15ULL ^ static_cast<size_t>(p.second); }
};
struct Piece {
  std::vector<int32_t> symbols;
  int64_t count;
};

void join(std::vector<int32_t>& symbols, const Pair& pair, int32_t joined) {
  size_t to = 0;
  for (size_t from = 0; from < symbols.size(); ++to) {
    const bool here = from + 1 < symbols.size() && symbols[from] == pair.first && symbols[from + 1] == pair.second;
    symbols[to] = here ? joined : symbols[from];
    from += here ? 2 : 1;
  }
  symbols.resize(to);
}

}  // namespace

void PieceCounts::add(std::string_view text) {
  thread_local Pattern pattern;
  size_t at = 0;
  while (at < text.size()) {
    const int found = pcre2_match(pattern.code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at, 0, pattern.match.get(), nullptr);
    if (found < 0) input_error("embedded", fmt::format("the text is not valid UTF-8 near byte {} (error {})", at, found));
    const PCRE2_SIZE* span = pcre2_get_ovector_pointer(pattern.match.get());
    ++pieces_[std::string(text.substr(span[0], span[1] - span[0]))];
    at = span[1];
  }
}

BpeVocabulary train_bpe(const PieceCounts& counts, int64_t vocab_size, const std::vector<std::string>& special_tokens) {
  const int64_t base = 256 + static_cast<int64_t>(special_tokens.size());
  if (vocab_size <= base)
    usage_error("embedded", fmt::format("vocab_size must exceed {} (bytes and special tokens) but is {}", base, vocab_size));
  BpeVocabulary out;
  out.tokens = special_tokens;
  auto spelling = byte_spelling();
  std::array<int32_t, 256> id_of_byte{};  // ids follow the code points of the spelling
  std::array<uint32_t, 256> order{};
  for (uint32_t b = 0; b < 256; ++b) order[b] = b;
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return spelling[a] < spelling[b]; });
  for (const uint32_t b : order) {
    id_of_byte[b] = static_cast<int32_t>(out.tokens.size());
    out.tokens.push_back(utf8(spelling[b]));
  }

  std::vector<Piece> pieces;
  for (const auto& [text, count] : counts.pieces()) {
    Piece piece{{}, count};
    for (const unsigned char c : text) piece.symbols.push_back(id_of_byte[c]);
    pieces.push_back(std::move(piece));
  }
  while (static_cast<int64_t>(out.tokens.size()) < vocab_size) {
    std::unordered_map<Pair, int64_t, PairHash> pair_counts;
    for (const Piece& piece : pieces)
      for (size_t i = 1; i < piece.symbols.size(); ++i) pair_counts[{piece.symbols[i - 1], piece.symbols[i]}] += piece.count;
    if (pair_counts.empty()) break;
    const auto best = std::max_element(pair_counts.begin(), pair_counts.end(), [](const auto& a, const auto& b) {
      return a.second != b.second ? a.second < b.second : a.first > b.first;
    });
    const Pair pair = best->first;
    const auto joined = static_cast<int32_t>(out.tokens.size());
    out.merges.emplace_back(out.tokens[pair.first], out.tokens[pair.second]);
    out.tokens.push_back(out.tokens[pair.first] + out.tokens[pair.second]);
    for (Piece& piece : pieces) join(piece.symbols, pair, joined);
  }
  return out;
}

Json tokenizer_json(const BpeVocabulary& vocabulary, const std::vector<std::string>& special_tokens, const std::string& bos) {
  const auto found = std::find(special_tokens.begin(), special_tokens.end(), bos);
  CHECK_THAT(found != special_tokens.end(), "'{}' is not a special token", bos);
  const auto bos_id = found - special_tokens.begin();
  Json added = Json::array();
  for (size_t id = 0; id < special_tokens.size(); ++id)
    added.push_back({{"id", id}, {"content", special_tokens[id]}, {"single_word", false}, {"lstrip", false}, {"rstrip", false}, {"normalized", false}, {"special", true}});
  Json vocab = Json::object();
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) vocab[vocabulary.tokens[id]] = id;
  Json merges = Json::array();
  for (const auto& [left, right] : vocabulary.merges) merges.push_back({left, right});
  const auto byte_level = [](bool prefix_space) {
    return Json{{"type", "ByteLevel"}, {"add_prefix_space", prefix_space}, {"trim_offsets", true}, {"use_regex", true}};
  };
  const auto special = [&](int type) { return Json{{"SpecialToken", {{"id", bos}, {"type_id", type}}}}; };
  const auto sequence = [](const char* id, int type) { return Json{{"Sequence", {{"id", id}, {"type_id", type}}}}; };
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level(false)},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single", Json::array({special(0), sequence("A", 0)})},
            {"pair", Json::array({special(0), sequence("A", 0), special(1), sequence("B", 1)})},
            {"special_tokens", {{bos, {{"id", bos}, {"ids", Json::array({bos_id})}, {"tokens", Json::array({bos})}}}}}}},
          {"decoder", byte_level(true)},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", vocab},
            {"merges", merges}}}};
}

}  // namespace graft
