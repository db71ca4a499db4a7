// The parser's expressions, by Jinja's rules of precedence. The statements (parser.cpp) build on it; nothing else includes it.
#pragma once
#include <algorithm>
#include <functional>
#include <initializer_list>

#include "chat/builtins.h"
#include "chat/lexer.h"
#include "chat/tree.h"
#include "core/check.h"

namespace graft::chat {

constexpr int kDeepestTree = 400, kDeepestNesting = 300;

class ExpressionParser {
 protected:
  ExpressionParser(const std::string& source, const std::string& name) : source_(source), name_(name), tokens_(tokens_of(source, name)) {}

  using Names = std::initializer_list<const char*>;

  // --- tokens ---
  const Token& now() const { return tokens_[next_]; }
  const Token& ahead() const { return tokens_[std::min(next_ + 1, tokens_.size() - 1)]; }
  void step() { next_ += next_ + 1 < tokens_.size(); }
  bool at_sign(const char* sign) const { return now().type == Token::Operator && now().text == sign; }
  bool at_word(const char* word) const { return now().type == Token::Name && now().text == word; }
  bool at_any_word(Names words) const { return std::any_of(words.begin(), words.end(), [&](const char* w) { return at_word(w); }); }
  bool skip_sign(const char* sign) { return at_sign(sign) && (step(), true); }
  bool skip_word(const char* word) { return at_word(word) && (step(), true); }
  [[noreturn]] void error(size_t at, const std::string& message, const std::string& hint = {}) const { template_error(name_, source_, at, message, hint); }
  std::string found() const {
    switch (now().type) {
      case Token::End: return "the end of the template";
      case Token::VariableEnd: return "'}}'";
      case Token::BlockEnd: return "'%}'";
      case Token::Number: return "the number " + now().number.str();
      case Token::String: return "the text " + now().text;
      default: return "'" + now().text + "'";
    }
  }
  void expect_sign(const char* sign) {
    if (!skip_sign(sign)) error(now().at, fmt::format("expected '{}' but found {}", sign, found()));
  }
  void expect(Token::Type type, const char* what) {
    if (now().type != type) error(now().at, fmt::format("expected {} but found {}", what, found()));
    step();
  }
  std::string expect_name() {
    if (now().type != Token::Name) error(now().at, fmt::format("expected a name but found {}", found()));
    std::string name = now().text;
    if (name[0] >= '0' && name[0] <= '9') error(now().at, fmt::format("'{}' is no name", name));
    step();
    return name;
  }

  // Counts how deep the parser stands.
  struct Nested {
    explicit Nested(ExpressionParser& parser) : parser_(parser) {
      if (++parser.nesting_ > kDeepestNesting) parser.error(parser.now().at, fmt::format("nested more than {} deep", kDeepestNesting));
    }
    ~Nested() { --parser_.nesting_; }
    ExpressionParser& parser_;
  };

  // --- expressions ---
  ExpressionPtr node(Expression::Kind kind, size_t at, std::string name = {}) const {
    auto expr = std::make_unique<Expression>();
    expr->kind = kind;
    expr->at = at;
    expr->name = std::move(name);
    return expr;
  }
  void add(Expression& parent, ExpressionPtr child) const {
    if (child) deepen(parent, *child);
    parent.parts.push_back(std::move(child));
  }
  void deepen(Expression& parent, const Expression& child) const {
    parent.depth = std::max(parent.depth, child.depth + 1);
    if (parent.depth > kDeepestTree) error(parent.at, fmt::format("the expression nests more than {} deep", kDeepestTree));
  }
  template <class... Children>
  ExpressionPtr with_parts(Expression::Kind kind, size_t at, std::string name, Children... children) const {
    auto expr = node(kind, at, std::move(name));
    (add(*expr, std::move(children)), ...);
    return expr;
  }

