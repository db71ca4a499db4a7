#include "data/records.h"

#include <fstream>
#include <iostream>
#include <set>
#include <sstream>

#include "core/check.h"
#include "core/files.h"

namespace graft {
namespace fs = std::filesystem;
namespace {

void add_jsonl(std::istream& in, const std::string& name, std::vector<Record>& records) {
  int64_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (number == 1 && line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = fmt::format("{} line {}", name, number);
    Json row = parse_json(line, where);
    if (!row.is_object()) input_error("data", fmt::format("{} must hold an object but holds {}", where, json_line(row).substr(0, 80)));
    records.push_back({std::move(row), where});
  }
}

void add_json_array(const std::string& name, std::vector<Record>& records) {
  const Json all = read_json(name);
  if (!all.is_array()) input_error("data", fmt::format("{} must hold a list of objects", name), "one object per line belongs into a .jsonl file");
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string where = fmt::format("{} row {}", name, i + 1);
    if (!all[i].is_object()) input_error("data", fmt::format("{} must be an object but is {}", where, json_line(all[i]).substr(0, 80)));
    records.push_back({all[i], where});
  }
}

// RFC 4180 with any separator: quoted fields may hold separators, line ends and doubled quotes.
void add_table(const std::string& name, char separator, std::vector<Record>& records) {
  std::string text = read_file(name);
  if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
  std::vector<std::string> header, fields;
  int64_t line = 1, row_line = 1;
  const auto end_row = [&] {
    if (fields.size() == 1 && fields[0].empty()) return fields.clear();  // an empty line
    if (header.empty()) {
      header = fields;
      if (std::set<std::string>(header.begin(), header.end()).size() != header.size()) input_error("data", fmt::format("{}: two columns have the same name", name));
    } else {
      if (fields.size() != header.size())
        input_error("data", fmt::format("{} line {} has {} fields but the header has {}", name, row_line, fields.size(), header.size()), "quote fields that hold the separator");
      Json row = Json::object();
      for (size_t i = 0; i < header.size(); ++i) row[header[i]] = fields[i];
      records.push_back({std::move(row), fmt::format("{} line {}", name, row_line)});
    }
    fields.clear();
  };
  for (size_t at = 0; at < text.size();) {
    std::string field;
    if (text[at] == '"') {
      bool closed = false;
      for (++at; at < text.size(); ++at) {
        if (text[at] == '\n') ++line;
        if (text[at] != '"') field += text[at];
        else if (at + 1 < text.size() && text[at + 1] == '"') field += text[at++];
        else {
          closed = true;
          ++at;
          break;
        }
      }
      if (!closed) input_error("data", fmt::format("{}: the quote that opens in the row of line {} never closes", name, row_line));
      if (at < text.size() && text[at] != separator && text[at] != '\n' && text[at] != '\r')
        input_error("data", fmt::format("{} line {}: a closing quote must end its field", name, line), "double a quote that is part of the text");
    } else {
      while (at < text.size() && text[at] != separator && text[at] != '\n') field += text[at++];
      if (!field.empty() && field.back() == '\r' && (at >= text.size() || text[at] == '\n')) field.pop_back();
    }
    fields.push_back(std::move(field));
    if (at < text.size() && text[at] == '\r') ++at;
    if (at >= text.size() || text[at] == '\n') {
      end_row();
      row_line = ++line;
      ++at;
    } else {
      ++at;  // the separator
      if (at == text.size()) fields.emplace_back();
    }
  }
  if (!fields.empty()) end_row();
}

std::string as_text(const Json& value) { return value.is_string() ? value.get<std::string>() : value.is_null() ? std::string() : json_line(value); }

// Fills "{column}" from the row.
std::string fill(const std::string& pattern, const Record& record) {
  std::string out;
  for (size_t at = 0; at < pattern.size(); ++at) {
    const char c = pattern[at];
    if ((c == '{' || c == '}') && at + 1 < pattern.size() && pattern[at + 1] == c) {
      out += c;
      ++at;
    } else if (c == '{') {
      const size_t end = pattern.find('}', at);
      if (end == std::string::npos) usage_error("data", fmt::format("template: the brace at character {} never closes", at), "write {{ for a brace");
      const std::string name = pattern.substr(at + 1, end - at - 1);
      if (!record.fields.contains(name)) {
        std::vector<std::string> known;
        for (auto& [key, value] : record.fields.items()) known.push_back(key);
        input_error("data", fmt::format("{} has no column '{}', which the template names", record.where, name), suggest(name, known));
      }
      out += as_text(record.fields[name]);
      at = end;
    } else if (c == '}') {
      usage_error("data", fmt::format("template: a lone }} at character {}", at), "write }} for a brace");
    } else {
      out += c;
    }
  }
  return out;
}

std::string unescaped(const std::string& text) {  // \n and \t as people type them on a command line
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == 'n' || text[i + 1] == 't' || text[i + 1] == '\\')) {
      ++i;
      out += text[i] == 'n' ? '\n' : text[i] == 't' ? '\t' : '\\';
    } else {
      out += text[i];
    }
  }
  return out;
}

