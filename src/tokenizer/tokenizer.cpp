#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <sstream>

#include "core/check.h"
#include "core/files.h"
#include "core/json.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/stages.h"
#include "tokenizer/unicode.h"
#include "tokenizer/vocabulary.h"

namespace graft {
namespace fs = std::filesystem;
namespace {

// GPT-2's two files as the tokenizer.json that they stand for.
Json from_gpt2_files(const fs::path& folder) {
  Json merges = Json::array();
  std::istringstream lines(read_file(folder / "merges.txt"));
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!line.empty() && !line.starts_with("#version")) merges.push_back(line);
  }
  const Json vocab = read_json(folder / "vocab.json");
  Json added = Json::array();
  if (vocab.is_object() && vocab.contains("<|endoftext|>"))
    added.push_back({{"id", vocab["<|endoftext|>"]}, {"content", "<|endoftext|>"}, {"special", true}, {"normalized", true}});
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  return {{"added_tokens", added}, {"normalizer", nullptr}, {"pre_tokenizer", byte_level}, {"post_processor", nullptr}, {"decoder", byte_level},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}}};
}

}  // namespace

struct Tokenizer::State {
  std::shared_ptr<const Vocabulary> vocabulary;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Decoder decoder;
  PostProcessor post_processor;
  AddedTokens raw, normalized;  // found before, and after normalisation
  std::unordered_map<std::string, int64_t> added_ids;
  std::unordered_map<int64_t, AddedToken> added;
  std::optional<int64_t> bos, eos, pad;
  int64_t size = 0;

  std::optional<int64_t> id(const std::string& token) const {
    const auto found = added_ids.find(token);
    return found != added_ids.end() ? std::optional<int64_t>(found->second) : vocabulary->id(token);
  }

  void read_added_tokens(const Json& list) {
    if (!list.is_array()) return;
    for (auto& item : list) {
      if (!item.is_object() || !item.contains("id") || !item["id"].is_number_integer()) input_error("tokenizer", fmt::format("added_tokens holds {}", json_line(item)));
      AddedToken token{text_field(item, "content", "an added token"), item["id"].get<int64_t>(), flag_field(item, "single_word", false),
                       flag_field(item, "lstrip", false), flag_field(item, "rstrip", false), flag_field(item, "special", false)};
      added_ids[token.content] = token.id;
      added[token.id] = token;
      size = std::max(size, token.id + 1);
      if (flag_field(item, "normalized", !token.special)) {
        token.content = normalizer(token.content);
        normalized.add(token);
      } else {
        raw.add(token);
      }
    }
    raw.finish();
    normalized.finish();
  }

  void read_special_ids(const fs::path& folder) {
    const auto token_text = [](const Json& json, const char* key) -> std::string {
      if (!json.is_object() || !json.contains(key)) return {};
      if (json[key].is_string()) return json[key].get<std::string>();
      return json[key].is_object() ? json[key].value("content", std::string()) : std::string();
    };
    const auto look = [&](const char* name, std::optional<int64_t>& target) {
      for (const char* file : {"tokenizer_config.json", "special_tokens_map.json"}) {
        if (target || !fs::exists(folder / file)) continue;
        const std::string token = token_text(read_json(folder / file), (std::string(name) + "_token").c_str());
        if (!token.empty()) target = id(token);
      }
      for (const char* file : {"generation_config.json", "config.json"}) {
        if (target || !fs::exists(folder / file)) continue;
        const Json json = read_json(folder / file);
        const std::string key = std::string(name) + "_token_id";
        if (json.is_object() && json.contains(key) && json[key].is_number_integer()) target = json[key].get<int64_t>();
        else if (json.is_object() && json.contains(key) && json[key].is_array() && !json[key].empty() && json[key][0].is_number_integer())
          target = json[key][0].get<int64_t>();
      }
    };
    look("bos", bos);
    look("eos", eos);
    look("pad", pad);
  }
};

bool Tokenizer::present(const fs::path& folder) {
  return fs::exists(folder / "tokenizer.json") || (fs::exists(folder / "vocab.json") && fs::exists(folder / "merges.txt"));
}