  ExpressionPtr target_name(bool with_namespace) {
    const size_t at = now().at;
    if (skip_sign("(")) {
      auto inner = target(with_namespace);
      expect_sign(")");
      return inner;
    }
    auto expr = node(Expression::Name, at, expect_name());
    for (const char* fixed : {"true", "false", "none", "True", "False", "None"})
      if (expr->name == fixed) error(at, fmt::format("cannot assign to '{}'", fixed));
    if (with_namespace && skip_sign(".")) {
      expr->kind = Expression::NamespaceTarget;
      expr->names.push_back(expect_name());
    }
    return expr;
  }

  ExpressionPtr target(bool with_namespace) {
    const Nested nested(*this);
    const size_t at = now().at;
    auto first = target_name(with_namespace);
    if (!at_sign(",")) return first;
    auto all = node(Expression::Tuple, at);
    add(*all, std::move(first));
    while (skip_sign(",")) {
      if (now().type != Token::Name && !at_sign("(")) break;
      if (at_word("in")) break;
      add(*all, target_name(with_namespace));
    }
    return all;
  }

  bool tuple_ends() const { return now().type == Token::VariableEnd || now().type == Token::BlockEnd || at_sign(")") || at_word("recursive"); }

  // One expression, or several with commas between: a tuple.
  ExpressionPtr tuple(bool with_condition, bool parenthesized = false) {
    const size_t at = now().at;
    std::vector<ExpressionPtr> items;
    bool is_tuple = false;
    for (;;) {
      if (!items.empty()) expect_sign(",");
      if (tuple_ends()) break;
      items.push_back(expression(with_condition));
      if (!at_sign(",")) break;
      is_tuple = true;
    }
    if (!is_tuple && !items.empty()) return std::move(items[0]);
    if (!is_tuple && !parenthesized) error(at, fmt::format("expected an expression but found {}", found()));
    auto expr = node(Expression::Tuple, at);
    for (auto& item : items) add(*expr, std::move(item));
    return expr;
  }

  ExpressionPtr expression(bool with_condition = true) {
    const Nested nested(*this);
    auto value = logical_or();
    if (!with_condition) return value;
    while (at_word("if")) {
      const size_t at = now().at;
      step();
      auto condition = logical_or();
      ExpressionPtr otherwise;
      if (skip_word("else")) otherwise = expression();
      value = with_parts(Expression::Condition, at, "", std::move(condition), std::move(value), std::move(otherwise));
    }
    return value;
  }

  ExpressionPtr logical_or() {
    auto left = logical_and();
    while (at_word("or")) {
      const size_t at = now().at;
      step();
      left = with_parts(Expression::Or, at, "or", std::move(left), logical_and());
    }
    return left;
  }

  ExpressionPtr logical_and() {
    auto left = negation();
    while (at_word("and")) {
      const size_t at = now().at;
      step();
      left = with_parts(Expression::And, at, "and", std::move(left), negation());
    }
    return left;
  }

  ExpressionPtr negation() {
    const Nested nested(*this);
    const size_t at = now().at;
    if (skip_word("not")) return with_parts(Expression::Not, at, "not", negation());
    return comparison();
  }

  // The comparison sign that stands here, or "".
  std::string comparison_sign() {
    for (const char* sign : {"==", "!=", "<=", ">=", "<", ">"})
      if (skip_sign(sign)) return sign;
    if (skip_word("in")) return "in";
    if (at_word("not") && ahead().type == Token::Name && ahead().text == "in") {
      step();
      step();
      return "not in";
    }
    return {};
  }

  ExpressionPtr comparison() {
    const size_t at = now().at;
    auto left = sum();
    ExpressionPtr chain;
    for (;;) {
      const size_t sign_at = now().at;
      const std::string sign = comparison_sign();
      if (sign.empty()) break;
      if (!chain) {
        chain = node(Expression::Compare, sign_at ? sign_at : at);
        add(*chain, std::move(left));
      }
      chain->names.push_back(sign);
      add(*chain, sum());
    }
    return chain ? std::move(chain) : std::move(left);
  }

