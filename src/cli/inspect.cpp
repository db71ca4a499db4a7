#include "adapter/inspect.h"
#include "cli/commands.h"
#include "core/check.h"
#include "core/progress.h"
#include "core/safetensors.h"
#include "model/family.h"
#include "model/loader.h"
#include "tokenizer/tokenizer.h"

namespace graft {
namespace {
namespace fs = std::filesystem;

Json inspect_model(const fs::path& folder) {
  const ModelConfig config = read_model_config(folder);
  Json json{{"kind", "model"}, {"model_type", config.model_type}, {"layers", config.layers}, {"width", config.width}, {"heads", config.heads},
            {"kv_heads", config.kv_heads}, {"vocab_size", config.vocab_size}, {"max_positions", config.max_positions}, {"tied_head", config.tied_head}};
  const TensorFolder files(folder);
  int64_t parameters = 0;
  Json dtypes = Json::object();
  for (auto& name : files.names()) {
    const auto& info = files.info(name);
    parameters += info.numel();
    dtypes[info.dtype] = dtypes.value(info.dtype, int64_t{0}) + 1;
  }
  json["stored_parameters"] = parameters;
  json["tensors"] = files.names().size();
  json["dtypes"] = dtypes;
  json["problems"] = Json::array();
  const auto attempt = [&](const std::function<void()>& check) {
    try {
      check();
    } catch (const Error& e) {
      json["problems"].push_back(e.what());
    }
  };
  attempt([&] { load_model(folder); });
  json["loads_in"] = Json{"graft", "HF transformers"};
  attempt([&] {
    const Tokenizer tokenizer = Tokenizer::load(folder);
    if (tokenizer.vocab_size() > config.vocab_size) json["problems"].push_back(fmt::format("the tokenizer has {} tokens but the model only {}", tokenizer.vocab_size(), config.vocab_size));
  });
  return json;
}

}  // namespace

void add_inspect(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("inspect", "what a model or adapter folder holds");
  auto folder = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  sub->add_option("folder", *folder, "the folder")->required();
  sub->add_flag("--json", *json, "one JSON document on stdout");
  sub->callback([=] {
    if (!fs::is_directory(*folder)) input_error("inspect", fmt::format("there is no folder '{}'", *folder));
    // Adapters with names of their own lie one folder deeper.
    const Json found = fs::exists(fs::path(*folder) / "config.json") && !fs::exists(fs::path(*folder) / "adapter_config.json") ? inspect_model(*folder) : describe_adapter(*folder);
    if (*json) return print_json(found);
    for (auto& [key, value] : found.items()) {
      if ((key == "tensors" || key == "not_in" || key == "config") && value.is_object()) {
        fmt::print("{}:\n", key);
        for (auto& [name, shape] : value.items()) fmt::print("  {}  {}\n", name, json_line(shape));
      } else {
        fmt::print("{}: {}\n", key, value.is_string() ? value.get<std::string>() : json_line(value));
      }
    }
  });
}

}  // namespace graft
