#include "core/yaml.h"

#include <yaml-cpp/yaml.h>

#include <charconv>
#include <cmath>

#include "core/check.h"
#include "core/files.h"

namespace graft {
namespace {

Json scalar(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  if (node.Tag() == "!") return text;  // quoted
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return nullptr;
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  const char *begin = text.data() + (text[0] == '+'), *end = text.data() + text.size();
  int64_t integer = 0;
  if (const auto r = std::from_chars(begin, end, integer); r.ec == std::errc() && r.ptr == end) return integer;
  double number = 0;
  if (const auto r = std::from_chars(begin, end, number); r.ec == std::errc() && r.ptr == end && std::isfinite(number)) return number;
  return text;
}

Json value_of(const YAML::Node& node, const std::string& source) {
  if (node.IsScalar()) return scalar(node);
  if (node.IsSequence()) {
    Json list = Json::array();
    for (auto& item : node) list.push_back(value_of(item, source));
    return list;
  }
  if (!node.IsMap()) return nullptr;
  Json map = Json::object();
  for (auto& entry : node) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : std::string();
    const int line = entry.first.Mark().line + 1;
    if (key.empty()) usage_error("yaml", fmt::format("{} line {}: keys must be words", source, line));
    if (map.contains(key)) usage_error("yaml", fmt::format("{} line {}: the key '{}' stands twice", source, line, key), "remove one of them");
    map[key] = value_of(entry.second, source);
  }
  return map;
}

void emit(YAML::Emitter& out, const Json& value) {
  if (value.is_object()) {
    if (value.empty()) out << YAML::Flow;
    out << YAML::BeginMap;
    for (auto& [key, inner] : value.items()) {
      out << YAML::Key << key << YAML::Value;
      emit(out, inner);
    }
    out << YAML::EndMap;
  } else if (value.is_array()) {
    bool plain = true;
    for (auto& inner : value) plain &= !inner.is_structured();
    if (plain) out << YAML::Flow;
    out << YAML::BeginSeq;
    for (auto& inner : value) emit(out, inner);
    out << YAML::EndSeq;
  } else if (value.is_string()) {
    const std::string text = value.get<std::string>();
    YAML::Node probe(text);
    if (scalar(probe) == value) out << text;
    else out << YAML::DoubleQuoted << text;
  } else if (value.is_null()) {
    out << YAML::Null;
  } else if (value.is_boolean()) {
    out << value.get<bool>();
  } else {
    out << value.dump();  // numbers with all their digits
  }
}

}  // namespace

Json parse_yaml(const std::string& text, const std::string& source) {
  try {
    return value_of(YAML::Load(text), source);
  } catch (const YAML::Exception& e) {
    usage_error("yaml", fmt::format("{} line {} column {}: {}", source, e.mark.line + 1, e.mark.column + 1, e.msg));
  }
}

Json read_yaml(const std::filesystem::path& path) { return parse_yaml(read_file(path), path.string()); }

std::string to_yaml(const Json& value) {
  YAML::Emitter out;
  emit(out, value);
  return std::string(out.c_str()) + "\n";
}

}  // namespace graft