  ExpressionPtr binary(Names signs, ExpressionPtr (ExpressionParser::*operand)()) {
    auto left = (this->*operand)();
    for (;;) {
      const Token token = now();
      if (std::none_of(signs.begin(), signs.end(), [&](const char* sign) { return skip_sign(sign); })) return left;
      left = with_parts(Expression::Binary, token.at, token.text, std::move(left), (this->*operand)());
    }
  }
  ExpressionPtr sum() { return binary({"+", "-"}, &ExpressionParser::concat); }
  ExpressionPtr product() { return binary({"*", "//", "/", "%"}, &ExpressionParser::power); }
  ExpressionPtr power() { return binary({"**"}, &ExpressionParser::filtered); }
  ExpressionPtr filtered() { return unary(true); }

  ExpressionPtr concat() {
    const size_t at = now().at;
    auto first = product();
    if (!at_sign("~")) return first;
    auto all = node(Expression::Concat, at, "~");
    add(*all, std::move(first));
    while (skip_sign("~")) add(*all, product());
    return all;
  }

  ExpressionPtr unary(bool with_filters) {
    const Nested nested(*this);
    const size_t at = now().at;
    ExpressionPtr value;
    if (skip_sign("-")) value = with_parts(Expression::Negative, at, "-", unary(false));
    else if (skip_sign("+")) value = with_parts(Expression::Positive, at, "+", unary(false));
    else value = primary();
    value = postfix(std::move(value));
    return with_filters ? filters_and_tests(std::move(value)) : std::move(value);
  }

  ExpressionPtr constant(Value value, size_t at) const {
    auto expr = node(Expression::Constant, at);
    expr->value = std::move(value);
    return expr;
  }

  ExpressionPtr primary() {
    const Token token = now();
    if (token.type == Token::Name) {
      const std::string name = expect_name();
      if (name == "true" || name == "True") return constant(true, token.at);
      if (name == "false" || name == "False") return constant(false, token.at);
      if (name == "none" || name == "None") return constant(Value::none(), token.at);
      return node(Expression::Name, token.at, name);
    }
    step();
    if (token.type == Token::String) {
      std::string text = token.text;
      for (; now().type == Token::String; step()) text += now().text;
      return constant(std::move(text), token.at);
    }
    if (token.type == Token::Number) return constant(token.number, token.at);
    if (token.type == Token::Operator && token.text == "(") {
      auto inner = tuple(true, true);
      expect_sign(")");
      return inner;
    }
    if (token.type == Token::Operator && token.text == "[") return list(token.at);
    if (token.type == Token::Operator && token.text == "{") return dict(token.at);
    --next_;
    error(token.at, fmt::format("expected an expression but found {}", found()));
  }

  ExpressionPtr list(size_t at) {
    auto expr = node(Expression::List, at);
    while (!at_sign("]")) {
      if (!expr->parts.empty()) expect_sign(",");
      if (at_sign("]")) break;
      add(*expr, expression());
    }
    expect_sign("]");
    return expr;
  }

  ExpressionPtr dict(size_t at) {
    auto expr = node(Expression::Dict, at);
    while (!at_sign("}")) {
      if (!expr->parts.empty()) expect_sign(",");
      if (at_sign("}")) break;
      add(*expr, expression());
      expect_sign(":");
      add(*expr, expression());
    }
    expect_sign("}");
    return expr;
  }

  ExpressionPtr postfix(ExpressionPtr value) {
    for (;;) {
      const size_t at = now().at;
      if (skip_sign(".")) value = attribute(std::move(value), at);
      else if (skip_sign("[")) value = subscript(std::move(value), at);
      else if (at_sign("(")) value = call(std::move(value), at);
      else return value;
    }
  }

  ExpressionPtr attribute(ExpressionPtr value, size_t at) {
    if (now().type == Token::Name) {
      auto expr = with_parts(Expression::Attribute, at, now().text, std::move(value));
      step();
      return expr;
    }
    if (now().type != Token::Number || !now().number.is(Kind::Int)) error(now().at, fmt::format("expected a name or number but found {}", found()));
    auto expr = with_parts(Expression::Item, at, "", std::move(value), constant(now().number, now().at));
    step();
    return expr;
  }

