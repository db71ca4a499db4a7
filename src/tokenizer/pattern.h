// A compiled pattern of tokenizer.json: {"String": ...} or {"Regex": ...}.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json.h"

namespace graft {

class Pattern {
 public:
  static Pattern from_json(const Json& json, const std::string& where);  // throws Fault::Input
  static Pattern regex(const std::string& expression, const std::string& where);

  // All matches from left to right as [begin, end) bytes; empty matches are skipped.
  std::vector<std::pair<size_t, size_t>> matches(std::string_view text) const;
  std::string replace(std::string_view text, const std::string& with) const;

 private:
  std::string literal_;
  std::shared_ptr<void> code_;  // pcre2_code; null for a literal
};

}  // namespace graft
