#include "model/config.h"

#include "core/check.h"

namespace graft {
namespace {
constexpr int64_t kLargest = int64_t{1} << 31;
}

void ConfigReader::refuse(const std::string& key, const std::string& must) const {
  const Json value = json_.contains(key) ? json_.at(key) : Json();
  input_error("config", fmt::format("{}: {} must be {} but is {}", source_, key, must, json_line(value)));
}

int64_t ConfigReader::size(const char* key) const {
  if (!json_.contains(key)) input_error("config", fmt::format("{}: the key '{}' is missing", source_, key), "is this a Hugging Face model folder?");
  const Json& value = json_.at(key);
  if (!value.is_number_integer() || value.get<int64_t>() < 1 || value.get<int64_t>() > kLargest) refuse(key, "a positive integer");
  return value.get<int64_t>();
}
int64_t ConfigReader::size(const char* key, int64_t fallback) const { return has(key) ? size(key) : fallback; }

double ConfigReader::number(const char* key, double fallback) const {
  if (!has(key)) return fallback;
  if (!json_.at(key).is_number()) refuse(key, "a number");
  return json_.at(key).get<double>();
}
bool ConfigReader::flag(const char* key, bool fallback) const {
  if (!has(key)) return fallback;
  if (!json_.at(key).is_boolean()) refuse(key, "true or false");
  return json_.at(key).get<bool>();
}
std::string ConfigReader::text(const char* key, const std::string& fallback) const {
  if (!has(key)) return fallback;
  if (!json_.at(key).is_string()) refuse(key, "text");
  return json_.at(key).get<std::string>();
}
void ConfigReader::must_be(const char* key, const Json& value) const {
  if (has(key) && json_.at(key) != value) refuse(key, json_line(value) + " (other values are not supported)");
}

void read_rope(const ConfigReader& reader, ModelConfig& config) {
  const char* block = reader.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  config.rope_theta = reader.number("rope_theta", 10000);
  if (reader.has(block)) {
    const Json& json = reader.json().at(block);
    if (!json.is_object()) reader.refuse(block, "a mapping");
    const ConfigReader inner(json, block);
    config.rope_theta = inner.number("rope_theta", config.rope_theta);
    config.rope.kind = inner.text("rope_type", inner.text("type", "default"));
    if (config.rope.kind != "default" && config.rope.kind != "linear" && config.rope.kind != "llama3")
      input_error("config", fmt::format("{}: rope_type '{}' is not supported", block, config.rope.kind), "known: default, linear, llama3");
    config.rope.factor = inner.number("factor", 1);
    config.rope.low_freq_factor = inner.number("low_freq_factor", 1);
    config.rope.high_freq_factor = inner.number("high_freq_factor", 4);
    config.rope.original_max_positions = inner.size("original_max_position_embeddings", 8192);
    if (!(config.rope.factor > 0)) reader.refuse(block, "a mapping with a factor above 0");
    if (config.rope.kind == "llama3" && !(config.rope.high_freq_factor > config.rope.low_freq_factor))
      reader.refuse(block, "a mapping with high_freq_factor above low_freq_factor");
  }
  if (!(config.rope_theta > 0)) reader.refuse("rope_theta", "above 0");
}

}  // namespace graft