  ExpressionPtr subscript(ExpressionPtr value, size_t at) {
    auto expr = node(Expression::Item, at);
    add(*expr, std::move(value));
    ExpressionPtr first;
    if (!at_sign(":")) first = expression();
    if (at_sign(",")) error(now().at, "several indices at once are not supported");
    add(*expr, std::move(first));
    if (skip_sign(":")) {
      expr->kind = Expression::Slice;
      add(*expr, at_sign(":") || at_sign("]") ? nullptr : expression());
      add(*expr, !skip_sign(":") || at_sign("]") ? nullptr : expression());
    }
    expect_sign("]");
    return expr;
  }

  void arguments(Expression& expr) {
    expect_sign("(");
    bool first = true;
    while (!at_sign(")")) {
      if (!std::exchange(first, false)) expect_sign(",");
      if (at_sign(")")) break;
      const size_t at = now().at;
      if (skip_sign("*")) {
        if (expr.star || expr.double_star) error(at, "'*' stands twice or behind '**'");
        expr.star = expression();
        deepen(expr, *expr.star);
      } else if (skip_sign("**")) {
        if (expr.double_star) error(at, "'**' stands twice");
        expr.double_star = expression();
        deepen(expr, *expr.double_star);
      } else if (now().type == Token::Name && ahead().type == Token::Operator && ahead().text == "=") {
        std::string name = expect_name();
        step();
        expr.named.emplace_back(std::move(name), expression());
        deepen(expr, *expr.named.back().second);
      } else {
        if (!expr.named.empty() || expr.star || expr.double_star) error(at, "a plain argument stands behind a named one");
        add(expr, expression());
      }
    }
    expect_sign(")");
  }

  ExpressionPtr call(ExpressionPtr function, size_t at) {
    auto expr = with_parts(Expression::Call, at, "", std::move(function));
    arguments(*expr);
    return expr;
  }

  // `| name(...)` once or more; `started`: the first has no bar.
  ExpressionPtr filters(ExpressionPtr value, bool started) {
    while (started || at_sign("|")) {
      if (!started) step();
      started = false;
      value = filter(std::move(value));
    }
    return value;
  }

  std::string dotted_name() {
    std::string name = expect_name();
    while (skip_sign(".")) name += "." + expect_name();
    return name;
  }

  ExpressionPtr filter(ExpressionPtr value) {
    const size_t at = now().at;
    auto expr = node(Expression::Filter, at, dotted_name());
    if (!is_filter(expr->name)) error(at, fmt::format("the filter '{}' is not supported", expr->name), suggest(expr->name, filter_names()));
    add(*expr, std::move(value));
    if (at_sign("(")) arguments(*expr);
    return expr;
  }

  ExpressionPtr test(ExpressionPtr value) {
    const size_t at = now().at;
    const bool negated = skip_word("not");
    auto expr = node(Expression::Test, at, dotted_name());
    if (!is_test(expr->name)) error(at, fmt::format("the test '{}' is not supported", expr->name), suggest(expr->name, test_names()));
    add(*expr, std::move(value));
    const bool value_follows = now().type == Token::String || now().type == Token::Number || at_sign("[") || at_sign("{") ||
                               (now().type == Token::Name && !at_any_word({"else", "or", "and"}));
    if (at_sign("(")) {
      arguments(*expr);
    } else if (value_follows) {
      if (at_word("is")) error(now().at, "tests cannot follow one another");
      // As in Jinja, any other word that follows is the argument, `if` and `in` too.
      add(*expr, postfix(primary()));
    }
    return negated ? with_parts(Expression::Not, at, "not", std::move(expr)) : std::move(expr);
  }

  ExpressionPtr filters_and_tests(ExpressionPtr value) {
    for (;;) {
      const size_t at = now().at;
      if (skip_sign("|")) value = filter(std::move(value));
      else if (skip_word("is")) value = test(std::move(value));
      else if (at_sign("(")) value = call(std::move(value), at);
      else return value;
    }
  }

  const std::string& source_;
  const std::string& name_;
  const std::vector<Token> tokens_;
  size_t next_ = 0;
  int nesting_ = 0;
};

}  // namespace graft::chat
