#include "data/turns.h"

#include <algorithm>
#include <optional>

#include "chat/text.h"
#include "core/check.h"

namespace graft {
namespace {

using chat::Kind;
using chat::Value;
using chat::Values;

constexpr size_t kLongestSpecial = 64;  // bytes of a special token

size_t common_prefix(std::string_view a, std::string_view b) {
  size_t n = static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  while (n > 0 && n < a.size() && (static_cast<unsigned char>(a[n]) & 0xC0) == 0x80) --n;  // not inside a character
  return n;
}

size_t common_suffix(std::string_view a, std::string_view b) {
  size_t n = static_cast<size_t>(std::mismatch(a.rbegin(), a.rend(), b.rbegin(), b.rend()).first - a.rbegin());
  while (n > 0 && (static_cast<unsigned char>(a[a.size() - n]) & 0xC0) == 0x80) --n;
  return n;
}

class TurnFinder {
 public:
  TurnFinder(const chat::ChatTemplate& chat_template, const chat::Conversation& conversation, const Tokenizer& tokenizer, const std::string& text)
      : template_(chat_template), conversation_(conversation), tokenizer_(tokenizer), messages_(conversation.messages.list_data().items), text_(text) {}

  // The turn of message k; none when it cannot be told.
  std::optional<chat::Span> turn(size_t k, size_t from) const {
    auto begin = begin_by_prompt(k), end = end_by_prefix(k);
    const Value* content = messages_[k].get("content");
    if (content && content->is(Kind::String)) {
      if (!begin || *begin < from) begin = begin_by_content(k, content->string());
      if (!end || (begin && *end < *begin)) end = end_by_content(k, content->string());
    }
    if (!begin || !end || *begin < from || *end < *begin) return {};
    return chat::Span{*begin, without_space_behind_special(*begin, *end)};
  }

 private:
  std::optional<std::string> render(Values messages, bool add_generation_prompt) const {
    chat::Conversation part = conversation_;
    part.messages = Value::list(std::move(messages));
    try {
      return template_.render(part, add_generation_prompt).text;
    } catch (const Error&) {
      return {};  // many templates refuse an empty conversation, or one that ends so
    }
  }
  Values first(size_t count) const { return {messages_.begin(), messages_.begin() + static_cast<std::ptrdiff_t>(count)}; }

  std::optional<size_t> begin_by_prompt(size_t k) const {
    const auto prompt = render(first(k), true);
    if (!prompt) return {};
    if (text_.starts_with(*prompt)) return prompt->size();
    // The prompt may already write what this turn writes otherwise, such as an empty thought.
    const auto before = render(first(k), false);
    if (!before || !text_.starts_with(*before) || !prompt->starts_with(*before)) return {};
    const size_t shared = common_prefix(*prompt, text_);
    return shared > before->size() ? std::optional<size_t>(shared) : std::nullopt;
  }

  std::optional<size_t> end_by_prefix(size_t k) const {
    if (k + 1 == messages_.size()) return text_.size();
    const auto until = render(first(k + 1), false);
    return until && text_.starts_with(*until) ? std::optional<size_t>(until->size()) : std::nullopt;
  }

  // The whole conversation with a letter more in front of or behind this content.
  std::optional<std::string> with_content(size_t k, const std::string& content) const {
    Values changed = messages_;
    Value message = Value::dict(changed[k].dict_data().entries);
    message.set(Value("content"), content);
    changed[k] = message;
    auto other = render(std::move(changed), false);
    return other && *other != text_ ? other : std::nullopt;
  }

  std::optional<size_t> begin_by_content(size_t k, const std::string& content) const {
    const std::string_view bare = chat::strip_left(content);
    const auto other = with_content(k, (bare.starts_with('x') ? "y" : "x") + content);
    return other ? std::optional<size_t>(common_prefix(text_, *other)) : std::nullopt;
  }

