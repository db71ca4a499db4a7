#include "chat/chat_template.h"

#include <algorithm>

#include "core/check.h"
#include "core/files.h"

namespace graft::chat {
namespace fs = std::filesystem;
namespace {

bool there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

// A token as these files write it: its text, or an object with its "content".
std::string token_text(const Json& token) {
  if (token.is_string()) return token.get<std::string>();
  return token.is_object() && token.contains("content") && token["content"].is_string() ? token["content"].get<std::string>() : std::string();
}

Json object_in(const fs::path& file) {
  if (!there(file)) return Json::object();
  Json json = read_json(file);
  if (!json.is_object()) input_error("chat", fmt::format("{} must hold an object", file.string()));
  return json;
}

// As transformers names them: the seven usual ones, further keys that end in _token, and named extra tokens.
std::vector<std::pair<std::string, Value>> special_tokens(const fs::path& folder) {
  std::map<std::string, std::string> tokens;
  const Json config = object_in(folder / "tokenizer_config.json");
  const auto add = [&](const Json& source) {
    for (auto& [key, value] : source.items()) {
      if (key.ends_with("_token") && (value.is_string() || value.is_object())) tokens[key] = token_text(value);
      if (key == "extra_special_tokens" && value.is_object())
        for (auto& [name, token] : value.items()) tokens[name] = token_text(token);
    }
  };
  add(config);
  if (!config.contains("added_tokens_decoder")) add(object_in(folder / "special_tokens_map.json"));
  std::vector<std::pair<std::string, Value>> list;
  for (auto& [name, text] : tokens) list.emplace_back(name, text);
  return list;
}

// Texts of templates by name; "default" is the one without a name.
std::map<std::string, std::string> template_texts(const fs::path& folder, std::map<std::string, std::string>& origins) {
  std::map<std::string, std::string> texts;
  const auto add = [&](const std::string& name, std::string text, const std::string& origin) {
    texts[name] = std::move(text);
    origins[name] = origin;
  };
  if (there(folder / "chat_template.jinja")) add("default", read_file(folder / "chat_template.jinja"), (folder / "chat_template.jinja").string());
  if (std::error_code error; fs::is_directory(folder / "additional_chat_templates", error))
    for (auto& entry : fs::directory_iterator(folder / "additional_chat_templates"))
      if (entry.path().extension() == ".jinja") add(entry.path().stem().string(), read_file(entry.path()), entry.path().string());
  if (!texts.empty()) return texts;
  for (const char* name : {"tokenizer_config.json", "chat_template.json"}) {
    const Json json = object_in(folder / name);
    if (!texts.empty() || !json.contains("chat_template") || json["chat_template"].is_null()) continue;
    const Json& found = json["chat_template"];
    const std::string origin = (folder / name).string() + ": chat_template";
    if (found.is_string()) {
      add("default", found.get<std::string>(), origin);
      continue;
    }
    if (!found.is_array()) input_error("chat", fmt::format("{} must be a text or a list of templates", origin));
    for (auto& item : found) {
      if (!item.is_object() || !item.contains("name") || !item["name"].is_string() || !item.contains("template") || !item["template"].is_string())
        input_error("chat", fmt::format("{}: each template must have a 'name' and a 'template'", origin));
      add(item["name"].get<std::string>(), item["template"].get<std::string>(), fmt::format("{} '{}'", origin, item["name"].get<std::string>()));
    }
  }
  return texts;
}

}  // namespace

Conversation Conversation::from(const Value& row, const std::string& where) {
  Conversation conversation;
  const Value* messages = row.is(Kind::Dict) ? row.get("messages") : nullptr;
  if (!messages || !messages->is(Kind::List) || messages->list_data().items.empty())
    input_error("chat", fmt::format("{}: 'messages' must be a list of messages", where), R"(such as [{"role": "user", "content": "Hello"}])");
  Values kept;
  for (auto& message : messages->list_data().items) {
    const Value* role = message.is(Kind::Dict) ? message.get("role") : nullptr;
    if (!role || !role->is(Kind::String))
      input_error("chat", fmt::format("{}: message {} must be an object with a 'role'", where, kept.size() + 1), R"(such as {"role": "user", "content": "Hello"})");
    Value clean = Value::dict();
    for (auto& [key, value] : message.dict_data().entries)
      if (!value.is(Kind::None)) clean.set(key, value);
    kept.push_back(std::move(clean));
  }
  conversation.messages = Value::list(std::move(kept));
  for (auto& [key, target] : {std::pair{"tools", &conversation.tools}, std::pair{"documents", &conversation.documents}})
    if (const Value* given = row.get(key)) {
      if (!given->is(Kind::None) && !given->is(Kind::List)) input_error("chat", fmt::format("{}: '{}' must be a list", where, key));
      *target = *given;
    }
  return conversation;
}

std::optional<ChatTemplate> ChatTemplate::find(const fs::path& folder) {
  std::map<std::string, std::string> origins;
  const auto texts = template_texts(folder, origins);
  if (texts.empty()) return {};
  ChatTemplate result;
  result.special_tokens_ = special_tokens(folder);
  for (const char* name : {"default", "tool_use"})  // others can only be asked for by name
    if (const auto found = texts.find(name); found != texts.end()) result.templates_.emplace(name, Template::parse(found->second, origins[name]));
  if (!result.templates_.count("default")) {
    std::vector<std::string> names;
    for (auto& entry : texts) names.push_back(entry.first);
    input_error("chat", fmt::format("'{}' has several chat templates but none is named default: {}", folder.string(), fmt::join(names, ", ")), "save the one to use as chat_template.jinja");
  }
  return result;
}

ChatTemplate ChatTemplate::load(const fs::path& folder) {
  auto found = find(folder);
  if (!found)
    input_error("chat", fmt::format("the model in '{}' has no chat template", folder.string()),
                "put a chat_template.jinja into its folder or name one with --chat-template FILE; rows with prompt and completion need none");
  return std::move(*found);
}

ChatTemplate ChatTemplate::load(const fs::path& folder, const fs::path& file) { return from_text(folder, read_file(file), file.string()); }

ChatTemplate ChatTemplate::from_text(const fs::path& folder, std::string_view text, const std::string& name) {
  ChatTemplate result;
  if (!folder.empty()) result.special_tokens_ = special_tokens(folder);
  result.templates_.emplace("default", Template::parse(text, name));
  return result;
}

const Template& ChatTemplate::chosen(const Conversation& conversation) const {
  const auto tools = templates_.find("tool_use");
  return tools != templates_.end() && !conversation.tools.is(Kind::None) ? tools->second : templates_.at("default");
}

Rendered ChatTemplate::render(const Conversation& conversation, bool add_generation_prompt) const {
  Value variables = Value::dict();
  for (auto& [name, value] : special_tokens_) variables.set(Value(name), value);
  for (auto& [name, value] : conversation.more) variables.set(Value(name), value);
  variables.set(Value("messages"), conversation.messages);
  variables.set(Value("tools"), conversation.tools);
  variables.set(Value("documents"), conversation.documents);
  variables.set(Value("add_generation_prompt"), add_generation_prompt);
  return chosen(conversation).render(variables);
}

}  // namespace graft::chat
