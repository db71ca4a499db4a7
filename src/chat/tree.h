// A parsed template.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "chat/value.h"

namespace graft::chat {

struct Expression;
struct Statement;
using ExpressionPtr = std::unique_ptr<Expression>;
using Body = std::vector<std::unique_ptr<Statement>>;

struct Expression {
  enum Kind {
    Constant,   // value
    Name,       // name
    List,       // parts
    Tuple,      // parts
    Dict,       // parts: key, value, key, value, ...
    Attribute,  // parts[0] . name
    Item,       // parts[0] [ parts[1] ]
    Slice,      // parts[0] [ parts[1] : parts[2] : parts[3] ], each of the last three may be null
    Call,       // parts[0] ( parts[1...] , named , *star , **double_star )
    Filter,     // parts[0] | name ( ... ), arguments as a call's; parts[0] is null in a filter block
    Test,       // parts[0] is name ( ... )
    Not,
    Negative,
    Positive,
    And,
    Or,
    Binary,     // parts[0] name parts[1]
    Concat,     // parts[0] ~ parts[1] ~ ...
    Compare,    // parts[0] names[0] parts[1] names[1] parts[2] ...
    Condition,  // parts[1] if parts[0] else parts[2]; parts[2] may be null
    NamespaceTarget,  // name . names[0], assigned to
  };
  Kind kind = Constant;
  size_t at = 0;  // byte offset in the source
  int depth = 1;
  std::string name;
  Value value;
  std::vector<ExpressionPtr> parts;
  std::vector<std::string> names;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  ExpressionPtr star, double_star;
};

struct Parameter {
  std::string name;
  ExpressionPtr otherwise;  // null: none
};

struct Statement {
  enum Kind {
    Text,         // text
    Print,        // value
    If,           // value, body, otherwise (an elif is an If in `otherwise`)
    For,          // target in value, condition, body, otherwise
    Set,          // target = value
    SetBlock,     // target, filter (value; null: none), body
    Macro,        // text (its name), parameters, body
    CallBlock,    // value (a call), parameters, body
    FilterBlock,  // value (filters), body
    With,         // parameters (name = value), body
    Generation,   // body
    Break,
    Continue,
  };
  Kind kind = Text;
  size_t at = 0;
  std::string text;
  ExpressionPtr target, value, condition;
  std::vector<Parameter> parameters;
  bool takes_more = false, takes_named = false;  // a macro that uses varargs, kwargs
  Body body, otherwise;
};

// Throws Fault::Input with line and column for broken syntax and for what is not supported: tags, filters and tests by name.
Body parse_template(const std::string& source, const std::string& name);

}  // namespace graft::chat
