#include "tokenizer/fields.h"

#include "core/check.h"
#include "tokenizer/unicode.h"

namespace graft {
namespace {

bool absent(const Json& json, const char* key) {
  return !json.contains(key) || json[key].is_null();
}
std::string shown(const Json& json) {
  return json_line(json).substr(0, 120);
}

}  // namespace

void tokenizer_error(const std::string& message, const std::string& hint) {
  input_error("tokenizer", message, hint);
}

std::string type_of(const Json& json, const std::string& where) {
  if (!json.is_object() || !json.contains("type") || !json["type"].is_string())
    tokenizer_error(fmt::format("{} must be an object with a type but is {}", where, shown(json)));
  return json["type"].get<std::string>();
}

void unknown_type(const std::string& where, const std::string& type, const std::string& known) {
  tokenizer_error(fmt::format("the {} type '{}' is not supported", where, type), "known: " + known);
}

const Json& list_field(const Json& json, const char* key, const std::string& where) {
  if (!json.contains(key) || !json[key].is_array()) tokenizer_error(fmt::format("{} needs a list '{}'", where, key));
  return json[key];
}

std::string text_field(const Json& json, const char* key, const std::string& where) {
  if (!json.contains(key) || !json[key].is_string()) tokenizer_error(fmt::format("{} needs the text '{}'", where, key));
  return json[key].get<std::string>();
}

std::string character_field(const Json& json, const char* key, const std::string& where) {
  const std::string text = text_field(json, key, where);
  if (text.empty() || utf8_length(text, 0) != text.size())
    tokenizer_error(fmt::format("{}: '{}' must be one character but is '{}'", where, key, text));
  return text;
}

std::string text_field_or(const Json& json, const char* key, const std::string& where, const std::string& fallback) {
  if (absent(json, key)) return fallback;
  return text_field(json, key, where);
}

bool flag_field(const Json& json, const char* key, const std::string& where, bool fallback) {
  return absent(json, key) ? fallback : required_flag(json, key, where);
}

bool required_flag(const Json& json, const char* key, const std::string& where) {
  if (absent(json, key)) tokenizer_error(fmt::format("{} needs '{}'", where, key));
  if (!json[key].is_boolean())
    tokenizer_error(fmt::format("{}: '{}' must be true or false but is {}", where, key, shown(json[key])));
  return json[key].get<bool>();
}

int64_t count_value(const Json& value, const std::string& what, int64_t most) {
  if (!value.is_number_integer() || (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(most)) ||
      value.get<int64_t>() < 0 || value.get<int64_t>() > most)
    tokenizer_error(fmt::format("{} must be an integer from 0 to {} but is {}", what, most, shown(value)));
  return value.get<int64_t>();
}

int64_t count_field(const Json& json, const char* key, const std::string& where, int64_t most) {
  if (absent(json, key)) tokenizer_error(fmt::format("{} needs '{}'", where, key));
  return count_value(json[key], fmt::format("{}: '{}'", where, key), most);
}

}  // namespace graft
