// A pattern of tokenizer.json, {"String": ...} or {"Regex": ...}, with the meaning that Oniguruma gives it.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json.h"

namespace graft {

using Span = std::pair<size_t, size_t>;  // [begin, end) in bytes

class Pattern {
 public:
  static Pattern from_json(const Json& json, const std::string& where);  // throws Fault::Input
  static Pattern regex(const std::string& expression, const std::string& where);
  static Pattern literal(const std::string& text);

  // All matches from left to right, empty ones too; appended to `found`.
  void matches(std::string_view text, std::vector<Span>& found) const;
  // `dropped_start` tells that the text's first characters were replaced by nothing.
  std::string replace(std::string_view text, const std::string& with, bool* dropped_start = nullptr) const;

  // Where a match that begins at `at` ends. Only for the expressions of GPT-2, Llama 3 and Qwen 2, which match everywhere and
  // have a matcher by hand; null for others.
  using Matcher = size_t (*)(std::string_view text, size_t at);
  Matcher matcher() const { return matcher_; }

 private:
  std::string literal_;
  std::shared_ptr<void> code_;  // pcre2_code; null for a literal
  Matcher matcher_ = nullptr;
};

// For an expression in Oniguruma's syntax the same in PCRE2's, with the reference's idea of \p{..}, \s, \w, \d.
std::string pcre2_syntax(const std::string& expression, const std::string& where);
// The matcher by hand for an expression, null if there is none.
Pattern::Matcher hand_written_matcher(std::string_view expression);
size_t gpt2_matcher(std::string_view text, size_t at);
extern const char* const kGpt2Expression;

}  // namespace graft
