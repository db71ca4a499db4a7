// Runs a parsed template.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "chat/builtins.h"
#include "chat/jinja.h"
#include "chat/tree.h"

namespace graft::chat {

constexpr size_t kStep = 64;  // what an expression or statement counts as work
constexpr int kDeepestRun = 1500;  // statements and expressions inside one another, through macros too

// The names of a block: what it sets is gone behind it.
struct Scope {
  std::shared_ptr<Scope> outer;
  std::vector<std::pair<std::string, Value>> names;
  const Value* find(const std::string& name) const;
  void set(const std::string& name, Value value);
};
using ScopePtr = std::shared_ptr<Scope>;

class Evaluator {
 public:
  Evaluator() = default;
  ~Evaluator();
  Evaluator(const Evaluator&) = delete;
  Evaluator& operator=(const Evaluator&) = delete;

  Rendered run(const Body& body, const Value& variables);
  Value call(const Value& function, Arguments& arguments);
  // A namespace of this run: they can hold one another, so they are taken apart at its end.
  Value new_namespace();
  // Counts work: bytes of new text, items of new lists, steps. Throws RenderError when a template does too much.
  void spend(size_t amount);
  size_t at() const { return at_; }  // byte offset of what ran last

 private:
  enum class Flow { On, Break, Continue };
  struct Deeper;

  Flow run_body(const Body& body, const ScopePtr& scope);
  Flow run_statement(const Statement& statement, const ScopePtr& scope);
  Flow run_for(const Statement& statement, const ScopePtr& scope);
  void run_macro(const Statement& statement, const ScopePtr& scope);
  void run_call_block(const Statement& statement, const ScopePtr& scope);
  void run_filter_block(const Statement& statement, const ScopePtr& scope);
  void run_generation(const Statement& statement, const ScopePtr& scope);
  void run_set_block(const Statement& statement, const ScopePtr& scope);
  void write(const std::string& text);
  std::string captured(const Body& body, const ScopePtr& scope);
  void assign(const Expression& target, Value value, const ScopePtr& scope);
  Value make_macro(const Statement& statement, const ScopePtr& scope, std::string name);
  Value call_macro(const Statement& statement, const ScopePtr& scope, Arguments& arguments);

  Value eval(const Expression& expression, const ScopePtr& scope);
  Value eval_name(const Expression& expression, const ScopePtr& scope);
  Value eval_call(const Expression& expression, const ScopePtr& scope);
  Value eval_filter(const Expression& expression, const ScopePtr& scope, const Value* input);
  Value eval_test(const Expression& expression, const ScopePtr& scope);
  Value eval_compare(const Expression& expression, const ScopePtr& scope);
  Value eval_operation(const Expression& expression, const ScopePtr& scope);
  Value eval_collection(const Expression& expression, const ScopePtr& scope);
  Arguments eval_arguments(const Expression& expression, const ScopePtr& scope);

  std::string* out_ = nullptr;
  std::string rendered_;
  std::vector<Span> generated_;
  std::vector<Value> namespaces_;
  std::vector<ScopePtr> captured_scopes_;  // held by macros, which they hold
  size_t at_ = 0, spent_ = 0;
  int depth_ = 0;
};

}  // namespace graft::chat
