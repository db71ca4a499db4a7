// The stages around a tokenizer's model, each read from one object of tokenizer.json: text → normalizer → pre-tokenizer → model →
// post-processor, and decoder on the way back. An unknown type or a wrong field throws Fault::Input naming it and its place.
#pragma once
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace graft {

// Changes a text in place; an empty function for none. `start` becomes false where the text's first characters go away: what
// follows is not the start of the input any more.
using Normalizer = std::function<void(std::string& text, bool& start)>;
Normalizer read_normalizer(const Json& json);

// A piece of text on its way to the model; `first` marks the one at the very start of the input.
struct Piece {
  std::string_view text;
  bool first = false;
};
// The pieces of one text, and the texts that stages made anew.
struct Pieces {
  std::vector<Piece> list;
  std::deque<std::string> texts;
  std::string_view keep(std::string text) { return texts.emplace_back(std::move(text)); }
};
using PreTokenizer = std::function<void(Pieces&)>;

// The pre-tokenizer's last stage is ByteLevel.
bool ends_in_byte_level(const Json& json);
// With `raw_bytes` that last stage leaves bytes as they are, for a model that reads bytes.
PreTokenizer read_pre_tokenizer(const Json& json, bool raw_bytes = false);

// From tokens to parts of the text.
using Decoder = std::function<void(std::vector<std::string>&)>;
Decoder read_decoder(const Json& json);

// What is put around the ids of a text: ids, or (in place of `sequence`) the text's own.
struct PostProcessor {
  struct Part {
    bool sequence = false;
    std::vector<int64_t> ids;
  };
  std::vector<Part> with, without;  // special tokens
  int64_t added = 0;                // how many ids `with` adds to one text, as truncation counts
  static PostProcessor none() { return {{{true, {}}}, {{true, {}}}, 0}; }
};
PostProcessor read_post_processor(const Json& json);

// GPT-2's printable characters for the 256 bytes, and back: false where a character stands for no byte.
const std::vector<std::string>& byte_characters();
bool bytes_of_characters(std::string_view token, std::string& bytes);

// SentencePiece's table of replacements (a trie and the texts that it points to) as tokenizer.json carries it, decoded from
// base64.
class CharsMap {
 public:
  explicit CharsMap(const std::string& bytes, const std::string& where);
  // The text that stands for the shortest or the longest beginning of `text` that the table knows; null if it knows none.
  const char* shortest(std::string_view text) const;
  const char* longest(std::string_view text, size_t* length) const;

 private:
  template <class F>
  void prefixes(std::string_view text, F found) const;
  const char* text_at(uint32_t offset) const;
  std::vector<uint32_t> units_;
  std::string texts_;
};
std::string decode_base64(std::string_view text, const std::string& where);

}  // namespace graft
