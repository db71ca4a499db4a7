#include "methods/common/hub_parts.h"

#include <algorithm>
#include <map>

#include "core/check.h"
#include "core/torch.h"
#include "kernels/activation.h"
#include "kernels/linear.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/prompt_mean.h"
#include "methods/common/targets.h"

namespace graft {

void HubPrefixConfig::visit(Fields& f) {
  f("flat", flat, "train the rows themselves instead of a small network that makes them");
  f("prefix_length", prefix_length, "rows in front of every document in every layer", between(1, 4096));
  f("bottleneck_size", bottleneck_size, "width of that network", at_least(1));
  f("non_linearity", non_linearity, "its activation");
  f("leave_out", leave_out, "layers without rows in front, a list of numbers");
  f("use_gating", use_gating, "a gate for each document");
  f("shared_gating", shared_gating, "one gate for keys and values");
}

namespace {

struct HubTable {
  Tensor flat, embedding, w1, b1, w2, b2;
  std::string activation;
  int64_t rows = 0, width = 0;  // of the whole table

  Tensor columns(int64_t begin, int64_t count) const {
    if (flat.defined()) return flat.view({rows, width}).narrow(1, begin, count);
    return kernels::linear(kernels::activate(kernels::linear(embedding, w1, b1), activation), w2.narrow(0, begin, count), b2.narrow(0, begin, count));
  }
};

struct HubPrefixEdit : KvEdit {
  std::shared_ptr<HubTable> table;
  int64_t index = 0, kv_heads = 0, head_dim = 0;
  at::ScalarType dtype = at::kFloat;
  Tensor gate, gate_bias;  // [1 or 2, width]