  std::optional<size_t> end_by_content(size_t k, const std::string& content) const {
    const std::string_view bare = chat::strip_right(content);
    const auto other = with_content(k, content + (bare.ends_with('x') ? "y" : "x"));
    if (!other) return {};
    const size_t end = text_.size() - common_suffix(text_, *other);
    // What the template ends the turn with.
    const std::string_view rest = std::string_view(text_).substr(end), behind = chat::strip_left(rest);
    const auto ids = tokenizer_.encode(behind.substr(0, kLongestSpecial), false);
    if (ids.empty() || !special(ids.front())) return end;
    return end + (rest.size() - behind.size()) + tokenizer_.decode(std::vector{ids.front()}).size();
  }

  bool special(int64_t id) const { return tokenizer_.decode(std::vector{id}, true).empty() && !tokenizer_.decode(std::vector{id}).empty(); }

  size_t without_space_behind_special(size_t begin, size_t end) const {
    const std::string_view turn = std::string_view(text_).substr(begin, end - begin), bare = chat::strip_right(turn);
    if (bare.size() == turn.size() || bare.empty()) return end;
    const auto ids = tokenizer_.encode(bare.substr(bare.size() - std::min(bare.size(), kLongestSpecial)), false);
    return !ids.empty() && special(ids.back()) ? begin + bare.size() : end;
  }

  const chat::ChatTemplate& template_;
  const chat::Conversation& conversation_;
  const Tokenizer& tokenizer_;
  const Values& messages_;
  const std::string& text_;
};

}  // namespace

ChatText chat_text(const chat::ChatTemplate& chat_template, const chat::Conversation& conversation, const Tokenizer& tokenizer, const std::string& where, bool strict) {
  ChatText result;
  try {
    auto rendered = chat_template.render(conversation, false);
    result.text = std::move(rendered.text);
    result.answers = std::move(rendered.generated);
  } catch (const Error& e) {
    std::string reason = e.what();
    if (reason.starts_with("[chat] ")) reason.erase(0, 7);
    input_error("data", fmt::format("{}: {}", where, reason));
  }
  if (chat_template.has_generation_blocks(conversation)) return result;
  const TurnFinder finder(chat_template, conversation, tokenizer, result.text);
  const Values& messages = conversation.messages.list_data().items;
  for (size_t k = 0; k < messages.size(); ++k) {
    if (messages[k].get("role")->string() != "assistant") continue;
    const auto span = finder.turn(k, result.answers.empty() ? 0 : result.answers.back().end);
    if (!span && !strict) continue;
    if (!span)
      input_error("data", fmt::format("{}: the chat template does not show where message {}, the assistant's, begins and ends", where, k + 1),
                  "mark what is learned in the template with {% generation %} ... {% endgeneration %}, or learn everything with --train-on-inputs");
    result.answers.push_back(*span);
  }
  return result;
}

TokenSpan tokens_in(const ChatText& rendered, const chat::Span& span, const std::vector<int64_t>& ids, const std::vector<Tokenizer::Cut>& cuts, const Tokenizer& tokenizer) {
  const auto shared = [&](size_t bytes, bool& exact) {
    const auto behind = std::lower_bound(cuts.begin(), cuts.end(), bytes, [](const Tokenizer::Cut& cut, size_t byte) { return cut.byte < byte; });
    const Tokenizer::Cut from = behind == cuts.begin() ? Tokenizer::Cut{0, 0} : *(behind - 1);
    const auto head = tokenizer.encode(std::string_view(rendered.text).substr(from.byte, bytes - from.byte), false);
    const auto n = std::mismatch(head.begin(), head.end(), ids.begin() + from.id, ids.end()).first - head.begin();
    exact = n == static_cast<std::ptrdiff_t>(head.size());
    return from.id + static_cast<int64_t>(n);
  };
  bool exact = false;
  TokenSpan tokens;
  tokens.begin = shared(span.begin, exact);
  tokens.end = static_cast<int64_t>(ids.size());
  if (span.end < rendered.text.size()) {
    tokens.end = shared(span.end, exact);
    if (!exact) ++tokens.end;  // a token that begins in the span and goes on behind it
  }
  tokens.end = std::clamp(tokens.end, tokens.begin, static_cast<int64_t>(ids.size()));
  return tokens;
}

}  // namespace graft
