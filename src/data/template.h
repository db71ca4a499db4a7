// Texts with {column} in braces; {{ and }} stand for braces.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace graft {

class TextTemplate {
 public:
  // Throws Fault::Usage for a brace without its partner.
  explicit TextTemplate(const std::string& pattern);
  // Throws Fault::Input naming `where` and the known columns for a column that `fields` lack.
  std::string fill(const Json& fields, const std::string& where) const;
  bool names(std::string_view column) const;

 private:
  struct Piece {
    std::string text;
    bool column = false;
  };
  std::vector<Piece> pieces_;
};

// \n, \t and \\ as people type them on a command line.
std::string unescaped(const std::string& text);

// A value as text: strings bare, null as nothing, anything else as JSON.
std::string as_text(const Json& value);

// Throws Fault::Input: `where` has no such column; the hint names the nearest or all.
[[noreturn]] void no_such_column(const Json& fields, const std::string& column, const std::string& where);

}  // namespace graft