Json renamed(const Record& record, const Json& columns) {
  if (columns.is_null()) return record.fields;
  Json fields = record.fields;
  for (auto& [ours, theirs] : columns.items()) {
    const std::string name = theirs.get<std::string>();
    if (!record.fields.contains(name)) {
      std::vector<std::string> known;
      for (auto& [key, value] : record.fields.items()) known.push_back(key);
      input_error("data", fmt::format("{} has no column '{}'", record.where, name), suggest(name, known));
    }
    fields.erase(name);
  }
  for (auto& [ours, theirs] : columns.items()) fields[ours] = record.fields[theirs.get<std::string>()];
  return fields;
}

// "a=b,c=d", a list of "a=b", or a mapping.
Json column_names(const Json& columns) {
  if (columns.is_null() || columns.is_object()) {
    if (columns.is_object())
      for (auto& [ours, theirs] : columns.items())
        if (!theirs.is_string()) usage_error("data", fmt::format("columns: '{}' must name a column but is {}", ours, json_line(theirs)));
    return columns;
  }
  Json list = columns.is_array() ? columns : Json::array({columns}), names = Json::object();
  for (auto& item : list) {
    const std::string text = as_text(item);
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) usage_error("data", fmt::format("columns: '{}' must be OUR_NAME=FILE_NAME", text), "such as prompt=question,completion=answer");
    names[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return names;
}

std::string require_text(const Json& fields, const char* key, const std::string& where) {
  if (!fields[key].is_string() && !fields[key].is_number()) input_error("data", fmt::format("{}: '{}' must be text but is {}", where, key, json_line(fields[key]).substr(0, 80)));
  return as_text(fields[key]);
}

void read_references(const Json& fields, TextRow& row) {
  if (!fields.contains("references")) return;
  if (!fields["references"].is_array() || fields["references"].empty()) input_error("data", fmt::format("{}: 'references' must be a list of texts", row.where));
  for (auto& reference : fields["references"]) row.references.push_back(as_text(reference));
}

// The row's text by its keys; false for a label that is still to be turned into a choice.
void read_row(const Record& record, const Json& fields, const DataConfig& config, TextRow& row, std::string& label) {
  if (config.prompt_template) {
    const std::string text = fill(unescaped(*config.prompt_template), {fields, record.where});
    size_t cut = 0;
    if (config.response_template) {
      const std::string marker = unescaped(*config.response_template);
      cut = text.rfind(marker);
      if (marker.empty() || cut == std::string::npos)
        input_error("data", fmt::format("{}: the formatted text does not hold the response template '{}'", record.where, marker), "it must stand in --template, before the answer");
      cut += marker.size();
    }
    row.prompt = text.substr(0, cut);
    row.completion = text.substr(cut);
    read_references(fields, row);
    return;
  }
  if (fields.contains("messages"))
    usage_error("data", fmt::format("{}: rows with 'messages' need a chat template, which this version does not apply", record.where),
                "give rows with prompt and completion");
  if (fields.contains("label") && (fields.contains("text") || (fields.contains("text_a") && fields.contains("text_b")))) {
    row.prompt = fields.contains("text") ? require_text(fields, "text", record.where) + "\nLabel:"
                                         : require_text(fields, "text_a", record.where) + "\n" + require_text(fields, "text_b", record.where) + "\nLabel:";
    label = require_text(fields, "label", record.where);
    return;
  }
  if (fields.contains("prompt")) {
    row.prompt = require_text(fields, "prompt", record.where);
    read_references(fields, row);
    if (fields.contains("completion")) row.completion = require_text(fields, "completion", record.where);
    else if (!row.references.empty()) row.completion = row.references[0];
    else input_error("data", fmt::format("{} has a prompt but no completion", record.where), "name its column with --columns completion=NAME");
    return;
  }
  if (fields.contains("text")) {
    row.completion = require_text(fields, "text", record.where);
    return;
  }
  std::vector<std::string> keys;
  for (auto& [key, value] : fields.items()) keys.push_back(key);
  input_error("data", fmt::format("{}: its columns {} say nothing that is known", record.where, fmt::join(keys, ", ")),
              "known are text; prompt, completion; text, label; text_a, text_b, label; use --columns or --template");
}

std::vector<std::string> read_labels(const fs::path& file) {
  std::vector<std::string> labels;
  std::istringstream in(read_file(file));
  for (std::string line; std::getline(in, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!line.empty()) labels.push_back(line);
  }
  return labels;
}

}  // namespace

