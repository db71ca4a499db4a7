// The stages around a tokenizer's model, each read from one object of tokenizer.json: text → normalizer → pre-tokenizer →
// model → post-processor, and decoder on the way back. An unknown type throws Fault::Input naming it and its place.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "core/json.h"

namespace graft {

using Normalizer = std::function<std::string(const std::string&)>;
Normalizer read_normalizer(const Json& json);

// A piece of text on its way to the model; `first` marks the one at the very start of the input.
struct Piece {
  std::string text;
  bool first = false;
};
using PreTokenizer = std::function<std::vector<Piece>(std::vector<Piece>)>;
PreTokenizer read_pre_tokenizer(const Json& json);

using Decoder = std::function<std::vector<std::string>(std::vector<std::string>)>;
Decoder read_decoder(const Json& json);

// Ids that are put before and behind a single sequence.
struct PostProcessor {
  std::vector<int64_t> before, after;
};
PostProcessor read_post_processor(const Json& json);

// GPT-2's printable characters for the 256 bytes, and back.
const std::vector<std::string>& byte_characters();
std::string bytes_of_characters(const std::string& token);  // the token itself where a character stands for no byte

// Fields with types checked.
std::string text_field(const Json& json, const char* key, const std::string& where);
bool flag_field(const Json& json, const char* key, bool fallback);

}  // namespace graft
