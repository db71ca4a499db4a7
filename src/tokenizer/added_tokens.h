// Tokens that are found in the text itself, before the model of the vocabulary sees it: special tokens, chat markers.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace graft {

struct AddedToken {
  std::string content;  // normalised where the token says so
  int64_t id = 0;
  bool single_word = false, lstrip = false, rstrip = false, special = false;
};

// A stretch of input: plain text, or an added token's id.
struct Stretch {
  std::string text;
  int64_t id = -1;
  bool first = false;  // the input's first characters are in it
};

// The added tokens of one kind, found leftmost and longest.
class AddedTokens {
 public:
  void add(AddedToken token);
  void finish();  // after the last add
  std::vector<Stretch> split(const Stretch& input) const;

 private:
  const AddedToken* match(const std::string& text, size_t at) const;
  std::array<std::vector<AddedToken>, 256> by_byte_;  // by the first byte
};

}  // namespace graft
