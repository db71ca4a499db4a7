// A configuration is a struct with defaults; one `visit` yields its JSON and YAML keys, its command-line flags, its
// help, its validation and its documentation.
//
//   struct LoraConfig : Config {
//     int64_t r = 8;
//     void visit(Fields& f) override { f("r", r, "rank of the update", at_least(1)); }
//   };
#pragma once
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"

namespace graft {

// What values a field may take beyond its type.
struct Allowed {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool above_min = false;              // min itself is not allowed
  std::vector<std::string> choices = {};  // for strings; empty: anything
};
inline Allowed at_least(double min) { return {.min = min}; }
inline Allowed between(double min, double max) { return {.min = min, .max = max}; }
inline Allowed above(double min) { return {.min = min, .above_min = true}; }
Allowed one_of(std::vector<std::string> choices);

// Visitor over the fields of a configuration. `doc` is one line.
class Fields {
 public:
  virtual ~Fields() = default;
  virtual void operator()(const char* name, bool& value, const char* doc) = 0;
  virtual void operator()(const char* name, int64_t& value, const char* doc, const Allowed& allowed = {}) = 0;
  virtual void operator()(const char* name, double& value, const char* doc, const Allowed& allowed = {}) = 0;
  virtual void operator()(const char* name, std::string& value, const char* doc, const Allowed& allowed = {}) = 0;
  virtual void operator()(const char* name, std::optional<int64_t>& value, const char* doc, const Allowed& allowed = {}) = 0;
  virtual void operator()(const char* name, std::optional<double>& value, const char* doc, const Allowed& allowed = {}) = 0;
  virtual void operator()(const char* name, std::optional<std::string>& value, const char* doc, const Allowed& allowed = {}) = 0;
  // Anything JSON can say: unions such as "a list, a regular expression or null". The owner validates it.
  virtual void operator()(const char* name, Json& value, const char* doc) = 0;
};

struct Config {
  virtual ~Config() = default;
  virtual void visit(Fields& fields) = 0;
};

// One field, for help texts and generated docs.
struct FieldInfo {
  std::string name, type, doc;
  Json value;  // the current (default) value
  Allowed allowed;
};
std::vector<FieldInfo> describe(Config& config);
std::vector<std::string> field_names(Config& config);

Json to_json(Config& config);

// Sets the fields named in `object`. An unknown key, a wrong type or a value out of range throws `Fault::Usage`
// under `tag`, naming the key, the value, what is allowed and the nearest known name. Keys in `ignored` are skipped.
void from_json(Config& config, const Json& object, std::string_view tag, const std::vector<std::string>& ignored = {});

// Sets one field from command-line text: numbers, true/false, JSON for lists and objects, "a,b" for a list.
void set_from_text(Config& config, const std::string& name, const std::string& text, std::string_view tag);

}  // namespace graft
