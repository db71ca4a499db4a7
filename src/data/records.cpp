#include "data/records.h"

#include <utf8proc.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <set>

#include "core/check.h"
#include "core/files.h"
#include "data/parallel.h"
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

constexpr size_t kBlockRows = 1 << 14, kBlockBytes = 32 << 20;  // of lines in work at once

struct Line {
  std::string text;
  int64_t number = 0;
};

Record parse_line(const Line& line, const std::string& name) {
  const std::string where = fmt::format("{} line {}", name, line.number);
  require_utf8(line.text, where);
  Json row = parse_row_json(line.text, where);
  if (!row.is_object())
    input_error("data", fmt::format("{} must hold an object but holds {}", where, shortened(row)), "one {\"text\": ...} or {\"prompt\": ..., \"completion\": ...} per line");
  chat::Value ordered = has_objects(row) ? chat::Value::parse(line.text, where) : chat::Value();
  return {std::move(row), where, std::move(ordered)};
}

// One thread reads lines, all parse them.
void take_lines(std::istream& in, const std::string& name, const TakeRecords& take) {
  std::vector<Line> lines;
  size_t bytes = 0;
  const auto flush = [&] {
    std::vector<Record> block(lines.size());
    parallel_rows(lines.size(), [&](size_t i) { block[i] = parse_line(lines[i], name); });
    lines.clear();
    take(block, bytes);
    bytes = 0;
  };
  int64_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    bytes += line.size() + 1;
    if (number == 1 && line.starts_with(kByteOrderMark)) line.erase(0, kByteOrderMark.size());
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    lines.push_back({std::move(line), number});
    if (lines.size() == kBlockRows || bytes >= kBlockBytes) flush();
  }
  if (in.bad()) input_error("data", fmt::format("cannot read {}", name));
  if (!lines.empty()) flush();
}

void take_list(const std::string& name, const TakeRecords& take) {
  std::vector<Record> records;
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
  take(records, content.size());
}

void take_table(const std::string& name, char separator, const TakeRecords& take) {
  std::vector<Record> records;
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
  take(records, content.size());
}

void take_file(const std::string& name, const TakeRecords& take) {
  if (name == "-") return take_lines(std::cin, "standard input", take);
  std::error_code error;
  const auto status = fs::status(name, error);
  if (!fs::exists(status)) input_error("data", fmt::format("there is no file '{}'", name), "check the path");
  if (fs::is_directory(status)) input_error("data", fmt::format("'{}' is a folder, not a file", name));
  std::string ending = fs::path(name).extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(), [](unsigned char c) { return std::tolower(c); });
  if (ending == ".csv") return take_table(name, ',', take);
  if (ending == ".tsv") return take_table(name, '\t', take);
  if (ending == ".json") return take_list(name, take);
  std::ifstream in(name, std::ios::binary);
  if (!in) input_error("data", fmt::format("cannot read '{}'", name), "check the permissions");
  take_lines(in, name, take);
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

void each_block(const std::vector<std::string>& files, const TakeRecords& take) {
  if (files.empty()) usage_error("data", "no data file is given", "--data FILE.jsonl");
  for (auto& name : files) {
    bool any = false;
    take_file(name, [&](std::vector<Record>& block, size_t bytes) {
      any = any || !block.empty();
      take(block, bytes);
    });
    if (!any) input_error("data", name == "-" ? "standard input holds no row" : fmt::format("'{}' holds no row", name));
  }
}

std::vector<Record> read_records(const std::vector<std::string>& files) {
  std::vector<Record> records;
  each_block(files, [&](std::vector<Record>& block, size_t) { std::move(block.begin(), block.end(), std::back_inserter(records)); });
  return records;
}

}  // namespace graft
