#include "adapter/folder.h"

#include <algorithm>

#include "adapter/merge.h"
#include "core/check.h"
#include "core/files.h"
#include "core/torch.h"
#include "methods/common/targets.h"
#include "model/family.h"
#include "model/loader.h"

namespace graft {
namespace fs = std::filesystem;
namespace {

// Keys of every PEFT configuration that say nothing about the maths.
const std::vector<std::string>& common_keys() {
  static const std::vector<std::string> keys{"peft_type",      "task_type",    "base_model_name_or_path", "revision", "inference_mode",
                                             "peft_version",   "auto_mapping", "megatron_core",           "runtime_config"};
  return keys;
}

bool switched_off(const Json& value) {
  return value.is_null() || value == false || value == "none" || ((value.is_object() || value.is_array()) && value.empty());
}

const MethodRow& row_of_type(const std::string& type, const Json& json, const std::string& source) {
  std::vector<std::string> known;
  const MethodRow* first = nullptr;
  for (auto& row : methods()) {
    if (!row.peft_type) continue;
    known.push_back(row.peft_type);
    if (type != row.peft_type) continue;
    if (*row.peft_key && json.contains(row.peft_key) && !switched_off(json[row.peft_key])) return row;
    if (!first && !*row.peft_key) first = &row;
  }
  if (first) return *first;
  usage_error("adapter", fmt::format("{}: peft_type '{}' is not supported", source, type), suggest(type, known));
}

// AdapterHub names no preset: the row that fits the file best reads it.
const MethodRow& adapterhub_row(const Json& config, const std::string& source) {
  const MethodRow* best = nullptr;
  int best_fit = -1;
  for (auto& row : methods()) {
    if (row.format != Format::AdapterHub) continue;
    if (const int fit = row.make()->file_fit(config); fit > best_fit) best_fit = fit, best = &row;
  }
  if (!best)
    usage_error("adapter", fmt::format("{}: AdapterHub's architecture {} with these options is not supported", source, json_line(config.value("architecture", Json()))),
                "graft methods lists what is");
  return *best;
}

struct ParsedConfig {
  const MethodRow* row;
  Json options;
  std::string base_model, adapter_name;
  bool adapterhub;
  std::string writer;
};

// Who wrote the file, for errors about fields that are not understood.
std::string writer_of(const Json& json) {
  for (const char* key : {"peft_version", "version"})
    if (json.contains(key) && json[key].is_string()) return fmt::format(" (written by {}{})", key[0] == 'p' ? "PEFT " : "", json[key].get<std::string>());
  return "";
}

ParsedConfig parse_config(const fs::path& file) {
  const Json json = read_json(file);
  const std::string source = file.string();
  if (!json.is_object()) input_error("adapter", fmt::format("{} must hold a JSON object", source));
  const auto text = [&](const char* key) { return json.contains(key) && json[key].is_string() ? json[key].get<std::string>() : std::string(); };
  if (json.contains("config") && !json.contains("peft_type")) {
    if (json["config"].is_string()) return {&find_method(json["config"].get<std::string>()), Json::object(), text("model_name"), text("name"), true, writer_of(json)};
    if (!json["config"].is_object()) usage_error("adapter", fmt::format("{}: config must be a mapping of AdapterHub's options, or a preset's name", source));
    if (text("name").empty()) input_error("adapter", fmt::format("{} has no name, which the tensors' names hold", source));
    return {&adapterhub_row(json["config"], source), json["config"], text("model_name"), text("name"), true, writer_of(json)};
  }
  const std::string type = text("peft_type");
  if (type.empty()) input_error("adapter", fmt::format("{} has no peft_type", source), "is this an adapter's folder?");
  return {&row_of_type(type, json, source), json, text("base_model_name_or_path"), "default", false, writer_of(json)};
}

std::unique_ptr<Method> configured(const ParsedConfig& parsed, const std::string& source) {
  auto method = parsed.row->make();
  if (parsed.adapterhub) {
    method->read_file_config(parsed.options, source + parsed.writer);
    return method;
  }
  const auto names = field_names(method->config());
  const auto ignored = method->ignored_keys();
  const auto contains = [](const std::vector<std::string>& list, const std::string& key) { return std::find(list.begin(), list.end(), key) != list.end(); };
  Json own = Json::object();
  for (auto& [key, value] : parsed.options.items()) {
    if (contains(names, key)) own[key] = value;
    else if (!contains(common_keys(), key) && !contains(ignored, key) && !switched_off(value))
      usage_error(parsed.row->name, fmt::format("{}{}: the field '{}' = {} is not understood", source, parsed.writer, key, json_line(value)),
                  "it may change what the adapter computes, so it cannot be ignored");
  }
  method->read_file_config(own, parsed.row->name);
  return method;
}

fs::path weights_file(const fs::path& folder, bool adapterhub) {
  const char* name = adapterhub ? "adapter.safetensors" : "adapter_model.safetensors";
  if (fs::exists(folder / name)) return folder / name;
  const char* pickle = adapterhub ? "pytorch_adapter.bin" : "adapter_model.bin";
  input_error("adapter", fmt::format("'{}' has no {}", folder.string(), name),
              fs::exists(folder / pickle) ? fmt::format("{} is a pickle; save it again as safetensors", pickle) : "is the folder complete?");
}

}  // namespace

std::unique_ptr<Method> method_from_config(const fs::path& config_file, const MethodRow*& row) {
  const ParsedConfig parsed = parse_config(config_file);
  row = parsed.row;
  return configured(parsed, config_file.string());
}

fs::path adapter_folder(const fs::path& folder) {
  if (fs::exists(folder / "adapter_config.json")) return folder;
  std::vector<std::string> inside;  // adapters with names of their own lie in sub-folders
  if (fs::is_directory(folder) && !fs::exists(folder / "config.json"))
    for (auto& entry : fs::directory_iterator(folder))
      if (entry.is_directory() && fs::exists(entry.path() / "adapter_config.json") && !entry.path().filename().string().starts_with("checkpoint-"))
        inside.push_back(entry.path().filename().string());
  if (inside.size() == 1) return folder / inside[0];
  std::sort(inside.begin(), inside.end());
  if (!inside.empty())
    input_error("adapter", fmt::format("'{}' holds {} adapters", folder.string(), inside.size()), fmt::format("name one of the sub-folders {}", fmt::join(inside, ", ")));
  input_error("adapter", fmt::format("'{}' has no adapter_config.json", folder.string()),
              fs::exists(folder / "config.json") ? "it is a model folder: give it as --model" : "is the path right?");
}

AdapterFile read_adapter(const fs::path& given) {
  const fs::path folder = adapter_folder(given);
  const ParsedConfig parsed = parse_config(folder / "adapter_config.json");
  AdapterFile file;
  file.row = parsed.row;
  file.folder = folder;
  file.config = parsed.options;
  file.base_model = parsed.base_model;
  file.adapter_name = parsed.adapter_name;
  file.weights = weights_file(folder, parsed.adapterhub);
  const SafetensorsFile weights(file.weights);
  for (auto& [name, info] : weights.tensors()) {
    std::string key = name;
    // AdapterHub's adapter has a name inside the tensors' names.
    for (const std::string kind : {"adapters", "loras", "prefix_tunings", "prefix_gates", "refts", "shared_parameters", "invertible_adapters"}) {
      const std::string infix = "." + kind + "." + parsed.adapter_name + ".";
      if (const size_t at = key.find(infix); parsed.adapterhub && at != std::string::npos) key.replace(at, infix.size(), "." + kind + ".default.");
    }
    file.tensors.emplace_back(key, weights.tensor(name));
  }
  return file;
}

Model base_for_adapter(const Model& base, const AdapterFile& file) {
  Model model = base;
  const auto replace = [&](const std::string& name, Tensor& handle) {
    for (auto& [key, value] : file.tensors)
      if (key == name && value.is_floating_point() && value.sizes() == handle.sizes()) handle = value.to(handle.device(), model.dtype());
  };
  replace(kPeftPrefix + model.tokens.path + ".base_layer.weight", model.tokens.weight);
  if (!model.config.tied_head) replace(kPeftPrefix + model.head.path + ".base_layer.weight", model.head.weight);
  return model;
}

Adapted load_adapter(const Model& base, const fs::path& folder) {
  const AdapterFile file = read_adapter(folder);
  const MethodRow* row = nullptr;
  Adapted adapted = attach(base_for_adapter(base, file), *file.row, method_from_config(file.folder / "adapter_config.json", row), 0, {}, /*loading=*/true);
  adapted.method->load_file_tensors(file.tensors, file.weights.string());
  return adapted;
}

int64_t save_adapter(Adapted& adapted, const fs::path& folder, const fs::path& base_folder) {
  if (adapted.row->format == Format::ModelFolder) {
    save_model(merged(adapted), folder, base_folder, at::kFloat);
    return static_cast<int64_t>(fs::file_size(folder / "model.safetensors"));
  }
  make_folder(folder);
  const bool adapterhub = adapted.row->format == Format::AdapterHub;
  NamedTensors tensors;
  for (auto& [name, value] : adapted.method->file_tensors()) tensors.emplace_back(name, value.to(at::kCPU, value.scalar_type() == at::kDouble ? at::kFloat : value.scalar_type()));
  const fs::path weights = folder / (adapterhub ? "adapter.safetensors" : "adapter_model.safetensors");
  save_safetensors(weights, tensors);
  Json config = adapted.method->file_config(adapted.model);
  const std::string base = fs::weakly_canonical(base_folder).string();
  if (adapterhub) {
    const auto& model = adapted.model;
    config = {{"config", config}, {"hidden_size", model.config.width}, {"model_class", model.family->architecture}, {"model_name", base},
              {"model_type", model.family->model_type}, {"name", "default"}, {"version", "adapters.1.3.0"}};
  } else {
    config.update({{"peft_type", adapted.row->peft_type}, {"task_type", "CAUSAL_LM"}, {"base_model_name_or_path", base}, {"revision", nullptr},
                   {"inference_mode", true}, {"peft_version", "0.21.2"}, {"auto_mapping", nullptr}});
  }
  write_json(folder / "adapter_config.json", config);
  return static_cast<int64_t>(fs::file_size(weights));
}

}  // namespace graft
