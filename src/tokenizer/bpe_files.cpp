// What files say about byte-pair encoding: tokenizer.json's merges, or tokens with ranks.
#include <algorithm>

#include "core/check.h"
#include "tokenizer/fields.h"
#include "tokenizer/unicode.h"
#include "tokenizer/vocabulary.h"

namespace graft {
namespace {

// "left right", or ["left", "right"].
std::pair<std::string, std::string> read_merge(const Json& merge, size_t rank) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
    return {merge[0].get<std::string>(), merge[1].get<std::string>()};
  if (merge.is_string()) {
    const std::string text = merge.get<std::string>();
    const size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos)
      return {text.substr(0, space), text.substr(space + 1)};
  }
  tokenizer_error(fmt::format("model BPE: merge {} must be two tokens but is {}", rank, json_line(merge).substr(0, 120)));
}

}  // namespace

bool can_read_raw_bytes(const Json& model) {
  const auto empty = [&](const char* key) { return !model.contains(key) || model[key].is_null() || model[key] == ""; };
  const bool fallback = model.contains("byte_fallback") && model["byte_fallback"] != false && !model["byte_fallback"].is_null();
  return empty("continuing_subword_prefix") && empty("end_of_word_suffix") && !fallback;
}

VocabularyPointer read_bpe(const Json& model, bool raw_bytes) {
  const std::string where = "model BPE";
  BpeParts parts;
  parts.tokens = TokenMap::from_json(model.contains("vocab") ? model["vocab"] : Json(), where);
  parts.prefix = text_field_or(model, "continuing_subword_prefix", where, "");
  parts.suffix = text_field_or(model, "end_of_word_suffix", where, "");
  parts.byte_fallback = flag_field(model, "byte_fallback", where, false);
  parts.fuse_unk = flag_field(model, "fuse_unk", where, false);
  parts.ignore_merges = flag_field(model, "ignore_merges", where, false);
  if (model.contains("unk_token") && !model["unk_token"].is_null()) parts.unk_token = text_field(model, "unk_token", where);
  if (model.contains("dropout") && !model["dropout"].is_null() && model["dropout"] != 0.0)
    tokenizer_error(fmt::format("model BPE: dropout {} would make encoding random", json_line(model["dropout"])),
                    "set dropout to null");
  int32_t rank = 0;
  for (auto& merge : list_field(model, "merges", where)) {
    if (merge.is_string() && merge.get_ref<const std::string&>().starts_with("#version")) continue;
    const auto [left, right] = read_merge(merge, static_cast<size_t>(rank));
    if (right.size() < parts.prefix.size())
      tokenizer_error(fmt::format("model BPE: merge {}: '{}' is shorter than the prefix '{}'", rank, right, parts.prefix));
    const std::string result = left + right.substr(parts.prefix.size());
    const int32_t a = parts.tokens.find(left), b = parts.tokens.find(right), c = parts.tokens.find(result);
    for (auto& [id, name] : {std::pair(a, &left), std::pair(b, &right), std::pair(c, &result)})
      if (id < 0)
        tokenizer_error(fmt::format("model BPE: merge {} ('{}' + '{}') names '{}', which is not in the vocabulary", rank, left,
                                    right, *name));
    parts.merges.push_back({a, b, c, rank++});
  }
  return make_bpe(std::move(parts), raw_bytes);
}

std::vector<BpeParts::Merge> merges_of_ranks(const TokenMap& tokens, const std::vector<int32_t>& rank_of_id) {
  std::vector<BpeParts::Merge> merges;
  for (int64_t id = 0; id < tokens.size(); ++id) {
    const std::string* token = tokens.token(id);
    if (!token || rank_of_id[static_cast<size_t>(id)] == INT32_MAX) continue;
    const std::string_view text = *token;
    for (size_t cut = utf8_length(text, 0); cut < text.size(); cut += utf8_length(text, cut)) {
      const int32_t left = tokens.find(text.substr(0, cut)), right = tokens.find(text.substr(cut));
      if (left >= 0 && right >= 0) merges.push_back({left, right, static_cast<int32_t>(id), rank_of_id[static_cast<size_t>(id)]});
    }
  }
  return merges;
}

}  // namespace graft
