// WordLevel: a word is a token. WordPiece: the longest token first, from left to right (arXiv 1609.08144).
#include "core/check.h"
#include "tokenizer/fields.h"
#include "tokenizer/unicode.h"
#include "tokenizer/vocabulary.h"

namespace graft {
namespace {

class WordPiece : public Vocabulary {
 public:
  explicit WordPiece(const Json& model) {
    const std::string where = "model WordPiece";
    tokens_ = TokenMap::from_json(model.contains("vocab") ? model["vocab"] : Json(), where);
    unk_token_ = text_field(model, "unk_token", where);
    prefix_ = text_field(model, "continuing_subword_prefix", where);
    longest_ = static_cast<size_t>(count_field(model, "max_input_chars_per_word", where, int64_t{1} << 40));
    unk_ = tokens_.find(unk_token_);
    for (int64_t id = 0; id < tokens_.size(); ++id)
      if (const std::string* token = tokens_.token(id)) longest_token_ = std::max(longest_token_, token->size());
  }

  void encode(std::string_view piece, std::vector<int64_t>& ids) const override {
    if (piece.empty() || cache_.find(piece, ids)) return;
    const size_t before = ids.size();
    size_t characters = 0;
    for (size_t at = 0; at < piece.size(); at += utf8_length(piece, at)) ++characters;
    if (characters > longest_ || !cut(piece, ids)) {
      if (unk_ < 0) tokenizer_error(fmt::format("model WordPiece: the unk_token '{}' is not in the vocabulary", unk_token_));
      ids.resize(before);
      ids.push_back(unk_);
    }
    cache_.keep(piece, ids.data() + before, ids.size() - before);
  }

 private:
  bool cut(std::string_view piece, std::vector<int64_t>& ids) const {
    std::string candidate;
    for (size_t begin = 0; begin < piece.size();) {
      const std::string_view prefix = begin > 0 ? std::string_view(prefix_) : std::string_view();
      // Nothing longer than the longest token is worth a look.
      size_t end = std::min(piece.size(), begin + longest_token_);
      while (end < piece.size() && end > begin && (static_cast<unsigned char>(piece[end]) & 0xC0) == 0x80) --end;
      candidate.assign(prefix).append(piece.substr(begin, end - begin));
      int32_t id = -1;
      while (end > begin && (id = tokens_.find(candidate)) < 0) {
        const size_t shorter = utf8_before(piece, end, begin);
        candidate.resize(candidate.size() - (end - shorter));
        end = shorter;
      }
      if (end == begin) return false;
      ids.push_back(id);
      begin = end;
    }
    return true;
  }

  std::string unk_token_, prefix_;
  size_t longest_ = 0, longest_token_ = 0;
  int32_t unk_ = -1;
  WordCache cache_;
};

class WordLevel : public Vocabulary {
 public:
  explicit WordLevel(const Json& model) {
    const std::string where = "model WordLevel";
    tokens_ = TokenMap::from_json(model.contains("vocab") ? model["vocab"] : Json(), where);
    unk_token_ = text_field(model, "unk_token", where);
    unk_ = tokens_.find(unk_token_);
  }
  void encode(std::string_view piece, std::vector<int64_t>& ids) const override {
    const int32_t id = tokens_.find(piece);
    if (id < 0 && unk_ < 0)
      tokenizer_error(fmt::format("model WordLevel: '{}' is not in the vocabulary, and neither is the unk_token '{}'",
                                  piece.substr(0, 80), unk_token_));
    ids.push_back(id < 0 ? unk_ : id);
  }

 private:
  std::string unk_token_;
  int32_t unk_ = -1;
};

}  // namespace

VocabularyPointer read_word_piece(const Json& model) {
  return std::make_shared<WordPiece>(model);
}
VocabularyPointer read_word_level(const Json& model) {
  return std::make_shared<WordLevel>(model);
}

VocabularyPointer read_model(const Json& model, bool raw_bytes) {
  // Old files have no type: then the fields say what it is.
  const std::string type = text_field_or(model, "type", "model",
                                         model.contains("merges")                     ? "BPE"
                                         : model.contains("max_input_chars_per_word") ? "WordPiece"
                                         : model.contains("unk_id")                   ? "Unigram"
                                                                                      : "WordLevel");
  if (type == "BPE") return read_bpe(model, raw_bytes);
  if (type == "Unigram") return read_unigram(model);
  if (type == "WordPiece") return read_word_piece(model);
  if (type == "WordLevel") return read_word_level(model);
  unknown_type("model", type, "BPE, Unigram, WordPiece, WordLevel");
}

}  // namespace graft
