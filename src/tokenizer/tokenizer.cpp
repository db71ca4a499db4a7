#include "tokenizer/tokenizer.h"

#include <algorithm>

#include "core/check.h"
#include "core/files.h"
#include "core/json.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/fields.h"
#include "tokenizer/sources.h"
#include "tokenizer/unicode.h"

namespace graft {
namespace fs = std::filesystem;

struct Tokenizer::State {
  TokenizerParts parts;
  AddedTokens added;
  std::optional<int64_t> bos, eos;
  int64_t size = 0;

  std::optional<int64_t> id(const std::string& token) const {
    if (const int64_t* found = added.id(token)) return *found;
    return parts.vocabulary->id(token);
  }

  // transformers adds what tokenizer_config.json declares and the tokenizer does not know, or knows with other properties.
  void add_tokens(const Json& config) {
    added.add(parts.added, *parts.vocabulary, parts.normalizer);
    std::vector<AddedToken> fresh;
    const bool listed =
        config.is_object() && config.contains("added_tokens_decoder") && config["added_tokens_decoder"].is_object();
    const size_t from_list = listed ? config["added_tokens_decoder"].size() : 0;
    const auto declared = declared_tokens(config);
    for (size_t i = 0; i < declared.size(); ++i) {
      const int64_t* known = added.id(declared[i].content);
      if (!known || (i < from_list && *added.token(*known) != declared[i])) fresh.push_back(declared[i]);
    }
    if (!fresh.empty()) added.add(fresh, *parts.vocabulary, parts.normalizer);
    size = std::max(parts.vocabulary->size(), added.size());
  }

  void read_special_ids(const fs::path& folder, const Json& config) {
    Json map;
    if (fs::exists(folder / "special_tokens_map.json")) map = read_json(folder / "special_tokens_map.json");
    const auto look = [&](const std::string& name) -> std::optional<int64_t> {
      for (const Json* source : {&config, &std::as_const(map)})
        if (const std::string text = declared_text(*source, name); !text.empty())
          if (const auto found = id(text)) return found;
      return declared_id(folder, name + "_id");
    };
    bos = look("bos_token");
    eos = look("eos_token");
  }

  // add_bos_token and add_eos_token replace the post-processor, as transformers does; without any of them its class decides.
  void read_ends(const Json& config) {
    const bool given = config.is_object() && (config.contains("add_bos_token") || config.contains("add_eos_token"));
    if (!given && parts.has_post_processor) return;
    const bool with_bos = given ? flag_field(config, "add_bos_token", "tokenizer_config.json", false) : parts.adds_bos;
    const bool with_eos = given ? flag_field(config, "add_eos_token", "tokenizer_config.json", false) : parts.adds_eos;
    PostProcessor ends = PostProcessor::none();
    const auto end_id = [&](const char* name) {
      const std::string text = declared_text(config, name);
      return text.empty() ? std::nullopt : id(text);
    };
    if (const auto token = end_id("bos_token"); with_bos && token)
      ends.with.insert(ends.with.begin(), {false, {*token}}), ++ends.added;
    if (const auto token = end_id("eos_token"); with_eos && token) ends.with.push_back({false, {*token}}), ++ends.added;
    parts.post_processor = ends;
  }

  // The ids of a text alone.
  void encode_text(std::string_view text, std::vector<int64_t>& ids, std::vector<Cut>* cuts = nullptr) const {
    std::vector<Stretch> outer, inner;
    Pieces pieces;
    const auto add_token = [&](const Stretch& stretch, bool in_text) {
      if (cuts && in_text) cuts->push_back({static_cast<size_t>(stretch.text.data() - text.data()), static_cast<int64_t>(ids.size())});
      ids.push_back(stretch.id);
    };
    added.split({text, -1, true}, false, outer);
    for (auto& stretch : outer) {
      if (stretch.id >= 0) {
        add_token(stretch, true);
        continue;
      }
      inner.clear();
      std::string changed;
      if (parts.normalizer) {
        changed = stretch.text;
        parts.normalizer(changed, stretch.first);
        stretch.text = changed;
      }
      added.split(stretch, true, inner);
      for (auto& part : inner) {
        if (part.id >= 0) {
          add_token(part, !parts.normalizer);  // else it stands in the changed text
          continue;
        }
        pieces.list.assign(1, {part.text, part.first});
        pieces.texts.clear();
        if (parts.pre_tokenizer) parts.pre_tokenizer(pieces);
        for (auto& piece : pieces.list) parts.vocabulary->encode(piece.text, ids);
      }
    }
  }

