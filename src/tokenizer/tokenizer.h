// Text to token ids and back, as Hugging Face's `tokenizers` defines it: from tokenizer.json, a SentencePiece or tiktoken
// tokenizer.model, or GPT-2's vocab.json and merges.txt.
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace graft {

class Tokenizer {
 public:
  // From a model folder; neither config nor weights are needed. Throws Fault::Input for missing, broken or unsupported files.
  static Tokenizer load(const std::filesystem::path& folder);
  static bool present(const std::filesystem::path& folder);

  // Invalid UTF-8 is read as U+FFFD. Special tokens in the text are recognised. `add_special_tokens` puts those of the
  // post-processor around the text. A "truncation" of tokenizer.json is applied, its "padding" is not. Safe to call from several
  // threads.
  std::vector<int64_t> encode(std::string_view text, bool add_special_tokens = true) const;
  // Where the text is cut at an added token: from byte `byte` on it has the same ids by itself, those from index `id` on.
  struct Cut {
    size_t byte;
    int64_t id;
  };
  // The same without special tokens around the text, and where it is cut, in order. `cuts` may be empty.
  std::vector<int64_t> encode(std::string_view text, std::vector<Cut>& cuts) const;
  // Ids outside the vocabulary stand for nothing, as in the reference: models often have more rows than the tokenizer tokens.
  std::string decode(std::span<const int64_t> ids, bool skip_special_tokens = false) const;

  int64_t vocab_size() const;  // largest id + 1
  std::string id_to_token(int64_t id) const;  // an id outside the vocabulary throws Fault::Input
  // From tokenizer_config.json, special_tokens_map.json, generation_config.json or config.json, in that order.
  std::optional<int64_t> bos_id() const;
  std::optional<int64_t> eos_id() const;
  bool adds_bos() const;  // encode(text, true) begins with the BOS token

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

}  // namespace graft
