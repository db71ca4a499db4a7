// Fields of tokenizer.json with their types checked; every error names the field and its place.
#pragma once
#include <string>

#include "core/json.h"

namespace graft {

[[noreturn]] void tokenizer_error(const std::string& message, const std::string& hint = {});

// `json` is an object with a "type"; returns that.
std::string type_of(const Json& json, const std::string& where);
[[noreturn]] void unknown_type(const std::string& where, const std::string& type, const std::string& known);

const Json& list_field(const Json& json, const char* key, const std::string& where);
std::string text_field(const Json& json, const char* key, const std::string& where);
// One character, as UTF-8.
std::string character_field(const Json& json, const char* key, const std::string& where);
// Missing (and, for texts, null) fields give the fallback; another type is an error.
std::string text_field_or(const Json& json, const char* key, const std::string& where, const std::string& fallback);
bool flag_field(const Json& json, const char* key, const std::string& where, bool fallback);
bool required_flag(const Json& json, const char* key, const std::string& where);
// An integer in [0, most].
int64_t count_field(const Json& json, const char* key, const std::string& where, int64_t most);
int64_t count_value(const Json& value, const std::string& what, int64_t most);

constexpr int64_t kLargestId = (1 << 28) - 1;

}  // namespace graft
