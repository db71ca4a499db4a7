#include "data/template.h"

#include <algorithm>

#include "core/check.h"

namespace graft {

TextTemplate::TextTemplate(const std::string& pattern) {
  std::string text;
  for (size_t at = 0; at < pattern.size(); ++at) {
    const char c = pattern[at];
    if (c != '{' && c != '}') {
      text += c;
    } else if (at + 1 < pattern.size() && pattern[at + 1] == c) {
      text += c;
      ++at;
    } else if (c == '}') {
      usage_error("data", fmt::format("template: a lone }} at character {}", at + 1), "write }} for a brace");
    } else {
      const size_t end = pattern.find_first_of("{}", at + 1);
      if (end == std::string::npos || pattern[end] == '{')
        usage_error("data", fmt::format("template: the brace at character {} never closes", at + 1), "write {{ for a brace");
      pieces_.push_back({std::move(text), false});
      pieces_.push_back({pattern.substr(at + 1, end - at - 1), true});
      text.clear();
      at = end;
    }
  }
  pieces_.push_back({std::move(text), false});
}

std::string TextTemplate::fill(const Json& fields, const std::string& where) const {
  std::string out;
  for (auto& piece : pieces_) {
    if (!piece.column) {
      out += piece.text;
      continue;
    }
    const auto value = fields.find(piece.text);
    if (value == fields.end()) no_such_column(fields, piece.text, where);
    out += as_text(*value);
  }
  return out;
}

bool TextTemplate::names(std::string_view column) const {
  return std::any_of(pieces_.begin(), pieces_.end(), [&](auto& piece) { return piece.column && piece.text == column; });
}

std::string unescaped(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char next = text[i] == '\\' && i + 1 < text.size() ? text[i + 1] : '\0';
    if (next == 'n' || next == 't' || next == '\\') {
      ++i;
      out += next == 'n' ? '\n' : next == 't' ? '\t' : '\\';
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string as_text(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  return value.is_null() ? std::string() : json_line(value);
}

void no_such_column(const Json& fields, const std::string& column, const std::string& where) {
  std::vector<std::string> known;
  for (auto& [key, value] : fields.items()) known.push_back(key);
  input_error("data", fmt::format("{} has no column '{}'; it has {}", where, column, fmt::join(known, ", ")), suggest(column, known));
}

}  // namespace graft
