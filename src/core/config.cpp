#include "core/config.h"

#include <cmath>

#include "core/check.h"

namespace graft {
namespace {

std::string shown(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string range_text(const Allowed& allowed) {
  if (!allowed.choices.empty()) return fmt::format("one of {}", fmt::join(allowed.choices, ", "));
  const bool low = std::isfinite(allowed.min), high = std::isfinite(allowed.max);
  if (low && high) return fmt::format("{} {} and at most {}", allowed.above_min ? "above" : "at least", allowed.min, allowed.max);
  if (low) return fmt::format("{} {}", allowed.above_min ? "above" : "at least", allowed.min);
  if (high) return fmt::format("at most {}", allowed.max);
  return "a finite number";
}

// Calls one function for every field, whatever its type.
template <class F>
class EachField : public Fields {
 public:
  explicit EachField(F f) : f_(f) {}
  void operator()(const char* n, bool& v, const char* d) override { f_(n, v, "true or false", d, Allowed{}); }
  void operator()(const char* n, int64_t& v, const char* d, const Allowed& a) override { f_(n, v, "integer", d, a); }
  void operator()(const char* n, double& v, const char* d, const Allowed& a) override { f_(n, v, "number", d, a); }
  void operator()(const char* n, std::string& v, const char* d, const Allowed& a) override { f_(n, v, "text", d, a); }
  void operator()(const char* n, std::optional<int64_t>& v, const char* d, const Allowed& a) override { f_(n, v, "integer or null", d, a); }
  void operator()(const char* n, std::optional<double>& v, const char* d, const Allowed& a) override { f_(n, v, "number or null", d, a); }
  void operator()(const char* n, std::optional<std::string>& v, const char* d, const Allowed& a) override { f_(n, v, "text or null", d, a); }
  void operator()(const char* n, Json& v, const char* d) override { f_(n, v, "JSON", d, Allowed{}); }

 private:
  F f_;
};
template <class F>
void each_field(Config& config, F f) {
  EachField<F> visitor(f);
  config.visit(visitor);
}

Json json_of(const Json& v) { return v; }
template <class T>
Json json_of(const T& v) { return Json(v); }
template <class T>
Json json_of(const std::optional<T>& v) { return v ? Json(*v) : Json(nullptr); }

// Reads `json` into `value`; false when the type is wrong.
bool read(const Json& json, bool& value) { return json.is_boolean() && (value = json.get<bool>(), true); }
bool read(const Json& json, int64_t& value) {
  if (json.is_number_integer()) return value = json.get<int64_t>(), true;
  if (json.is_number_float() && json.get<double>() == std::floor(json.get<double>()) && std::abs(json.get<double>()) < 9e15)
    return value = static_cast<int64_t>(json.get<double>()), true;
  return false;
}
bool read(const Json& json, double& value) { return json.is_number() && (value = json.get<double>(), true); }
bool read(const Json& json, std::string& value) { return json.is_string() && (value = json.get<std::string>(), true); }
bool read(const Json& json, Json& value) { return value = json, true; }
template <class T>
bool read(const Json& json, std::optional<T>& value) {
  if (json.is_null()) return value.reset(), true;
  T inner{};
  return read(json, inner) && (value = inner, true);
}

bool within(double v, const Allowed& a) { return std::isfinite(v) && v <= a.max && (a.above_min ? v > a.min : v >= a.min); }
bool allowed_value(bool, const Allowed&) { return true; }
bool allowed_value(const Json&, const Allowed&) { return true; }
bool allowed_value(int64_t v, const Allowed& a) { return within(static_cast<double>(v), a); }
bool allowed_value(double v, const Allowed& a) { return within(v, a); }
bool allowed_value(const std::string& v, const Allowed& a) {
  return a.choices.empty() || std::find(a.choices.begin(), a.choices.end(), v) != a.choices.end();
}
template <class T>
bool allowed_value(const std::optional<T>& v, const Allowed& a) { return !v || allowed_value(*v, a); }

}  // namespace

Allowed one_of(std::vector<std::string> choices) {
  Allowed allowed;
  allowed.choices = std::move(choices);
  return allowed;
}

std::vector<FieldInfo> describe(Config& config) {
  std::vector<FieldInfo> fields;
  each_field(config, [&](const char* name, auto& value, const char* type, const char* doc, const Allowed& allowed) {
    fields.push_back({name, type, doc, json_of(value), allowed});
  });
  return fields;
}

std::vector<std::string> field_names(Config& config) {
  std::vector<std::string> names;
  for (auto& field : describe(config)) names.push_back(field.name);
  return names;
}

Json to_json(Config& config) {
  Json object = Json::object();
  for (auto& field : describe(config)) object[field.name] = field.value;
  return object;
}

void from_json(Config& config, const Json& object, std::string_view tag, const std::vector<std::string>& ignored) {
  if (!object.is_object()) usage_error(tag, fmt::format("options must be a mapping of names to values but are {}", shown(object)));
  const auto names = field_names(config);
  for (auto& [key, value] : object.items()) {
    if (std::find(ignored.begin(), ignored.end(), key) != ignored.end()) continue;
    if (std::find(names.begin(), names.end(), key) == names.end())
      usage_error(tag, fmt::format("unknown option '{}' = {}", key, shown(value)), suggest(key, names));
  }
  each_field(config, [&](const char* name, auto& value, const char* type, const char*, const Allowed& allowed) {
    const auto found = object.find(name);
    if (found == object.end()) return;
    auto next = value;
    if (!read(*found, next)) usage_error(tag, fmt::format("{} must be {} but is {}", name, type, shown(*found)));
    if (!allowed_value(next, allowed)) usage_error(tag, fmt::format("{} must be {} but is {}", name, range_text(allowed), shown(*found)));
    value = next;
  });
}

void set_from_text(Config& config, const std::string& name, const std::string& text, std::string_view tag) {
  const auto fields = describe(config);
  std::string type;
  for (auto& field : fields)
    if (field.name == name) type = field.type;
  Json value = Json::parse(text, nullptr, false);  // numbers, true, null, [..], {..}, "..."
  const bool plain_text = value.is_discarded();
  if (type == "text" || (type == "text or null" && text != "null")) {
    if (plain_text || !value.is_string()) value = text;
  } else if (plain_text) {
    value = text;
    if (type == "JSON" && text.find(',') != std::string::npos) {
      value = Json::array();
      for (size_t start = 0; start <= text.size();) {
        const size_t comma = std::min(text.find(',', start), text.size());
        if (comma > start) value.push_back(text.substr(start, comma - start));
        start = comma + 1;
      }
    }
  }
  from_json(config, Json{{name, value}}, tag);
}

}  // namespace graft
