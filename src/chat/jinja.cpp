#include "chat/jinja.h"

#include "chat/evaluator.h"
#include "chat/lexer.h"
#include "chat/tree.h"
#include "core/check.h"
#include "tokenizer/unicode.h"

namespace graft::chat {
namespace {

constexpr size_t kLongestTemplate = 1 << 20;

bool any_generation(const Body& body) {
  for (auto& statement : body)
    if (statement->kind == Statement::Generation || any_generation(statement->body) || any_generation(statement->otherwise)) return true;
  return false;
}

}  // namespace

struct Template::State {
  std::string name, source;
  Body body;
  bool generation = false;
};

Template Template::parse(std::string_view text, std::string name) {
  if (text.size() > kLongestTemplate) input_error("chat", fmt::format("{}: the template has {} bytes; at most {} are read", name, text.size(), kLongestTemplate));
  auto state = std::make_shared<State>();
  state->name = std::move(name);
  state->source = normalized_source(valid_utf8(text) ? std::string(text) : repair_utf8(text));
  state->body = parse_template(state->source, state->name);
  state->generation = any_generation(state->body);
  Template result;
  result.state_ = std::move(state);
  return result;
}

Rendered Template::render(const Value& variables) const {
  Evaluator evaluator;
  try {
    return evaluator.run(state_->body, variables);
  } catch (const RenderError& e) {
    if (e.raised) input_error("chat", fmt::format("the chat template refuses the conversation: {}", e.message));
    template_error(state_->name, state_->source, evaluator.at(), e.message);
  }
}

bool Template::has_generation_blocks() const { return state_->generation; }

}  // namespace graft::chat
