// The evaluator's expressions.
#include "chat/evaluator.h"
#include "chat/text.h"
#include "core/check.h"

namespace graft::chat {

Value Evaluator::eval(const Expression& e, const ScopePtr& scope) {
  if (e.kind == Expression::Constant) return e.value;
  if (e.kind == Expression::Name) return eval_name(e, scope);
  spend(kStep);
  if (++depth_ > kDeepestRun) {  // not a guard's destructor: the frame of this function is on the stack many times
    --depth_;
    at_ = e.at;
    render_error("macros or expressions nest too deep");
  }
  Value value;
  switch (e.kind) {
    case Expression::Call: value = eval_call(e, scope); break;
    case Expression::Filter: value = eval_filter(e, scope, nullptr); break;
    case Expression::Test: value = eval_test(e, scope); break;
    case Expression::Compare: value = eval_compare(e, scope); break;
    case Expression::List:
    case Expression::Tuple:
    case Expression::Dict:
    case Expression::Slice: value = eval_collection(e, scope); break;
    default: value = eval_operation(e, scope);
  }
  --depth_;
  return value;
}

Value Evaluator::eval_name(const Expression& e, const ScopePtr& scope) {
  at_ = e.at;
  if (const Value* found = scope->find(e.name)) return *found;
  Value value = global(e.name);
  return value.is(Kind::Undefined) ? Value::undefined(fmt::format("'{}' is undefined", e.name)) : value;
}

Value Evaluator::eval_operation(const Expression& e, const ScopePtr& scope) {
  const auto operand = [&](size_t i) { return eval(*e.parts[i], scope); };
  switch (e.kind) {
    case Expression::Attribute: {
      const Value value = operand(0);
      at_ = e.at;
      return attribute_of(value, e.name);
    }
    case Expression::Item: {
      const Value value = operand(0), key = operand(1);
      at_ = e.at;
      return item_of(value, key);
    }
    case Expression::Not: return !operand(0).truth();
    case Expression::And: {
      Value left = operand(0);
      return left.truth() ? operand(1) : left;
    }
    case Expression::Or: {
      Value left = operand(0);
      return left.truth() ? left : operand(1);
    }
    case Expression::Condition: {
      if (operand(0).truth()) return operand(1);
      return e.parts[2] ? operand(2) : Value::undefined("the inline if-expression evaluated to false and no else section was defined.");
    }
    case Expression::Concat: {
      std::string text;
      for (size_t i = 0; i < e.parts.size(); ++i) text += operand(i).str();
      spend(text.size());
      return text;
    }
    case Expression::Binary: {
      const Value left = operand(0), right = operand(1);
      at_ = e.at;
      Value result = arithmetic(e.name, left, right);
      if (result.is(Kind::String)) spend(result.string().size());
      if (result.is(Kind::List)) spend(result.list_data().items.size());
      return result;
    }
    case Expression::Negative:
    case Expression::Positive: {
      const Value value = operand(0);
      at_ = e.at;
      require_defined(value);
      if (!value.is_number()) render_error(fmt::format("bad operand type for unary {}: '{}'", e.name, value.type()));
      const bool negative = e.kind == Expression::Negative;
      return value.is(Kind::Float) ? Value(negative ? -value.number() : value.number()) : Value(negative ? -value.integer() : value.integer());
    }
    default: CHECK_THAT(false, "an expression of kind {}", static_cast<int>(e.kind));
  }
  return {};
}

Value Evaluator::eval_collection(const Expression& e, const ScopePtr& scope) {
  const auto part = [&](size_t i) { return e.parts[i] ? eval(*e.parts[i], scope) : Value::none(); };
  spend(e.parts.size());
  if (e.kind == Expression::Slice) {
    const Value value = part(0), start = part(1), stop = part(2), step = part(3);
    at_ = e.at;
    Value result = slice_of(value, start, stop, step);
    if (result.is(Kind::String)) spend(result.string().size());
    if (result.is(Kind::List)) spend(result.list_data().items.size());
    return result;
  }
  if (e.kind == Expression::Dict) {
    Value dict = Value::dict();
    for (size_t i = 0; i < e.parts.size(); i += 2) {
      const Value key = part(i);
      dict.set(key, part(i + 1));
    }
    return dict;
  }
  Values items;
  for (size_t i = 0; i < e.parts.size(); ++i) items.push_back(part(i));
  at_ = e.at;
  return Value::list(std::move(items), e.kind == Expression::Tuple ? Sequence::Tuple : Sequence::List);
}

Value Evaluator::eval_compare(const Expression& e, const ScopePtr& scope) {
  Value left = eval(*e.parts[0], scope);
  for (size_t i = 0; i < e.names.size(); ++i) {
    Value right = eval(*e.parts[i + 1], scope);
    const std::string& sign = e.names[i];
    at_ = e.at;
    bool holds = false;
    if (sign == "==") holds = equal(left, right);
    else if (sign == "!=") holds = !equal(left, right);
    else if (sign == "in") holds = contains(right, left);
    else if (sign == "not in") holds = !contains(right, left);
    else if (sign == "<") holds = compare(left, right, "'<'") < 0;
    else if (sign == ">") holds = compare(left, right, "'>'") > 0;
    else if (sign == "<=") holds = compare(left, right, "'<='") <= 0;
    else holds = compare(left, right, "'>='") >= 0;
    if (!holds) return false;
    left = std::move(right);
  }
  return true;
}

Arguments Evaluator::eval_arguments(const Expression& e, const ScopePtr& scope) {
  Arguments arguments;
  for (size_t i = 1; i < e.parts.size(); ++i) arguments.positional.push_back(eval(*e.parts[i], scope));
  for (auto& [name, value] : e.named) arguments.named.emplace_back(name, eval(*value, scope));
  if (e.star)
    for (auto& value : items_of(eval(*e.star, scope))) arguments.positional.push_back(value);
  if (e.double_star) {
    const Value more = eval(*e.double_star, scope);
    if (!more.is(Kind::Dict)) render_error("what stands behind '**' must be a mapping");
    for (auto& [name, value] : more.dict_data().entries) arguments.named.emplace_back(name.str(), value);
  }
  return arguments;
}

Value Evaluator::eval_call(const Expression& e, const ScopePtr& scope) {
  const Value function = eval(*e.parts[0], scope);
  at_ = e.parts[0]->at;
  require_defined(function);
  Arguments arguments = eval_arguments(e, scope);
  at_ = e.at;
  return call(function, arguments);
}

Value Evaluator::eval_filter(const Expression& e, const ScopePtr& scope, const Value* input) {
  const Value value = !e.parts[0] ? *input : input && e.parts[0]->kind == Expression::Filter ? eval_filter(*e.parts[0], scope, input) : eval(*e.parts[0], scope);
  Arguments arguments = eval_arguments(e, scope);
  at_ = e.at;
  Value result = apply_filter(*this, e.name, value, arguments);
  if (result.is(Kind::String)) spend(result.string().size());
  if (result.is(Kind::List)) spend(result.list_data().items.size());
  return result;
}

Value Evaluator::eval_test(const Expression& e, const ScopePtr& scope) {
  const Value value = eval(*e.parts[0], scope);
  Arguments arguments = eval_arguments(e, scope);
  at_ = e.at;
  return apply_test(*this, e.name, value, arguments);
}

}  // namespace graft::chat
