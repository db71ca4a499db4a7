// JSON as graft reads and writes it: strict (duplicate keys are errors), sorted keys, doubles that read back the same.
#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

// Compiled once, in json.cpp: every file that reads JSON would compile it again.
extern template class nlohmann::basic_json<>;

namespace graft {

using Json = nlohmann::json;

// Parses one document. `what` names the source in errors ("config.json", "train.jsonl line 7"). Throws Fault::Input.
Json parse_json(std::string_view text, std::string_view what);
Json read_json(const std::filesystem::path& path);

// Pretty-printed with indent 2 and a final newline, keys sorted, written to a temporary name and renamed.
void write_json(const std::filesystem::path& path, const Json& value);

// One line, no newline: a row of a JSONL file. Invalid UTF-8 is replaced rather than refused.
std::string json_line(const Json& value);

}  // namespace graft
