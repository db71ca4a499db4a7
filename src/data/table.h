// Tables in text form: RFC 4180 with any separator. Quoted fields may hold separators, line ends and doubled quotes; a
// quote inside an unquoted field stands for itself. Lines end in LF or CRLF; empty lines are skipped.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace graft {

struct TableRow {
  std::vector<std::string> fields;
  int64_t line = 0;  // where the row begins, counted from 1
};

// All rows, the header first. Throws Fault::Input naming `name` and the line for a quote that never closes, or text
// behind a closing quote.
std::vector<TableRow> parse_table(std::string_view text, char separator, const std::string& name);

}  // namespace graft
