#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/pattern.h"

#include <pcre2.h>

#include "core/check.h"

namespace graft {

Pattern Pattern::from_json(const Json& json, const std::string& where) {
  if (json.is_object() && json.contains("Regex") && json["Regex"].is_string()) return regex(json["Regex"].get<std::string>(), where);
  Pattern pattern;
  if (json.is_object() && json.contains("String") && json["String"].is_string()) pattern.literal_ = json["String"].get<std::string>();
  else if (json.is_string()) pattern.literal_ = json.get<std::string>();
  else input_error("tokenizer", fmt::format("{}: a pattern must be {{\"String\": ...}} or {{\"Regex\": ...}} but is {}", where, json_line(json)));
  if (pattern.literal_.empty()) input_error("tokenizer", fmt::format("{}: the pattern is empty", where));
  return pattern;
}

Pattern Pattern::regex(const std::string& expression, const std::string& where) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(), PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &error, &offset, nullptr);
  if (!code) {
    PCRE2_UCHAR message[256];
    pcre2_get_error_message(error, message, sizeof message);
    input_error("tokenizer", fmt::format("{}: the expression '{}' cannot be used: {} at character {}", where, expression, reinterpret_cast<const char*>(message), offset));
  }
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // without it matching is only slower
  Pattern pattern;
  pattern.code_ = std::shared_ptr<void>(code, [](void* p) { pcre2_code_free(static_cast<pcre2_code*>(p)); });
  return pattern;
}

std::vector<std::pair<size_t, size_t>> Pattern::matches(std::string_view text) const {
  std::vector<std::pair<size_t, size_t>> found;
  if (!code_) {
    for (size_t at = text.find(literal_); at != std::string_view::npos; at = text.find(literal_, at + literal_.size())) found.emplace_back(at, at + literal_.size());
    return found;
  }
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(pcre2_match_data_create(1, nullptr), &pcre2_match_data_free);
  for (size_t at = 0; at < text.size();) {
    const int result = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at, PCRE2_NO_UTF_CHECK, data.get(), nullptr);
    if (result == PCRE2_ERROR_NOMATCH) break;
    if (result < 0) fail(Fault::Internal, "tokenizer", fmt::format("matching a pattern failed with code {}", result));
    const PCRE2_SIZE* span = pcre2_get_ovector_pointer(data.get());
    if (span[1] > span[0]) {
      found.emplace_back(span[0], span[1]);
      at = span[1];
    } else {  // an empty match: step over one character
      at = span[1] + 1;
      while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) ++at;
    }
  }
  return found;
}

std::string Pattern::replace(std::string_view text, const std::string& with) const {
  std::string out;
  size_t last = 0;
  for (auto& [begin, end] : matches(text)) {
    out.append(text, last, begin - last).append(with);
    last = end;
  }
  return out.append(text, last);
}

}  // namespace graft