std::vector<Record> read_records(const std::vector<std::string>& files) {
  std::vector<Record> records;
  if (files.empty()) usage_error("data", "no data file is given");
  for (auto& name : files) {
    const size_t before = records.size();
    const std::string ending = fs::path(name).extension().string();
    if (name == "-") {
      add_jsonl(std::cin, "standard input", records);
    } else {
      if (!fs::exists(name)) input_error("data", fmt::format("there is no file '{}'", name));
      if (fs::is_directory(name)) input_error("data", fmt::format("'{}' is a folder, not a file", name));
      if (ending == ".csv") add_table(name, ',', records);
      else if (ending == ".tsv") add_table(name, '\t', records);
      else if (ending == ".json") add_json_array(name, records);
      else {
        std::ifstream in(name, std::ios::binary);
        if (!in) input_error("data", fmt::format("cannot read '{}'", name));
        add_jsonl(in, name, records);
      }
    }
    if (records.size() == before) input_error("data", fmt::format("'{}' holds no row", name));
  }
  return records;
}

fs::path labels_beside(const std::vector<std::string>& files) {
  if (files.empty() || files[0] == "-") return {};
  const fs::path file = fs::path(files[0]).parent_path() / "labels.txt";
  return fs::exists(file) ? file : fs::path();
}

std::vector<TextRow> text_rows(const std::vector<Record>& records, const DataConfig& config, const fs::path& labels_file) {
  if (config.response_template && !config.prompt_template) usage_error("data", "response_template is given without template", "give --template too");
  const Json columns = column_names(config.columns);
  std::vector<TextRow> rows;
  std::vector<std::string> labels(records.size());
  std::set<std::string> seen;
  for (size_t i = 0; i < records.size(); ++i) {
    TextRow row;
    row.where = records[i].where;
    const Json fields = renamed(records[i], columns);
    read_row(records[i], fields, config, row, labels[i]);
    row.id = fields.contains("id") ? as_text(fields["id"]) : std::to_string(i);
    if (!labels[i].empty()) seen.insert(labels[i]);
    rows.push_back(std::move(row));
  }
  if (!seen.empty()) {
    const std::vector<std::string> names = labels_file.empty() ? std::vector<std::string>(seen.begin(), seen.end()) : read_labels(labels_file);
    std::vector<std::string> choices;
    for (auto& name : names) choices.push_back(" " + name);
    for (size_t i = 0; i < rows.size(); ++i) {
      if (labels[i].empty()) continue;
      const auto found = std::find(names.begin(), names.end(), labels[i]);
      if (found == names.end())
        input_error("data", fmt::format("{}: the label '{}' is not in {}", rows[i].where, labels[i], labels_file.string()), suggest(labels[i], names));
      rows[i].choices = choices;
      rows[i].label = found - names.begin();
      rows[i].completion = " " + labels[i];
    }
  }
  for (auto& row : rows)
    if (row.references.empty()) row.references = {row.completion};
  return rows;
}

}  // namespace graft
