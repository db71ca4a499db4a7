#include "data/records.h"

#include <utf8proc.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <set>

#include "core/check.h"
#include "core/files.h"
#include "data/table.h"

namespace graft {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// Copying JSON goes down its nesting: thousands of levels would exhaust the stack.
Json parse_row_json(std::string_view text, const std::string& where) {
  int64_t depth = 0;
  bool in_text = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') in_text = !in_text;
    else if (in_text) i += c == '\\';  // an escaped quote ends nothing
    else if (c == '[' || c == '{') ++depth;
    else if (c == ']' || c == '}') --depth;
    if (depth > 100) input_error("data", fmt::format("{} nests lists and objects more than 100 deep", where));
  }
  return parse_json(text, where);
}

// Conversations, and what else a chat template may want to see in its order.
bool has_objects(const Json& row) {
  return std::any_of(row.begin(), row.end(), [](const Json& value) { return value.is_array() && !value.empty() && value[0].is_object(); });
}

void add_lines(std::istream& in, const std::string& name, std::vector<Record>& records) {
  int64_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (number == 1 && line.starts_with(kByteOrderMark)) line.erase(0, kByteOrderMark.size());
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = fmt::format("{} line {}", name, number);
    require_utf8(line, where);
    Json row = parse_row_json(line, where);
    if (!row.is_object())
      input_error("data", fmt::format("{} must hold an object but holds {}", where, shortened(row)), "one {\"text\": ...} or {\"prompt\": ..., \"completion\": ...} per line");
    chat::Value ordered = has_objects(row) ? chat::Value::parse(line, where) : chat::Value();
    records.push_back({std::move(row), where, std::move(ordered)});
  }
  if (in.bad()) input_error("data", fmt::format("cannot read {}", name));
}

void add_list(const std::string& name, std::vector<Record>& records) {
  const std::string content = read_file(name);
  std::string_view text = content;
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  require_utf8(text, name);
  Json all = parse_row_json(text, name);
  if (!all.is_array()) input_error("data", fmt::format("{} must hold a list of objects", name), "one object per line belongs into a .jsonl file");
  const bool conversations = std::any_of(all.begin(), all.end(), [](const Json& row) { return row.is_object() && has_objects(row); });
  const chat::Value ordered = conversations ? chat::Value::parse(text, name) : chat::Value();
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string where = fmt::format("{} row {}", name, i + 1);
    if (!all[i].is_object()) input_error("data", fmt::format("{} must be an object but is {}", where, shortened(all[i])));
    records.push_back({std::move(all[i]), where, conversations ? ordered.list_data().items[i] : chat::Value()});
  }
}

void add_table(const std::string& name, char separator, std::vector<Record>& records) {
  const std::string content = read_file(name);
  std::string_view text = content;
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  require_utf8(text, name);
  const auto rows = parse_table(text, separator, name);
  if (rows.empty()) return;
  const auto& header = rows[0].fields;
  std::set<std::string> seen;
  for (auto& column : header)
    if (!seen.insert(column).second) input_error("data", fmt::format("{}: two columns are named '{}'", name, column));
  for (size_t r = 1; r < rows.size(); ++r) {
    const std::string where = fmt::format("{} line {}", name, rows[r].line);
    const auto& fields = rows[r].fields;
    if (fields.size() != header.size())
      input_error("data", fmt::format("{} has {} fields but the header has {}", where, fields.size(), header.size()), "quote fields that hold the separator");
    Json row = Json::object();
    for (size_t i = 0; i < header.size(); ++i) row[header[i]] = fields[i];
    records.push_back({std::move(row), where});
  }
}

void add_file(const std::string& name, std::vector<Record>& records) {
  if (name == "-") return add_lines(std::cin, "standard input", records);
  std::error_code error;
  const auto status = fs::status(name, error);
  if (!fs::exists(status)) input_error("data", fmt::format("there is no file '{}'", name), "check the path");
  if (fs::is_directory(status)) input_error("data", fmt::format("'{}' is a folder, not a file", name));
  std::string ending = fs::path(name).extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(), [](unsigned char c) { return std::tolower(c); });
  if (ending == ".csv") return add_table(name, ',', records);
  if (ending == ".tsv") return add_table(name, '\t', records);
  if (ending == ".json") return add_list(name, records);
  std::ifstream in(name, std::ios::binary);
  if (!in) input_error("data", fmt::format("cannot read '{}'", name), "check the permissions");
  add_lines(in, name, records);
}

}  // namespace

void require_utf8(std::string_view text, const std::string& where) {
  int64_t line = 0;
  for (size_t at = 0; at < text.size();) {
    if (static_cast<unsigned char>(text[at]) < 0x80) {
      line += text[at++] == '\n';
      continue;
    }
    utf8proc_int32_t code = 0;
    const size_t left = std::min<size_t>(text.size() - at, 4);
    const auto length = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data() + at), static_cast<utf8proc_ssize_t>(left), &code);
    if (length <= 0) {
      const std::string further = line ? fmt::format(" line {}", line + 1) : "";
      input_error("data", fmt::format("{}{} is not UTF-8 text: byte 0x{:02x} at offset {}", where, further, static_cast<unsigned char>(text[at]), at),
                  "convert the file, such as with iconv -f LATIN1 -t UTF-8");
    }
    at += static_cast<size_t>(length);
  }
}

std::string shortened(const Json& value) {
  if (value.is_structured()) return value.is_array() ? "a list" : "an object";
  const std::string text = json_line(value);
  if (text.size() <= 80) return text;
  size_t end = 80;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // not inside a character
  return text.substr(0, end) + "...";
}

std::vector<Record> read_records(const std::vector<std::string>& files) {
  if (files.empty()) usage_error("data", "no data file is given", "--data FILE.jsonl");
  std::vector<Record> records;
  for (auto& name : files) {
    const size_t before = records.size();
    add_file(name, records);
    if (records.size() == before) input_error("data", name == "-" ? "standard input holds no row" : fmt::format("'{}' holds no row", name));
  }
  return records;
}

}  // namespace graft
