// A template's text as tokens, with Jinja's rules of white space (trim_blocks and lstrip_blocks on, as HF sets them).
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "chat/value.h"

namespace graft::chat {

struct Token {
  enum Type { Data, VariableBegin, VariableEnd, BlockBegin, BlockEnd, Name, String, Number, Operator, End };
  Type type = End;
  std::string text;  // Data, Name, String: the text; Operator: the sign
  Value number;
  size_t at = 0;  // byte offset in the source
};

// The text that the tokens' offsets count in: line ends as \n, one final line end taken off.
std::string normalized_source(std::string_view text);
std::vector<Token> tokens_of(const std::string& source, const std::string& name);

// Throws Fault::Input: "NAME line L, column C: message"; columns count characters from 1.
[[noreturn]] void template_error(const std::string& name, const std::string& source, size_t at, const std::string& message, const std::string& hint = {});

}  // namespace graft::chat
