// Where a tokenizer comes from: tokenizer.json, or what older tools left in its place.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "tokenizer/added_tokens.h"
#include "tokenizer/stages.h"
#include "tokenizer/vocabulary.h"

namespace graft {

// All parts of a tokenizer, before tokenizer_config.json has its say.
struct TokenizerParts {
  VocabularyPointer vocabulary;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Decoder decoder;
  PostProcessor post_processor = PostProcessor::none();
  std::vector<AddedToken> added;
  // "truncation" of tokenizer.json; -1: texts are never cut.
  int64_t longest = -1;
  bool cut_left = false;
  std::string strategy = "LongestFirst";
  // Whether transformers puts BOS and EOS around texts where neither tokenizer_config.json nor a post-processor says so.
  bool adds_bos = false, adds_eos = false;
  bool has_post_processor = false;
};

TokenizerParts read_tokenizer_json(const Json& json);
TokenizerParts read_gpt2_files(const std::filesystem::path& folder);
// `config` is tokenizer_config.json or null.
TokenizerParts read_sentencepiece(const std::string& bytes, const std::string& name, const Json& config);
TokenizerParts read_tiktoken(const std::string& text, const std::string& name, const Json& config);
bool looks_like_tiktoken(const std::string& text);

// tokenizer_config.json of a folder, null if there is none; the tokens that it declares, in the order in which transformers adds
// them; the text of "bos_token" and the like, empty if there is none.
Json read_tokenizer_config(const std::filesystem::path& folder);
std::vector<AddedToken> declared_tokens(const Json& config);
std::string declared_text(const Json& config, const std::string& name);
// "bos_token_id" and the like from generation_config.json or config.json; the first of several.
std::optional<int64_t> declared_id(const std::filesystem::path& folder, const std::string& name);

// The file of a folder that its tokenizer is read from; empty if there is none.
std::filesystem::path tokenizer_file(const std::filesystem::path& folder);
TokenizerParts read_tokenizer(const std::filesystem::path& folder, const Json& config);

}  // namespace graft
