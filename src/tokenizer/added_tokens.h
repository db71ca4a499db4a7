// Tokens that are found in the text itself, before the model of the vocabulary sees it: special tokens, chat markers.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "tokenizer/stages.h"
#include "tokenizer/vocabulary.h"

namespace graft {

struct AddedToken {
  std::string content;
  bool single_word = false, lstrip = false, rstrip = false, normalized = true, special = false;
  bool operator==(const AddedToken&) const = default;
};
// {"content", "special", ...}; `normalized` is the opposite of `special` where it is missing.
AddedToken read_added_token(const Json& json, const std::string& where);

// A stretch of input: plain text, or an added token with the text that it takes.
struct Stretch {
  std::string_view text;
  int64_t id = -1;
  bool first = false;  // the input's first characters are in it
};

class AddedTokens {
 public:
  // Ids are the reference's: the model's where it knows the text, else the next free one, whatever a file says.
  void add(const std::vector<AddedToken>& tokens, const Vocabulary& model, const Normalizer& normalizer);

  // Cuts out tokens that are looked for before (after) normalisation, leftmost and longest; appends to `out`.
  void split(const Stretch& input, bool after_normalization, std::vector<Stretch>& out) const;
  bool any(bool after_normalization) const { return finders_[after_normalization].any; }

  const AddedToken* token(int64_t id) const;
  const std::string* id_to_text(int64_t id) const;  // as decoders want it: normalised where the token is
  const int64_t* id(const std::string& content) const;
  bool special(const std::string& text) const { return special_.contains(text); }
  int64_t size() const { return size_; }  // largest id + 1

 private:
  struct Entry {
    AddedToken token;
    std::string text;  // what is looked for, and what decoders see
  };
  struct Finder {
    std::array<std::vector<int64_t>, 256> by_byte;  // ids by the first byte of what is looked for, the longest first
    bool any = false;
  };
  void find_all_anew();
  std::unordered_map<int64_t, Entry> tokens_;
  std::unordered_map<std::string, int64_t> ids_;
  std::unordered_set<std::string> special_;
  std::array<Finder, 2> finders_;
  int64_t size_ = 0;
};

}  // namespace graft