  Rows rows() const override {
    const int64_t d = kv_heads * head_dim;
    const Tensor both = table->columns(2 * index * d, 2 * d).to(dtype).view({table->rows, 2, kv_heads, head_dim});
    return {both.select(1, 0), both.select(1, 1)};
  }
  int64_t count() const override { return table->rows; }
  int64_t shift() const override { return 0; }
  Tensor factors(const Tensor& x, const Documents& documents) const override {
    if (!gate.defined()) return {};
    return prompt_mean(at::sigmoid(kernels::linear(x.to(gate.scalar_type()), gate, gate_bias)), documents, this).expand({documents.count(), 2});
  }
  Reads reads() const override { return gate.defined() ? Reads::Document : Reads::Row; }
};

const std::string kPool = ".prefix_tuning.pool.prefix_tunings.";

}  // namespace

void HubPrefix::attach(AttachContext& context) {
  const Model& model = context.model;
  kernels::check_activation(options.non_linearity, "prefix");
  const std::set<int64_t> left_out = layer_numbers(options.leave_out, "leave_out", model, "prefix");
  std::vector<int64_t> layers;
  for (int64_t layer = 0; layer < model.layers(); ++layer)
    if (!left_out.contains(layer)) layers.push_back(layer);
  if (layers.empty()) usage_error("prefix", "leave_out holds all layers");
  const int64_t n = options.prefix_length, width = model.config.width, inner = options.bottleneck_size, d = model.config.kv_heads * model.config.head_dim;
  const auto tensors = adapter_options(model);
  auto table = std::make_shared<HubTable>();
  table->activation = options.non_linearity;
  table->rows = n;
  table->width = 2 * d * static_cast<int64_t>(layers.size());
  const std::string& block = model.blocks[0].path;
  const std::string name = block.substr(0, block.find('.')) + ".prefix_tuning.prefix_tunings.default.self_prefix.";
  auto& generator = context.generator;
  if (options.flat) {
    table->flat = add(name + "control_trans", normal({n * table->width}, 1, tensors, generator));
  } else {
    table->embedding = add(name + "wte.weight", normal({n, width}, 1, tensors, generator));
    table->w1 = add(name + "control_trans.0.weight", kaiming_uniform({inner, width}, tensors, generator));
    table->b1 = add(name + "control_trans.0.bias", uniform({inner}, 1 / std::sqrt(static_cast<double>(width)), tensors, generator), false);
    table->w2 = add(name + "control_trans.2.weight", kaiming_uniform({table->width, inner}, tensors, generator));
    table->b2 = add(name + "control_trans.2.bias", uniform({table->width}, 1 / std::sqrt(static_cast<double>(inner)), tensors, generator), false);
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    const std::string& output = model.blocks[layers[i]].o.path;
    auto edit = std::make_shared<HubPrefixEdit>();
    edit->table = table;
    edit->index = static_cast<int64_t>(i);
    edit->kv_heads = model.config.kv_heads;
    edit->head_dim = model.config.head_dim;
    edit->dtype = model.dtype();
    if (options.use_gating) {
      const std::string gate = output.substr(0, output.rfind('.')) + ".prefix_tuning.prefix_gates.default.";
      const int64_t outputs = options.shared_gating ? 1 : 2;
      edit->gate = add(gate + "weight", normal({outputs, width}, 0.02, tensors, generator));
      edit->gate_bias = add(gate + "bias", uniform({outputs}, 1 / std::sqrt(static_cast<double>(width)), tensors, generator), false);
    }
    context.sites.put(layers[i], edit);
  }
}

Json HubPrefix::file_config(const Model&) {
  Json json = to_json(options);
  json.update({{"architecture", "prefix_tuning"}, {"encoder_prefix", true}, {"cross_prefix", true}, {"dropout", 0.0}, {"init_weights_seed", nullptr}});
  return json;
}

void HubPrefix::read_file_config(const Json& json, const std::string& tag) {
  Json own = json;
  if (own.value("dropout", Json(0.0)) != 0.0) usage_error(tag, "dropout of prefix rows is not supported", "it must be 0");
  for (const char* key : {"architecture", "encoder_prefix", "cross_prefix", "dropout", "init_weights_seed"}) own.erase(key);
  from_json(options, own, tag);
}

int HubPrefix::file_fit(const Json& json) const {
  return json.value("architecture", Json()) == "prefix_tuning" && json.value("use_gating", Json(false)) == options.use_gating ? 1 : -1;
}

NamedTensors with_one_prefix(const NamedTensors& tensors, const std::string& source) {
  NamedTensors kept;
  std::map<std::string, Tensor> tables;
  const auto once = [&](const std::string& name, const Tensor& value) {
    const auto [found, is_new] = tables.try_emplace(name, value);
    if (is_new) kept.emplace_back(name, value);
    else if (!at::equal(found->second, value)) input_error("adapter", fmt::format("{}: two copies of '{}' differ", source, name));
  };
  for (auto& [name, value] : tensors) {
    const size_t at = name.find(kPool);
    if (at != std::string::npos) once(name.substr(0, name.find('.')) + ".prefix_tuning.prefix_tunings." + name.substr(at + kPool.size()), value);
    else if (name.find(".prefix_tuning.prefix_tunings.") != std::string::npos) once(name, value);
    else kept.emplace_back(name, value);
  }
  return kept;
}

void Union::attach(AttachContext& context) {
  for (Method* part : parts_) {
    part->attach(context);
    params_.insert(params_.end(), part->params().begin(), part->params().end());
  }
}

Json Union::file_config(const Model& model) {
  Json configs = Json::array();
  for (Method* part : parts_) configs.push_back(part->file_config(model));
  return {{"architecture", "union"}, {"configs", configs}};
}

std::vector<Method*> Union::readers(const Json& config) const {
  std::vector<Method*> chosen;
  if (config.value("architecture", Json()) != "union" || !config.contains("configs") || !config["configs"].is_array() || config["configs"].size() != parts_.size()) return {};
  for (auto& one : config["configs"]) {
    const auto fits = std::find_if(parts_.begin(), parts_.end(), [&](Method* part) {
      return one.is_object() && part->file_fit(one) >= 0 && std::find(chosen.begin(), chosen.end(), part) == chosen.end();
    });
    if (fits == parts_.end()) return {};
    chosen.push_back(*fits);
  }
  return chosen;
}

void Union::read_file_config(const Json& json, const std::string& tag) {
  const auto chosen = readers(json);
  if (chosen.empty()) usage_error(tag, "the configurations of this union are not supported", "graft methods lists what is");
  for (size_t i = 0; i < chosen.size(); ++i) chosen[i]->read_file_config(json["configs"][i], tag);
}

int Union::file_fit(const Json& config) const { return readers(config).empty() ? -1 : 1; }

void Union::load_file_tensors(const NamedTensors& tensors, const std::string& source) { Method::load_file_tensors(with_one_prefix(tensors, source), source); }

}  // namespace graft
