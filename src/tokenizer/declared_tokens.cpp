// What tokenizer_config.json and its neighbours say about tokens, as transformers' fast tokenizers read them.
#include <array>
#include <map>

#include "core/check.h"
#include "core/files.h"
#include "tokenizer/fields.h"
#include "tokenizer/sources.h"

namespace graft {
namespace fs = std::filesystem;
namespace {

constexpr std::array kNamedTokens = {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};
const std::string kConfigName = "tokenizer_config.json";

// A text or an object with one; special either way.
std::optional<AddedToken> named_token(const Json& value, const std::string& where) {
  if (value.is_string()) {
    AddedToken token{value.get<std::string>()};
    token.special = true;
    token.normalized = false;
    return token;
  }
  if (!value.is_object()) return std::nullopt;
  AddedToken token = read_added_token(value, where);
  token.special = true;
  return token;
}

}  // namespace

Json read_tokenizer_config(const fs::path& folder) {
  if (!fs::exists(folder / kConfigName)) return nullptr;
  Json config = read_json(folder / kConfigName);
  if (!config.is_object()) tokenizer_error(kConfigName + " must be an object");
  return config;
}

std::vector<AddedToken> declared_tokens(const Json& config) {
  std::vector<AddedToken> tokens;
  if (!config.is_object()) return tokens;
  if (config.contains("added_tokens_decoder") && config["added_tokens_decoder"].is_object()) {
    std::map<int64_t, AddedToken> by_id;
    for (auto& [id, value] : config["added_tokens_decoder"].items()) {
      const std::string where = fmt::format("{}: added_tokens_decoder['{}']", kConfigName, id);
      if (id.empty() || id.size() > 9 ||
          !std::all_of(id.begin(), id.end(), [](char c) { return isdigit(static_cast<unsigned char>(c)); }))
        tokenizer_error(where + ": the key must be an id");
      by_id[std::stoll(id)] = read_added_token(value, where);
    }
    for (auto& [id, token] : by_id) tokens.push_back(token);
  }
  const auto known = [&](const std::string& text) {
    return std::any_of(tokens.begin(), tokens.end(), [&](auto& token) { return token.content == text; });
  };
  const auto add = [&](const Json& value, const std::string& where) {
    if (const auto token = named_token(value, where); token && !known(token->content)) tokens.push_back(*token);
  };
  for (const char* name : kNamedTokens)
    if (config.contains(name)) add(config[name], fmt::format("{}: {}", kConfigName, name));
  for (const char* name : {"additional_special_tokens", "extra_special_tokens"})
    if (config.contains(name) && config[name].is_array())
      for (auto& value : config[name]) add(value, fmt::format("{}: {}", kConfigName, name));
  return tokens;
}

std::string declared_text(const Json& config, const std::string& name) {
  if (!config.is_object() || !config.contains(name)) return {};
  const Json& value = config[name];
  if (value.is_string()) return value.get<std::string>();
  return value.is_object() && value.contains("content") && value["content"].is_string() ? value["content"].get<std::string>()
                                                                                        : std::string();
}

std::optional<int64_t> declared_id(const fs::path& folder, const std::string& name) {
  for (const char* file : {"generation_config.json", "config.json"}) {
    if (!fs::exists(folder / file)) continue;
    const Json json = read_json(folder / file);
    if (!json.is_object() || !json.contains(name)) continue;
    const Json& value = json[name].is_array() && !json[name].empty() ? json[name][0] : json[name];
    if (value.is_number_integer()) return value.get<int64_t>();
  }
  return std::nullopt;
}

}  // namespace graft