Tokenizer Tokenizer::load(const fs::path& folder) {
  if (!present(folder))
    input_error("tokenizer", fmt::format("'{}' has no tokenizer.json", folder.string()),
                fs::exists(folder) ? "a tokenizer.json, or vocab.json with merges.txt, is needed" : "there is no such folder");
  const Json json = fs::exists(folder / "tokenizer.json") ? read_json(folder / "tokenizer.json") : from_gpt2_files(folder);
  if (!json.is_object() || !json.contains("model") || !json["model"].is_object()) input_error("tokenizer", fmt::format("{}: there is no model", (folder / "tokenizer.json").string()));
  const std::string type = json["model"].value("type", std::string(json["model"].contains("merges") ? "BPE" : ""));
  if (type != "BPE") input_error("tokenizer", fmt::format("the model type '{}' is not supported", type), "known: BPE");
  auto state = std::make_shared<State>();
  state->vocabulary = read_bpe(json["model"]);
  state->size = state->vocabulary->size();
  state->normalizer = read_normalizer(json.value("normalizer", Json()));
  state->pre_tokenizer = read_pre_tokenizer(json.value("pre_tokenizer", Json()));
  state->decoder = read_decoder(json.value("decoder", Json()));
  state->post_processor = read_post_processor(json.value("post_processor", Json()));
  state->read_added_tokens(json.value("added_tokens", Json()));
  state->read_special_ids(folder);
  Tokenizer tokenizer;
  tokenizer.state_ = std::move(state);
  return tokenizer;
}

std::vector<int64_t> Tokenizer::encode(std::string_view raw_text, bool add_special_tokens) const {
  const State& s = *state_;
  std::vector<int64_t> ids;
  if (add_special_tokens) ids = s.post_processor.before;
  const Stretch whole{valid_utf8(raw_text) ? std::string(raw_text) : repair_utf8(raw_text), -1, true};
  for (auto& outer : s.raw.split(whole)) {
    if (outer.id >= 0) {
      ids.push_back(outer.id);
      continue;
    }
    for (auto& inner : s.normalized.split({s.normalizer(outer.text), -1, outer.first})) {
      if (inner.id >= 0) {
        ids.push_back(inner.id);
        continue;
      }
      for (auto& piece : s.pre_tokenizer({{inner.text, inner.first}})) s.vocabulary->encode(piece.text, ids);
    }
  }
  if (add_special_tokens) ids.insert(ids.end(), s.post_processor.after.begin(), s.post_processor.after.end());
  return ids;
}

std::string Tokenizer::decode(std::span<const int64_t> ids, bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  for (const int64_t id : ids) {
    const auto added = state_->added.find(id);
    if (added != state_->added.end()) {
      if (!(skip_special_tokens && added->second.special)) tokens.push_back(added->second.content);
    } else if (const std::string* token = state_->vocabulary->token(id)) {
      tokens.push_back(*token);
    }
  }
  std::string text;
  for (auto& part : state_->decoder(std::move(tokens))) text += part;
  return text;
}

int64_t Tokenizer::vocab_size() const { return state_->size; }
std::optional<int64_t> Tokenizer::token_to_id(const std::string& token) const { return state_->id(token); }

std::string Tokenizer::id_to_token(int64_t id) const {
  if (const auto added = state_->added.find(id); added != state_->added.end()) return added->second.content;
  const std::string* token = state_->vocabulary->token(id);
  if (!token) input_error("tokenizer", fmt::format("the id {} is not in the vocabulary of {}", id, vocab_size()));
  return *token;
}

std::optional<int64_t> Tokenizer::bos_id() const { return state_->bos; }
std::optional<int64_t> Tokenizer::eos_id() const { return state_->eos; }
std::optional<int64_t> Tokenizer::pad_id() const { return state_->pad; }
bool Tokenizer::adds_bos() const { return state_->bos && !state_->post_processor.before.empty() && state_->post_processor.before.front() == *state_->bos; }

}  // namespace graft
