#include "chat/evaluator.h"

#include <algorithm>

#include "chat/text.h"
#include "core/check.h"

namespace graft::chat {
namespace {

constexpr size_t kLongestText = 1 << 24;   // bytes
constexpr size_t kMostWork = 1ull << 30;   // bytes of text and kStep for each step, together
constexpr size_t kMostNamespaces = 10000;

}  // namespace

const Value* Scope::find(const std::string& name) const {
  for (const Scope* scope = this; scope; scope = scope->outer.get())
    for (auto& [key, value] : scope->names)
      if (key == name) return &value;
  return nullptr;
}

void Scope::set(const std::string& name, Value value) {
  for (auto& [key, old] : names)
    if (key == name) {
      old = std::move(value);
      return;
    }
  names.emplace_back(name, std::move(value));
}

struct Evaluator::Deeper {
  explicit Deeper(Evaluator& evaluator) : evaluator_(evaluator) {
    if (++evaluator_.depth_ > kDeepestRun) {
      --evaluator_.depth_;
      render_error("macros or expressions nest too deep");
    }
  }
  ~Deeper() { --evaluator_.depth_; }
  Evaluator& evaluator_;
};

Evaluator::~Evaluator() {
  for (auto& value : namespaces_) value.dict_data().entries.clear();
  for (auto& scope : captured_scopes_) scope->names.clear();
}

void Evaluator::spend(size_t amount) {
  spent_ += amount;
  if (spent_ > kMostWork) render_error("the template does too much work: it is not expected to come to an end");
}

Value Evaluator::new_namespace() {
  if (namespaces_.size() >= kMostNamespaces) render_error(fmt::format("more than {} namespaces", kMostNamespaces));
  namespaces_.push_back(Value::name_space());
  return namespaces_.back();
}

Rendered Evaluator::run(const Body& body, const Value& variables) {
  auto scope = std::make_shared<Scope>();
  for (auto& [name, value] : variables.dict_data().entries) scope->set(name.str(), value);
  captured_scopes_.push_back(scope);
  out_ = &rendered_;
  run_body(body, scope);
  return {std::move(rendered_), std::move(generated_)};
}

void Evaluator::write(const std::string& text) {
  spend(text.size());
  if (out_->size() + text.size() > kLongestText) render_error("the text grows beyond 16 million bytes");
  *out_ += text;
}

std::string Evaluator::captured(const Body& body, const ScopePtr& scope) {
  std::string text, *const outer = out_;
  out_ = &text;
  try {
    run_body(body, scope);
  } catch (...) {
    out_ = outer;
    throw;
  }
  out_ = outer;
  return text;
}

Evaluator::Flow Evaluator::run_body(const Body& body, const ScopePtr& scope) {
  for (auto& statement : body)
    if (const Flow flow = run_statement(*statement, scope); flow != Flow::On) return flow;
  return Flow::On;
}

Evaluator::Flow Evaluator::run_statement(const Statement& s, const ScopePtr& scope) {
  const Deeper deeper(*this);
  spend(kStep);
  at_ = s.at;
  switch (s.kind) {
    case Statement::Text: write(s.text); break;
    case Statement::Print: {
      const Value value = eval(*s.value, scope);
      at_ = s.value->at;
      if (value.is(Kind::String)) write(value.string());
      else write(value.str());
      break;
    }
    case Statement::If: return run_body(eval(*s.value, scope).truth() ? s.body : s.otherwise, scope);
    case Statement::For: return run_for(s, scope);
    case Statement::Set: assign(*s.target, eval(*s.value, scope), scope); break;
    case Statement::SetBlock: run_set_block(s, scope); break;
    case Statement::Macro: run_macro(s, scope); break;
    case Statement::CallBlock: run_call_block(s, scope); break;
    case Statement::FilterBlock: run_filter_block(s, scope); break;
    case Statement::Generation: run_generation(s, scope); break;
    case Statement::With: {
      auto inner = std::make_shared<Scope>(Scope{scope, {}});
      for (auto& [name, value] : s.parameters) inner->set(name, eval(*value, scope));
      return run_body(s.body, inner);
    }
    case Statement::Break: return Flow::Break;
    case Statement::Continue: return Flow::Continue;
  }
  return Flow::On;
}

Evaluator::Flow Evaluator::run_for(const Statement& s, const ScopePtr& scope) {
  const Value source = eval(*s.value, scope);
  at_ = s.value->at;
  Values all = items_of(source);
  spend(all.size() * kStep);
  if (s.condition) {
    Values kept;
    for (auto& item : all) {
      auto inner = std::make_shared<Scope>(Scope{scope, {}});
      assign(*s.target, item, inner);
      if (eval(*s.condition, inner).truth()) kept.push_back(std::move(item));
    }
    all = std::move(kept);
  }
  if (all.empty()) return run_body(s.otherwise, std::make_shared<Scope>(Scope{scope, {}}));
  auto loop = std::make_shared<LoopData>();
  loop->items = std::move(all);
  Flow flow = Flow::On;
  for (loop->index = 0; loop->index < loop->items.size() && flow != Flow::Break; ++loop->index) {
    auto inner = std::make_shared<Scope>(Scope{scope, {}});
    inner->set("loop", Value::loop(loop));
    assign(*s.target, loop->items[loop->index], inner);
    flow = run_body(s.body, inner);
  }
  return Flow::On;
}

void Evaluator::assign(const Expression& target, Value value, const ScopePtr& scope) {
  if (target.kind == Expression::Name) return scope->set(target.name, std::move(value));
  at_ = target.at;
  if (target.kind == Expression::NamespaceTarget) {
    const Value* space = scope->find(target.name);
    if (!space || !space->is(Kind::Namespace)) render_error("cannot assign attribute on non-namespace object");
    Value handle = *space;
    return handle.set(target.names[0], std::move(value));
  }
  const Values items = items_of(value);
  if (items.size() != target.parts.size()) render_error(fmt::format("cannot unpack {} values into {} names", items.size(), target.parts.size()));
  for (size_t i = 0; i < items.size(); ++i) assign(*target.parts[i], items[i], scope);
}

void Evaluator::run_set_block(const Statement& s, const ScopePtr& scope) {
  Value text = captured(s.body, std::make_shared<Scope>(Scope{scope, {}}));
  if (s.value) text = eval_filter(*s.value, scope, &text);
  assign(*s.target, std::move(text), scope);
}

void Evaluator::run_filter_block(const Statement& s, const ScopePtr& scope) {
  const Value text = captured(s.body, std::make_shared<Scope>(Scope{scope, {}}));
  write(eval_filter(*s.value, scope, &text).str());
}

void Evaluator::run_generation(const Statement& s, const ScopePtr& scope) {
  const size_t begin = out_->size();
  run_body(s.body, std::make_shared<Scope>(Scope{scope, {}}));
  if (out_ == &rendered_) generated_.push_back({begin, rendered_.size()});
}

void Evaluator::run_macro(const Statement& s, const ScopePtr& scope) { scope->set(s.text, make_macro(s, scope, s.text)); }

Value Evaluator::make_macro(const Statement& statement, const ScopePtr& scope, std::string name) {
  captured_scopes_.push_back(scope);
  spend(kStep);
  return Value::function(std::move(name), [&statement, scope](Evaluator& evaluator, Arguments& arguments) { return evaluator.call_macro(statement, scope, arguments); });
}

Value Evaluator::call_macro(const Statement& s, const ScopePtr& scope, Arguments& arguments) {
  const size_t call_at = at_;
  const auto inner = std::make_shared<Scope>(Scope{scope, {}});
  const std::string name = s.text.empty() ? "caller" : s.text;
  Values more;
  std::vector<bool> given(s.parameters.size(), false);
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    if (i >= given.size()) more.push_back(arguments.positional[i]);
    else inner->set(s.parameters[i].name, arguments.positional[i]), given[i] = true;
  }
  if (!more.empty() && !s.takes_more) render_error(fmt::format("macro '{}' takes not more than {} argument(s)", name, given.size()));
  Value named = Value::dict();
  for (auto& [key, value] : arguments.named) {
    const auto parameter = std::find_if(s.parameters.begin(), s.parameters.end(), [&, &k = key](const Parameter& p) { return p.name == k; });
    if (parameter != s.parameters.end()) {
      const size_t i = static_cast<size_t>(parameter - s.parameters.begin());
      if (given[i]) render_error(fmt::format("macro '{}' got two values for '{}'", name, key));
      inner->set(key, value);
      given[i] = true;
    } else if (key == "caller") {
      inner->set(key, value);
    } else if (s.takes_named) {
      named.set(Value(key), value);
    } else {
      render_error(fmt::format("macro '{}' takes no keyword argument '{}'", name, key));
    }
  }
  if (s.takes_more) inner->set("varargs", Value::list(std::move(more), Sequence::Tuple));
  if (s.takes_named) inner->set("kwargs", named);
  if (s.kind == Statement::Macro && !std::any_of(inner->names.begin(), inner->names.end(), [](const auto& n) { return n.first == "caller"; }))
    inner->set("caller", Value::undefined("No caller defined"));
  for (size_t i = 0; i < given.size(); ++i) {
    if (given[i]) continue;
    const Parameter& p = s.parameters[i];
    inner->set(p.name, p.otherwise ? eval(*p.otherwise, inner) : Value::undefined(fmt::format("parameter '{}' was not provided", p.name)));
  }
  Value text = captured(s.body, inner);
  at_ = call_at;
  return text;
}

void Evaluator::run_call_block(const Statement& s, const ScopePtr& scope) {
  const Value function = eval(*s.value->parts[0], scope);
  Arguments arguments = eval_arguments(*s.value, scope);
  arguments.named.emplace_back("caller", make_macro(s, scope, "caller"));
  at_ = s.value->at;
  write(call(function, arguments).str());
}

Value Evaluator::call(const Value& function, Arguments& arguments) {
  const Deeper deeper(*this);
  require_defined(function);
  if (!function.is(Kind::Function)) render_error(fmt::format("'{}' object is not callable", function.type()));
  spend(kStep);
  Value result = function.function_data().call(*this, arguments);
  if (result.is(Kind::String)) spend(result.string().size());
  else if (result.is(Kind::List)) spend(result.list_data().items.size());
  return result;
}

}  // namespace graft::chat
