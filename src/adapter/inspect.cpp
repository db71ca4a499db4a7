#include "adapter/inspect.h"

#include "adapter/folder.h"
#include "core/check.h"
#include "core/safetensors.h"

namespace graft {
namespace {

// Why a program that knows only plain LoRA on the linears of the blocks (llama.cpp, vLLM) cannot use this adapter; "" if it can.
std::string beyond_plain_lora(const AdapterFile& file) {
  if (!file.row->peft_type || std::string(file.row->peft_type) != "LORA")
    return fmt::format("it knows LoRA only, and this is {}", file.row->title);
  if (*file.row->peft_key) return file.row->peft_key;
  const auto on = [&](const char* key) { return file.config.contains(key) && file.config[key] == true; };
  if (on("use_dora")) return "use_dora";
  if (on("lora_bias")) return "lora_bias";
  if (file.config.value("bias", Json("none")) != "none") return fmt::format("bias = {}", json_line(file.config["bias"]));
  for (const char* key : {"modules_to_save", "trainable_token_indices"})
    if (file.config.contains(key) && !file.config[key].is_null()) return key;
  for (const char* start : {"pissa", "olora"})
    if (file.config.contains("init_lora_weights") && file.config["init_lora_weights"] == start)
      return fmt::format("init_lora_weights = \"{}\" changes the base: graft convert --to peft makes it plain", start);
  for (auto& [name, value] : file.tensors) {
    if (name.find(".lora_embedding_") != std::string::npos) return fmt::format("the embedding is adapted ('{}')", name);
    if (name.find("lm_head") != std::string::npos) return fmt::format("the head is adapted ('{}')", name);
    if (!name.ends_with(".lora_A.weight") && !name.ends_with(".lora_B.weight")) return fmt::format("'{}'", name);
  }
  return "";
}

}  // namespace

Json describe_adapter(const std::filesystem::path& folder) {
  const AdapterFile file = read_adapter(folder);
  Json json{{"kind", "adapter"},
            {"method", file.row->name},
            {"base_model", file.base_model},
            {"config", file.config},
            {"weights", file.weights.filename().string()},
            {"folder", file.folder.string()},
            {"mergeable", file.row->mergeable},
            {"problems", Json::array()}};
  int64_t parameters = 0;
  Json tensors = Json::object(), dtypes = Json::object();
  const SafetensorsFile weights(file.weights);
  for (auto& [name, info] : weights.tensors()) {
    parameters += info.numel();
    tensors[name] = info.shape;
    dtypes[info.dtype] = dtypes.value(info.dtype, int64_t{0}) + 1;
  }
  json["parameters"] = parameters;
  json["tensors"] = tensors;
  json["dtypes"] = dtypes;
  try {
    const MethodRow* row = nullptr;
    method_from_config(file.folder / "adapter_config.json", row);
  } catch (const Error& e) {
    json["problems"].push_back(e.what());
  }
  Json loads{"graft"}, not_in = Json::object();
  const bool hub = file.row->format == Format::AdapterHub;
  loads.push_back(hub ? "AdapterHub adapters" : "HF PEFT");
  not_in[hub ? "HF PEFT" : "AdapterHub adapters"] = hub ? fmt::format("it does not know {}", file.row->title) : "it has a format of its own";
  const std::string reason = beyond_plain_lora(file);
  const auto given = [&](const char* key) {
    return file.config.contains(key) && !file.config[key].is_null() && !file.config[key].empty();
  };
  if (reason.empty())
    loads.push_back("llama.cpp (after graft convert --to gguf)");
  else
    not_in["llama.cpp"] = reason;
  if (!reason.empty())
    not_in["vLLM"] = reason;
  else if (given("rank_pattern") || given("alpha_pattern"))
    not_in["vLLM"] = "rank_pattern or alpha_pattern: it scales all modules alike";
  else
    loads.push_back("vLLM");
  json["loads_in"] = loads;
  json["not_in"] = not_in;
  return json;
}

}  // namespace graft
