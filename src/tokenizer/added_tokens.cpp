#include "tokenizer/added_tokens.h"

#include <algorithm>

#include "core/check.h"
#include "tokenizer/fields.h"
#include "tokenizer/unicode.h"

namespace graft {
namespace {

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  size_t n = 0;
  if (end < text.size() && is_word(decode_utf8(text, end, &n))) return false;
  return begin == 0 || !is_word(decode_utf8(text, utf8_before(text, begin), &n));
}

size_t spaces_before(std::string_view text, size_t begin, size_t floor) {
  for (size_t n = 0; begin > floor;) {
    const size_t before = utf8_before(text, begin, floor);
    if (!is_whitespace(decode_utf8(text, before, &n))) break;
    begin = before;
  }
  return begin;
}

size_t spaces_behind(std::string_view text, size_t end) {
  for (size_t n = 0; end < text.size() && is_whitespace(decode_utf8(text, end, &n));) end += n;
  return end;
}

}  // namespace

AddedToken read_added_token(const Json& json, const std::string& where) {
  if (!json.is_object()) tokenizer_error(fmt::format("{} must be an object but is {}", where, json_line(json).substr(0, 120)));
  AddedToken token;
  token.content = text_field(json, "content", where);
  token.special = flag_field(json, "special", where, false);
  token.single_word = flag_field(json, "single_word", where, false);
  token.lstrip = flag_field(json, "lstrip", where, false);
  token.rstrip = flag_field(json, "rstrip", where, false);
  token.normalized = flag_field(json, "normalized", where, !token.special);
  return token;
}

void AddedTokens::add(const std::vector<AddedToken>& tokens, const Vocabulary& model, const Normalizer& normalizer) {
  int64_t next = model.count();
  for (auto& [id, entry] : tokens_) next = std::max(next, id + 1);
  for (auto& token : tokens) {
    if (token.content.empty()) continue;
    const auto known = ids_.find(token.content);
    const auto in_model = model.id(token.content);
    const int64_t id = known != ids_.end() ? known->second : in_model ? *in_model : next++;
    std::string text = token.content;
    bool start = true;
    if (token.normalized && normalizer) normalizer(text, start);
    if (token.special) special_.insert(token.content);
    ids_[token.content] = id;
    tokens_[id] = {token, std::move(text)};
    size_ = std::max(size_, id + 1);
  }
  find_all_anew();
}

void AddedTokens::find_all_anew() {
  finders_ = {};
  for (auto& [id, entry] : tokens_) {
    if (entry.text.empty()) continue;
    Finder& finder = finders_[entry.token.normalized];
    finder.by_byte[static_cast<unsigned char>(entry.text[0])].push_back(id);
    finder.any = true;
  }
  for (auto& finder : finders_)
    for (auto& ids : finder.by_byte)
      std::sort(ids.begin(), ids.end(), [&](int64_t a, int64_t b) {
        const size_t m = tokens_.at(a).text.size(), n = tokens_.at(b).text.size();
        return m != n ? m > n : a < b;
      });
}

void AddedTokens::split(const Stretch& input, bool after_normalization, std::vector<Stretch>& out) const {
  const Finder& finder = finders_[after_normalization];
  const std::string_view text = input.text;
  if (!finder.any) {
    if (!text.empty()) out.push_back(input);
    return;
  }
  size_t start = 0;
  for (size_t at = 0; at < text.size();) {
    const auto& candidates = finder.by_byte[static_cast<unsigned char>(text[at])];
    const auto hit = std::find_if(candidates.begin(), candidates.end(),
                                  [&](int64_t id) { return text.substr(at).starts_with(tokens_.at(id).text); });
    if (hit == candidates.end()) {
      ++at;
      continue;
    }
    const Entry& entry = tokens_.at(*hit);
    size_t begin = at, end = at + entry.text.size();
    at = end;
    if (entry.token.single_word && !stands_alone(text, begin, end)) continue;
    if (entry.token.lstrip) begin = std::max(spaces_before(text, begin, 0), start);
    if (entry.token.rstrip) end = spaces_behind(text, end);
    if (start < begin) out.push_back({text.substr(start, begin - start), -1, input.first && start == 0});
    if (begin < end) out.push_back({text.substr(begin, end - begin), *hit, false});  // else within the white space of the token before
    start = end;
  }
  if (start < text.size()) out.push_back({text.substr(start), -1, input.first && start == 0});
}

const AddedToken* AddedTokens::token(int64_t id) const {
  const auto found = tokens_.find(id);
  return found == tokens_.end() ? nullptr : &found->second.token;
}
const std::string* AddedTokens::id_to_text(int64_t id) const {
  const auto found = tokens_.find(id);
  return found == tokens_.end() ? nullptr : &found->second.text;
}
const int64_t* AddedTokens::id(const std::string& content) const {
  const auto found = ids_.find(content);
  return found == ids_.end() ? nullptr : &found->second;
}

}  // namespace graft
