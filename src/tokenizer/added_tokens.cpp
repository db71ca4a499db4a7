#include "tokenizer/added_tokens.h"

#include <algorithm>

#include "tokenizer/unicode.h"

namespace graft {
namespace {

size_t start_of_character_before(const std::string& text, size_t at, size_t floor) {
  size_t begin = at - 1;
  while (begin > floor && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return begin;
}

bool stands_alone(const std::string& text, size_t begin, size_t end) {
  size_t n = 0;
  if (end < text.size() && is_word(decode_utf8(text, end, &n))) return false;
  return begin == 0 || !is_word(decode_utf8(text, start_of_character_before(text, begin, 0), &n));
}

size_t strip_left(const std::string& text, size_t begin, size_t floor) {
  while (begin > floor) {
    size_t n = 0;
    const size_t before = start_of_character_before(text, begin, floor);
    if (!is_whitespace(decode_utf8(text, before, &n))) break;
    begin = before;
  }
  return begin;
}

size_t strip_right(const std::string& text, size_t end) {
  for (size_t n = 0; end < text.size() && is_whitespace(decode_utf8(text, end, &n));) end += n;
  return end;
}

}  // namespace

void AddedTokens::add(AddedToken token) {
  if (!token.content.empty()) by_byte_[static_cast<unsigned char>(token.content[0])].push_back(std::move(token));
}

void AddedTokens::finish() {
  for (auto& tokens : by_byte_)
    std::stable_sort(tokens.begin(), tokens.end(), [](auto& a, auto& b) { return a.content.size() > b.content.size(); });
}

std::vector<Stretch> AddedTokens::split(const Stretch& input) const {
  std::vector<Stretch> out;
  const std::string& text = input.text;
  size_t start = 0;
  const auto plain_until = [&](size_t end) {
    if (end > start) out.push_back({text.substr(start, end - start), -1, input.first && start == 0});
  };
  for (size_t at = 0; at < text.size();) {
    const AddedToken* token = match(text, at);
    if (!token) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + token->content.size();
    if (token->single_word && !stands_alone(text, begin, end)) {
      at = end;
      continue;
    }
    if (token->lstrip) begin = strip_left(text, begin, start);
    if (token->rstrip) end = strip_right(text, end);
    plain_until(begin);
    out.push_back({"", token->id});
    start = at = end;
  }
  plain_until(text.size());
  return out;
}

const AddedToken* AddedTokens::match(const std::string& text, size_t at) const {
  for (auto& token : by_byte_[static_cast<unsigned char>(text[at])])
    if (text.compare(at, token.content.size(), token.content) == 0) return &token;
  return nullptr;
}

}  // namespace graft