  void truncate(std::vector<int64_t>& ids, bool add_special_tokens) const {
    if (parts.longest < 0) return;
    const int64_t room = parts.longest - (add_special_tokens ? parts.post_processor.added : 0);
    if (room < 0)
      tokenizer_error(
          fmt::format("truncation to {} leaves no room for {} special tokens", parts.longest, parts.post_processor.added));
    const auto length = static_cast<int64_t>(ids.size());
    if (length <= room) return;
    if (room > 0 && parts.strategy == "OnlySecond")
      tokenizer_error(
          fmt::format("a text of {} tokens cannot be cut to {}: the strategy OnlySecond is for pairs of texts", length, room));
    if (parts.cut_left)
      ids.erase(ids.begin(), ids.end() - room);
    else
      ids.resize(static_cast<size_t>(room));
  }
};

bool Tokenizer::present(const fs::path& folder) {
  return !tokenizer_file(folder).empty();
}

Tokenizer Tokenizer::load(const fs::path& folder) {
  if (!present(folder))
    input_error("tokenizer", fmt::format("'{}' has no tokenizer.json", folder.string()),
                fs::exists(folder) ? "a tokenizer.json, a tokenizer.model, or vocab.json with merges.txt, is needed"
                                   : "there is no such folder");
  const Json config = read_tokenizer_config(folder);
  auto state = std::make_shared<State>();
  state->parts = read_tokenizer(folder, config);
  state->add_tokens(config);
  state->read_special_ids(folder, config);
  state->read_ends(config);
  Tokenizer tokenizer;
  tokenizer.state_ = std::move(state);
  return tokenizer;
}

std::vector<int64_t> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  const State& s = *state_;
  std::vector<int64_t> own;
  own.reserve(text.size() / 3 + 8);
  if (valid_utf8(text))
    s.encode_text(text, own);
  else
    s.encode_text(repair_utf8(text), own);
  s.truncate(own, add_special_tokens);
  const auto& parts = add_special_tokens ? s.parts.post_processor.with : s.parts.post_processor.without;
  if (parts.size() == 1 && parts[0].sequence) return own;
  std::vector<int64_t> ids;
  ids.reserve(own.size() + parts.size());
  for (auto& part : parts)
    ids.insert(ids.end(), (part.sequence ? own : part.ids).begin(), (part.sequence ? own : part.ids).end());
  return ids;
}

std::vector<int64_t> Tokenizer::encode(std::string_view text, std::vector<Cut>& cuts) const {
  const State& s = *state_;
  cuts.clear();
  const bool plain = s.parts.post_processor.without.size() == 1 && s.parts.post_processor.without[0].sequence;
  if (!plain || s.parts.longest >= 0 || !valid_utf8(text)) return encode(text, false);
  std::vector<int64_t> ids;
  ids.reserve(text.size() / 3 + 8);
  s.encode_text(text, ids, &cuts);
  return ids;
}

std::string Tokenizer::decode(std::span<const int64_t> ids, bool skip_special_tokens) const {
  const State& s = *state_;
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const int64_t id : ids) {
    const std::string* text = s.added.id_to_text(id);
    if (!text) text = s.parts.vocabulary->token(id);
    if (text && !(skip_special_tokens && s.added.special(*text))) tokens.push_back(*text);
  }
  s.parts.decoder(tokens);
  if (tokens.size() == 1) return std::move(tokens[0]);
  std::string text;
  for (auto& part : tokens) text += part;
  return text;
}

int64_t Tokenizer::vocab_size() const {
  return state_->size;
}
std::string Tokenizer::id_to_token(int64_t id) const {
  if (const AddedToken* token = state_->added.token(id)) return token->content;
  const std::string* token = state_->parts.vocabulary->token(id);
  if (!token) input_error("tokenizer", fmt::format("the id {} is not in the vocabulary of {}", id, vocab_size()));
  return *token;
}

std::optional<int64_t> Tokenizer::bos_id() const {
  return state_->bos;
}
std::optional<int64_t> Tokenizer::eos_id() const {
  return state_->eos;
}
bool Tokenizer::adds_bos() const {
  const auto& with = state_->parts.post_processor.with;
  return state_->bos && !with.empty() && !with.front().sequence && with.front().ids.front() == *state_->bos;
}

}  // namespace graft
