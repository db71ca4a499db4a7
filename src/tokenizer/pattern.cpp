#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/pattern.h"

#include <pcre2.h>

#include "core/check.h"
#include "tokenizer/unicode.h"

namespace graft {
namespace {

constexpr size_t kLongestExpression = 1 << 16, kJitStack = 1 << 15, kLargestJitStack = 8 << 20;

// What a thread needs to match: the vector of offsets and a stack for compiled code that long texts may need.
struct MatchSpace {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(kJitStack, kLargestJitStack, nullptr);
  MatchSpace() { pcre2_jit_stack_assign(context, nullptr, stack); }
  ~MatchSpace() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
};

}  // namespace

Pattern Pattern::from_json(const Json& json, const std::string& where) {
  if (json.is_object() && json.contains("Regex") && json["Regex"].is_string())
    return regex(json["Regex"].get<std::string>(), where);
  if (json.is_object() && json.contains("String") && json["String"].is_string())
    return literal(json["String"].get<std::string>());
  input_error("tokenizer", fmt::format("{}: a pattern must be {{\"String\": ...}} or {{\"Regex\": ...}} but is {}", where,
                                       json_line(json).substr(0, 200)));
}

Pattern Pattern::literal(const std::string& text) {
  if (text.empty()) return regex("", "pattern");  // matches between all characters
  Pattern pattern;
  pattern.literal_ = text;
  return pattern;
}

Pattern Pattern::regex(const std::string& expression, const std::string& where) {
  if (expression.size() > kLongestExpression)
    input_error("tokenizer", fmt::format("{}: an expression of {} bytes is too long", where, expression.size()));
  Pattern pattern;
  pattern.matcher_ = hand_written_matcher(expression);
  int error = 0;
  PCRE2_SIZE offset = 0;
  const std::string ours = pcre2_syntax(expression, where);
  // Oniguruma's ^ and $ stand at every line.
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(ours.data()), ours.size(),
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK | PCRE2_MULTILINE, &error, &offset, nullptr);
  if (!code) {
    PCRE2_UCHAR message[256];
    pcre2_get_error_message(error, message, sizeof message);
    input_error("tokenizer", fmt::format("{}: the expression '{}' cannot be used: {}", where, expression,
                                         reinterpret_cast<const char*>(message)));
  }
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // without it matching is only slower
  pattern.code_ = std::shared_ptr<void>(code, [](void* p) { pcre2_code_free(static_cast<pcre2_code*>(p)); });
  return pattern;
}

void Pattern::matches(std::string_view text, std::vector<Span>& found) const {
  if (text.empty()) return;
  if (matcher_) {
    for (size_t at = 0; at < text.size();) {
      const size_t end = matcher_(text, at);
      found.emplace_back(at, end);
      at = end;
    }
    return;
  }
  if (!code_) {
    for (size_t at = text.find(literal_); at != std::string_view::npos; at = text.find(literal_, at + literal_.size()))
      found.emplace_back(at, at + literal_.size());
    return;
  }
  thread_local const MatchSpace space;
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  size_t last_end = std::string_view::npos;
  for (size_t at = 0; at <= text.size();) {
    const int result = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at, PCRE2_NO_UTF_CHECK,
                                   space.data, space.context);
    if (result == PCRE2_ERROR_NOMATCH) break;
    if (result < 0)
      input_error("tokenizer",
                  fmt::format("a pattern of the tokenizer needs too much time or memory for a text of {} bytes (PCRE2 code {})",
                              text.size(), result));
    const PCRE2_SIZE* span = pcre2_get_ovector_pointer(space.data);
    if (span[0] == span[1] && span[1] == last_end) {  // an empty match right behind the last one does not count
      at += at < text.size() ? utf8_length(text, at) : 1;
      continue;
    }
    found.emplace_back(span[0], span[1]);
    at = last_end = span[1];
  }
}

std::string Pattern::replace(std::string_view text, const std::string& with, bool* dropped_start) const {
  std::vector<Span> found;
  matches(text, found);
  if (dropped_start) *dropped_start = with.empty() && !found.empty() && found[0].first == 0 && found[0].second > 0;
  std::string out;
  out.reserve(text.size());
  size_t last = 0;
  for (auto& [begin, end] : found) {
    out.append(text, last, begin - last).append(with);
    last = end;
  }
  return out.append(text, last);
}

}  // namespace graft
