#include "cli/loaded.h"

#include <algorithm>
#include <cmath>

#include "adapter/folder.h"
#include "core/check.h"
#include "core/log.h"
#include "model/loader.h"
#include "train/recipe.h"

namespace graft {

void AdapterFlags::add(CLI::App& app) {
  app.add_option("--adapter", folders, "folder of an adapter for it; repeatable")->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--weights", weights, "how much each adapter counts, in their order: 0.7,0.3 (default: 1 each)");
  app.add_option("--compose", compose, "sum: the adapters' changes add up; stack: each works on what those in front of it made")->capture_default_str();
}

std::vector<double> AdapterFlags::weight_list() const {
  if (weights.empty()) return std::vector<double>(folders.size(), 1);
  std::vector<double> list;
  for (size_t start = 0; start <= weights.size();) {
    const size_t comma = std::min(weights.find(',', start), weights.size());
    const std::string item = weights.substr(start, comma - start);
    char* end = nullptr;
    list.push_back(std::strtod(item.c_str(), &end));
    if (item.empty() || *end != '\0' || !std::isfinite(list.back())) usage_error("weights", fmt::format("'{}' is not a number", item), "give them as 0.7,0.3");
    start = comma + 1;
  }
  if (list.size() != folders.size())
    usage_error("weights", fmt::format("--weights has {} numbers for {} adapters", list.size(), folders.size()), "give one for each --adapter, in their order");
  return list;
}

Compose AdapterFlags::how() const {
  if (compose != "sum" && compose != "stack") usage_error("compose", fmt::format("unknown --compose '{}'", compose), "known: sum, stack");
  return compose == "sum" ? Compose::Sum : Compose::Stack;
}

std::vector<Part> AdapterFlags::load(const Model& base) const {
  const auto list = weight_list();
  std::vector<Part> parts;
  const auto last_name = [](const std::string& folder) {
    const auto path = std::filesystem::weakly_canonical(folder);
    return (path.has_filename() ? path : path.parent_path()).filename().string();
  };
  for (size_t i = 0; i < folders.size(); ++i) {
    const std::string name = last_name(folders[i]);
    const bool alone = std::count_if(folders.begin(), folders.end(), [&](auto& other) { return last_name(other) == name; }) == 1;
    parts.push_back({std::make_shared<const Adapted>(load_adapter(base, folders[i])), alone ? name : folders[i], list[i]});
  }
  return parts;
}

void ModelFlags::add(CLI::App& app) {
  app.add_option("--model", model, "folder of the base model")->required();
  adapters.add(app);
  app.add_option("--device", device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--dtype", dtype, "compute type: auto, float32 or bfloat16")->capture_default_str();
  app.add_option("--threads", threads, "CPU threads; 0: all cores");
}

Model ModelFlags::load_base() const {
  use_threads(threads);
  if (dtype != "auto" && dtype != "float32" && dtype != "bfloat16") usage_error("dtype", fmt::format("unknown dtype '{}'", dtype), "known: auto, float32, bfloat16");
  return load_model(model, {compute_dtype(dtype, parse_device(device)), device, /*keep_stored=*/true});
}

Adapted ModelFlags::load() const {
  const Compose how = adapters.how();
  const auto weights = adapters.weight_list();
  const Model base = load_base();
  if (weights.empty()) return bare(base);
  if (weights == std::vector<double>{1}) return load_adapter(base, adapters.folders[0]);
  return composed(base, adapters.load(base), how);
}

void DataFlags::add(CLI::App& app, bool required) {
  auto* option = app.add_option("--data", files, "data file (.jsonl, .json, .csv, .tsv, - for standard input); repeatable")
                     ->expected(1)
                     ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  if (required) option->required();
  app.add_option("--columns", columns, "other names of the columns: prompt=question,completion=answer");
  app.add_option("--template", prompt_template, "text of a row with {column} in braces");
  app.add_option("--response-template", response_template, "what stands behind it is the completion");
  app.add_option("--chat-template", chat_template, "a chat template in place of the model's own, for rows with messages");
  app.add_option("--max-length", max_length, "longest row in tokens");
}

std::vector<Example> DataFlags::load(const Tokenizer& tokenizer, const Adapted& adapted, const std::string& model_folder) const {
  DataConfig config;
  if (!columns.empty()) set_from_text(config, "columns", columns, "data");
  if (!prompt_template.empty()) config.prompt_template = prompt_template;
  if (!response_template.empty()) config.response_template = response_template;
  if (!chat_template.empty()) config.chat_template = chat_template;
  const int64_t room = adapted.model.config.max_positions - adapted.sites.input_row_count() - adapted.sites.kv_row_count();
  if (max_length < 0 || max_length > room) usage_error("data", fmt::format("max_length must be in 1..{} (the model's positions less the virtual tokens) but is {}", room, max_length));
  if (!chat_template.empty() && !std::filesystem::exists(chat_template)) input_error("data", fmt::format("there is no chat template '{}'", chat_template), "check the path");
  TokenizedData data = tokenize_rows(read_rows(files, config, labels_beside(files)), tokenizer, config, max_length > 0 ? max_length : room, model_folder);
  if (data.cut) log_info("{} rows were cut", data.cut);
  if (data.dropped) log_info("{} rows have nothing to score and are left out", data.dropped);
  return std::move(data.examples);
}

std::vector<int64_t> parse_ids(const std::string& text) {
  std::vector<int64_t> ids;
  for (size_t start = 0; start < text.size();) {
    const size_t comma = std::min(text.find(',', start), text.size());
    const std::string item = text.substr(start, comma - start);
    char* end = nullptr;
    const int64_t id = std::strtoll(item.c_str(), &end, 10);
    if (item.empty() || *end != '\0' || item.size() > 12) usage_error("ids", fmt::format("'{}' is not a token id", item), "give ids as 1,2,3");
    ids.push_back(id);
    start = comma + 1;
  }
  return ids;
}

}  // namespace graft
