// A tokenizer's model: from a pre-tokenised piece to ids, and from an id to its token.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "tokenizer/token_map.h"

namespace graft {

class Vocabulary {
 public:
  virtual ~Vocabulary() = default;
  // Appends the ids of a piece. Safe to call from several threads.
  virtual void encode(std::string_view piece, std::vector<int64_t>& ids) const = 0;
  std::optional<int64_t> id(std::string_view token) const {
    const int32_t found = tokens_.find(token);
    return found < 0 ? std::nullopt : std::optional<int64_t>(found);
  }
  const std::string* token(int64_t id) const { return tokens_.token(id); }  // nullptr when there is none
  int64_t size() const { return tokens_.size(); }                           // largest id + 1
  int64_t count() const { return tokens_.count(); }                         // of tokens

 protected:
  TokenMap tokens_;
};
using VocabularyPointer = std::shared_ptr<const Vocabulary>;

// Byte-pair encoding (arXiv 1508.07909).
struct BpeParts {
  struct Merge {
    int32_t left, right, result, rank;  // ids; the lowest rank is merged first, the leftmost of equals
  };
  TokenMap tokens;
  std::vector<Merge> merges;
  std::string prefix, suffix;  // of what does not begin, and of what ends a piece
  std::optional<std::string> unk_token;
  bool fuse_unk = false, byte_fallback = false, ignore_merges = false;
};
// With `raw_bytes` pieces are bytes as they are, where the tokens spell them in GPT-2's characters.
VocabularyPointer make_bpe(BpeParts parts, bool raw_bytes);
// Every way to put a token together from two others, for files that list tokens with ranks instead of merges.
std::vector<BpeParts::Merge> merges_of_ranks(const TokenMap& tokens, const std::vector<int32_t>& rank_of_id);
// Whether a model of this form can read bytes as they are.
bool can_read_raw_bytes(const Json& model);

// The best of all ways to cut, by the sum of scores (arXiv 1804.10959).
struct UnigramParts {
  TokenMap tokens;
  std::vector<double> scores;    // by id
  std::vector<bool> unusable;    // by id: never chosen; may be empty
  std::optional<double> lowest;  // what unknown characters are scored by, the least of all scores if not given
  std::optional<int64_t> unk_id;
  bool byte_fallback = false;
  bool single_precision = false;  // sums of scores are floats
};
VocabularyPointer make_unigram(UnigramParts parts);

// The model of tokenizer.json: BPE, Unigram, WordPiece, WordLevel. Throws Fault::Input.
VocabularyPointer read_model(const Json& model, bool raw_bytes);
VocabularyPointer read_bpe(const Json& model, bool raw_bytes);
VocabularyPointer read_unigram(const Json& model);
VocabularyPointer read_word_piece(const Json& model);
VocabularyPointer read_word_level(const Json& model);

}  // namespace graft
