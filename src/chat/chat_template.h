// A model's chat template: where its folder keeps it, and what it is given to render, as in transformers' apply_chat_template.
#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "chat/jinja.h"

namespace graft::chat {

struct Conversation {
  Value messages;                                 // a list of {"role", "content", ...}
  Value tools = Value::none(), documents = Value::none();
  std::vector<std::pair<std::string, Value>> more;  // further variables of the template, such as enable_thinking

  // From an object {"messages": [...], "tools": [...], "documents": [...]}; its other keys are left alone. Values that are
  // null in a message count as absent. Throws Fault::Input naming `where` unless each message is an object with a role.
  static Conversation from(const Value& row, const std::string& where);
};

class ChatTemplate {
 public:
  // chat_template.jinja and additional_chat_templates/*.jinja; else tokenizer_config.json's chat_template, one text or a list
  // of {"name", "template"}; else chat_template.json. None where the folder has none of them. The special tokens
  // (bos_token, eos_token, ...) come from tokenizer_config.json or special_tokens_map.json.
  // Throws Fault::Input for a broken template, with line and column.
  static std::optional<ChatTemplate> find(const std::filesystem::path& folder);
  // The same, but no template is an error with a hint.
  static ChatTemplate load(const std::filesystem::path& folder);
  // A template from a file of its own, with the folder's special tokens.
  static ChatTemplate load(const std::filesystem::path& folder, const std::filesystem::path& file);
  static ChatTemplate from_text(const std::filesystem::path& folder, std::string_view text, const std::string& name);

  // `add_generation_prompt`: with what stands before an answer of the assistant.
  Rendered render(const Conversation& conversation, bool add_generation_prompt) const;
  bool has_generation_blocks(const Conversation& conversation) const { return chosen(conversation).has_generation_blocks(); }

 private:
  const Template& chosen(const Conversation& conversation) const;  // "tool_use" where there are tools and such a template
  std::map<std::string, Template> templates_;
  std::vector<std::pair<std::string, Value>> special_tokens_;
};

}  // namespace graft::chat
