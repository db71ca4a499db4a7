// Trains a byte-level BPE tokenizer in the manner of GPT-2 and writes it as Hugging Face's tokenizer.json.
// Algorithm: Sennrich, Haddow, Birch (2016), "Neural Machine Translation of Rare Words with Subword Units", on bytes.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json.h"

namespace graft {

// Counts pieces of text as GPT-2 splits it (contractions, words, numbers, other signs, each with its leading space).
// The texts must be UTF-8; Fault::Input otherwise.
class PieceCounts {
 public:
  void add(std::string_view text);
  const std::map<std::string, int64_t>& pieces() const { return pieces_; }

 private:
  std::map<std::string, int64_t> pieces_;
};

struct BpeVocabulary {
  std::vector<std::string> tokens;                          // by id: special tokens, 256 bytes, merged; bytes as GPT-2 spells them
  std::vector<std::pair<std::string, std::string>> merges;  // in the order of their learning
};

// Joins the most frequent pair until there are `vocab_size` tokens or no pair is left; of equally frequent pairs the
// one with the smaller ids. Every step counts all pieces anew: meant for up to some 10^5 different pieces.
// vocab_size must exceed 256 + the number of special tokens (Fault::Usage).
BpeVocabulary train_bpe(const PieceCounts& counts, int64_t vocab_size, const std::vector<std::string>& special_tokens);

// The tokenizer.json: byte-level pre-tokenisation with GPT-2's pattern and no prefix space, and `bos` put first.
Json tokenizer_json(const BpeVocabulary& vocabulary, const std::vector<std::string>& special_tokens, const std::string& bos);

}  // namespace graft
