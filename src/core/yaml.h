// YAML in and out, as JSON values: recipes and plans are read and written through this.
#pragma once
#include <filesystem>
#include <string>

#include "core/json.h"

namespace graft {

// Parses one document; numbers, booleans and null become those, quoted scalars stay text. Duplicate keys and syntax errors throw
// Fault::Usage with file, line and column.
Json read_yaml(const std::filesystem::path& path);
Json parse_yaml(const std::string& text, const std::string& source);
std::string to_yaml(const Json& value);

}  // namespace graft
