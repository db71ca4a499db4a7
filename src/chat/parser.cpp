#include "chat/expression_parser.h"

namespace graft::chat {
namespace {

class Parser : ExpressionParser {
 public:
  Parser(const std::string& source, const std::string& name) : ExpressionParser(source, name) {}
  Body run() { return statements({}); }

 private:
  static std::unique_ptr<Statement> make(Statement::Kind kind, size_t at) {
    auto statement = std::make_unique<Statement>();
    statement->kind = kind;
    statement->at = at;
    return statement;
  }

  // Up to a block that begins with one of `ends`, whose name is the current token then; no ends: up to the end.
  Body statements(Names ends) {
    const Nested nested(*this);
    const size_t begin = now().at;
    Body body;
    for (;;) {
      const Token token = now();
      if (token.type == Token::End) {
        if (ends.size()) error(begin, fmt::format("the block that begins here has no {{% {} %}}", *(ends.end() - 1)));
        return body;
      }
      step();
      if (token.type == Token::Data) {
        auto text = make(Statement::Text, token.at);
        text->text = token.text;
        body.push_back(std::move(text));
      } else if (token.type == Token::VariableBegin) {
        auto print = make(Statement::Print, token.at);
        print->value = tuple(true);
        expect(Token::VariableEnd, "'}}'");
        body.push_back(std::move(print));
      } else {
        if (at_any_word(ends)) return body;
        body.push_back(statement());
        expect(Token::BlockEnd, "'%}'");
      }
    }
  }

  // Behind a block's tag: its body up to one of `ends`.
  Body block(Names ends) {
    skip_sign(":");
    expect(Token::BlockEnd, "'%}'");
    return statements(ends);
  }
  Body whole_block(const char* end) {
    Body body = block({end});
    step();
    return body;
  }

  std::unique_ptr<Statement> statement() {
    const size_t at = now().at;
    if (now().type != Token::Name) error(at, fmt::format("expected a tag's name but found {}", found()));
    const std::string tag = now().text;
    step();
    if (tag == "if") return if_block(at);
    if (tag == "for") return for_block(at);
    if (tag == "set") return set(at);
    if (tag == "macro") return macro(at);
    if (tag == "call") return call_block(at);
    if (tag == "filter") return filter_block(at);
    if (tag == "with") return with(at);
    if (tag == "generation") {
      auto node = make(Statement::Generation, at);
      const int loops = std::exchange(loops_, 0);  // it is a function of its own: no way out by break
      node->body = whole_block("endgeneration");
      loops_ = loops;
      return node;
    }
    if (tag == "print") {
      auto node = make(Statement::Print, at);
      node->value = tuple(true);
      return node;
    }
    if (tag == "break" || tag == "continue") {
      if (loops_ == 0) error(at, fmt::format("'{}' stands outside of a loop", tag));
      return make(tag == "break" ? Statement::Break : Statement::Continue, at);
    }
    error(at, fmt::format("the tag '{}' is not supported", tag), "known: if, for, set, macro, call, filter, with, generation, print, raw, break, continue");
  }

  std::unique_ptr<Statement> if_block(size_t at) {
    const Nested nested(*this);
    auto node = make(Statement::If, at);
    node->value = tuple(false);
    node->body = block({"elif", "else", "endif"});
    const size_t branch = now().at;
    if (skip_word("elif")) {
      node->otherwise.push_back(if_block(branch));
      return node;  // the last branch took the endif
    }
    if (skip_word("else")) node->otherwise = block({"endif"});
    step();
    return node;
  }

  std::unique_ptr<Statement> for_block(size_t at) {
    auto node = make(Statement::For, at);
    node->target = target(false);
    if (!skip_word("in")) error(now().at, fmt::format("expected 'in' but found {}", found()));
    node->value = tuple(false);
    if (skip_word("if")) node->condition = expression();
    if (at_word("recursive")) error(now().at, "recursive loops are not supported");
    ++loops_;
    node->body = block({"else", "endfor"});
    --loops_;
    if (skip_word("else")) node->otherwise = block({"endfor"});
    step();
    return node;
  }

  std::unique_ptr<Statement> set(size_t at) {
    auto node = make(Statement::Set, at);
    node->target = target(true);
    if (skip_sign("=")) {
      node->value = tuple(true);
      return node;
    }
    node->kind = Statement::SetBlock;
    if (node->target->kind == Expression::Tuple) error(now().at, fmt::format("expected '=' but found {}", found()));
    if (at_sign("|")) node->value = filters(nullptr, false);
    node->body = whole_block("endset");
    return node;
  }

  std::vector<Parameter> parameters() {
    std::vector<Parameter> list;
    expect_sign("(");
    while (!skip_sign(")")) {
      if (!list.empty()) expect_sign(",");
      const size_t at = now().at;
      Parameter parameter{expect_name(), nullptr};
      if (skip_sign("=")) parameter.otherwise = expression();
      else if (!list.empty() && list.back().otherwise) error(at, fmt::format("'{}' has no default but stands behind one that has", parameter.name));
      list.push_back(std::move(parameter));
    }
    return list;
  }

  Body function_body(const char* end, Statement& node) {
    const int loops = std::exchange(loops_, 0);
    const size_t begin = next_;
    Body body = whole_block(end);
    loops_ = loops;
    for (size_t i = begin; i < next_; ++i) {
      if (tokens_[i].type != Token::Name) continue;
      node.takes_more |= tokens_[i].text == "varargs";
      node.takes_named |= tokens_[i].text == "kwargs";
    }
    return body;
  }

  std::unique_ptr<Statement> macro(size_t at) {
    auto node = make(Statement::Macro, at);
    node->text = expect_name();
    node->parameters = parameters();
    node->body = function_body("endmacro", *node);
    return node;
  }

  std::unique_ptr<Statement> call_block(size_t at) {
    auto node = make(Statement::CallBlock, at);
    if (at_sign("(")) node->parameters = parameters();
    const size_t call_at = now().at;
    node->value = expression();
    if (node->value->kind != Expression::Call) error(call_at, "a call block needs a call, such as {% call f() %}");
    node->body = function_body("endcall", *node);
    return node;
  }

  std::unique_ptr<Statement> filter_block(size_t at) {
    auto node = make(Statement::FilterBlock, at);
    node->value = filters(nullptr, true);
    node->body = whole_block("endfilter");
    return node;
  }

  std::unique_ptr<Statement> with(size_t at) {
    auto node = make(Statement::With, at);
    while (now().type != Token::BlockEnd) {
      if (!node->parameters.empty()) expect_sign(",");
      Parameter parameter{expect_name(), nullptr};
      expect_sign("=");
      parameter.otherwise = expression();
      node->parameters.push_back(std::move(parameter));
    }
    node->body = whole_block("endwith");
    return node;
  }

  int loops_ = 0;  // for blocks around, up to the next function
};

}  // namespace

Body parse_template(const std::string& source, const std::string& name) { return Parser(source, name).run(); }

}  // namespace graft::chat
