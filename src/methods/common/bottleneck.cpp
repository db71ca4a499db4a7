#include "methods/common/bottleneck.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/torch.h"
#include "kernels/activation.h"
#include "kernels/dropout.h"
#include "kernels/linear.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/prompt_mean.h"
#include "methods/common/targets.h"

namespace graft {

void BottleneckConfig::visit(Fields& f) {
  f("mh_adapter", mh_adapter, "an adapter after the attention");
  f("output_adapter", output_adapter, "an adapter after the MLP");
  f("is_parallel", is_parallel, "beside the sub-layer, reading the residual stream, instead of behind it");
  f("original_ln_before", original_ln_before, "the adapter reads the sub-layer's output plus the residual stream");
  f("reduction_factor", reduction_factor, "the bottleneck is width / reduction_factor wide: a number, or {layer: number, \"default\": number}");
  f("scaling", scaling, "factor of the adapter's output: a number, \"learned\" or \"channel\"");
  f("non_linearity", non_linearity, "activation in the bottleneck");
  f("init_weights", init_weights, "initialisation", one_of({"bert", "mam_adapter", "houlsby"}));
  f("dropout", dropout, "dropout on the bottleneck's output", between(0, 0.999));
  f("stochastic_depth", stochastic_depth, "share of a step's documents that an adapter leaves alone", between(0, 0.999));
  f("leave_out", leave_out, "layers without an adapter, a list of numbers");
}

struct BottleneckEdit : HiddenEdit {
  const Bottleneck* method = nullptr;
  int64_t layer = 0;
  BottleneckMap down, up;
  Tensor scaling;    // trained, or undefined
  double fixed = 1;  // else this number
  Tensor gate, gate_bias;
  at::ScalarType dtype = at::kFloat;

  Tensor hidden(const Tensor& h, const Tensor& residual, const Documents& documents, bool training) const override {
    const BottleneckConfig& config = method->config_;
    if (method->left_out(layer, training)) return h;
    const Tensor input = (config.is_parallel ? residual : config.original_ln_before ? h + residual : h).to(dtype);
    Tensor out = up(kernels::activate(down(input), config.non_linearity));
    // Whole documents, and those that stay count more.
    if (training && config.stochastic_depth > 0)
      out = out * kernels::dropout(at::ones({documents.count()}, out.options()), config.stochastic_depth).index_select(0, documents.of_row).unsqueeze(1);
    if (scaling.defined()) out = out * scaling;
    else if (fixed != 1) out = out * fixed;
    if (training && config.dropout > 0) out = kernels::dropout(out, config.dropout);
    if (gate.defined()) out = out * prompt_mean(at::sigmoid(kernels::linear(input, gate, gate_bias)), documents, this).index_select(0, documents.of_row);
    return h + out.to(h.scalar_type());
  }
  Reads reads() const override { return gate.defined() ? Reads::Document : method->config_.stochastic_depth > 0 ? Reads::Position : Reads::Row; }
};

void Bottleneck::attach(AttachContext& context) {
  const Model& model = context.model;
  kernels::check_activation(config_.non_linearity, name_);
  check_options(model);
  const auto options = adapter_options(model);
  const int64_t width = model.config.width;
  for (int64_t layer = 0; layer < model.layers(); ++layer) {
    if (layer_left_out(layer)) continue;
    const int64_t bottleneck = bottleneck_width(width, layer);
    for (const Site site : {Site::AttnOut, Site::MlpOut}) {
      if (site == Site::AttnOut ? !config_.mh_adapter : !config_.output_adapter) continue;
      const std::string name = model.blocks[layer].path + (site == Site::AttnOut ? ".attention_adapters" : ".output_adapters") + ".adapters.default.";
      auto edit = std::make_shared<BottleneckEdit>();
      edit->method = this;
      edit->layer = layer;
      edit->dtype = options.dtype().toScalarType();
      edit->down = make_map(context, name + "adapter_down.0", width, bottleneck, false);
      edit->up = make_map(context, name + "adapter_up", bottleneck, width, true);
      if (config_.scaling.is_number()) edit->fixed = config_.scaling.get<double>();
      else edit->scaling = add(name + "scaling", ones({config_.scaling == "channel" ? width : 1}, options), false);
      if (config_.gated) {
        edit->gate = add(name + "gate.weight", normal({1, width}, 0.02, options, context.generator));
        edit->gate_bias = add(name + "gate.bias", zeros({1}, options), false);
      }
      context.sites.put(site, layer, edit);
    }
  }
}

BottleneckMap Bottleneck::make_map(AttachContext& context, const std::string& name, int64_t in, int64_t out, bool up) {
  const auto options = adapter_options(context.model);
  const Tensor initial = config_.init_weights == "bert"      ? normal({out, in}, 0.02, options, context.generator)
                         : config_.init_weights == "houlsby" ? cut_normal({out, in}, 0.01, options, context.generator)
                         : up                                ? zeros({out, in}, options)
                                                             : kaiming_uniform({out, in}, options, context.generator);
  const Tensor weight = add(name + ".weight", initial), bias = add(name + ".bias", zeros({out}, options), false);
  return [weight, bias](const Tensor& x) { return kernels::linear(x, weight, bias); };
}

// --- Files: all keys of the reference's; those that are not options here stand at the only value that this maths has. ---

Json Bottleneck::fixed_keys() const {
  Json keys{{"original_ln_after", config_.residual_inside}, {"ln_before", false}, {"ln_after", false}, {"residual_before_ln", config_.residual_inside},
            {"adapter_residual_before_ln", false}, {"init_weights_seed", nullptr}, {"use_gating", config_.gated}, {"inv_adapter", nullptr},
            {"inv_adapter_reduction_factor", nullptr}, {"cross_adapter", false}, {"phm_layer", false}, {"phm_dim", 4}, {"phm_rank", 1}, {"phm_bias", true},
            {"phm_c_init", "normal"}, {"phm_init_range", 0.0001}, {"learn_phm", true}, {"hypercomplex_nonlinearity", "glorot-uniform"},
            {"shared_phm_rule", true}, {"factorized_phm_rule", false}, {"shared_W_phm", false}, {"factorized_phm_W", true}};
  keys.update(config_.phm);
  return keys;
}

Json Bottleneck::file_config(const Model&) {
  Json json = fixed_keys();
  json.update(to_json(config_));
  if (json["scaling"].is_number()) json["scaling"] = json["scaling"].get<double>();  // the reference wants a float here
  return json;
}

namespace {
// Options of a switched-off part do not matter.
bool used(const std::string& key, const Json& json) {
  if (key != "phm_layer" && (key.find("phm") != std::string::npos || key == "hypercomplex_nonlinearity")) return json.value("phm_layer", Json(false)) == true;
  return key != "init_weights_seed" && key != "inv_adapter_reduction_factor";
}
}  // namespace

void Bottleneck::read_file_config(const Json& json, const std::string& tag) {
  Json own = Json::object();
  const Json fixed = fixed_keys();
  const auto names = field_names(config_);
  for (auto& [key, value] : json.items()) {
    if (key == "architecture") continue;
    if (std::find(names.begin(), names.end(), key) != names.end()) own[key] = value;
    else if (!fixed.contains(key)) usage_error(tag, fmt::format("unknown option '{}' = {}", key, json_line(value)), suggest(key, names));
    else if (fixed[key] != value && used(key, json))
      usage_error(tag, fmt::format("{} = {} is not supported", key, json_line(value)), fmt::format("it must be {}", json_line(fixed[key])));
  }
  from_json(config_, own, tag);
}

int Bottleneck::file_fit(const Json& config) const {
  const Json architecture = config.value("architecture", Json());
  if (!architecture.is_null() && architecture != "bottleneck") return -1;
  const Json fixed = fixed_keys();
  for (const char* kind : {"phm_layer", "use_gating"})
    if (config.value(kind, Json(false)) != fixed.at(kind)) return -1;
  if (config.value("residual_before_ln", Json(true)) != Json(config_.residual_inside)) return -1;
  int fit = 0;
  const Json defaults = to_json(config_);
  for (auto& [key, value] : defaults.items()) fit += config.contains(key) && config[key] == value;
  return fit;
}

// An adapter may be read without some of the layers that it was made with (arXiv 2010.11918).
void Bottleneck::load_file_tensors(const NamedTensors& tensors, const std::string& source) {
  NamedTensors wanted;
  for (auto& [name, value] : tensors) {
    const size_t at = name.find("_adapters.adapters.default.");
    const std::string block = at == std::string::npos ? "" : name.substr(0, name.rfind('.', at));
    const std::string number = block.substr(block.rfind('.') + 1);
    const bool is_number = !number.empty() && number.size() < 6 && number.find_first_not_of("0123456789") == std::string::npos;
    if (!is_number || !layer_left_out(std::stoll(number))) wanted.emplace_back(name, value);
  }
  Method::load_file_tensors(wanted, source);
}

// --- Checks ---

bool Bottleneck::layer_left_out(int64_t layer) const {
  return std::find(config_.leave_out.begin(), config_.leave_out.end(), Json(layer)) != config_.leave_out.end();
}

void Bottleneck::check_options(const Model& model) const {
  if (!config_.mh_adapter && !config_.output_adapter) usage_error(name_, "mh_adapter and output_adapter are both false: there is no adapter");
  const auto check = [&](const Json& factor, const std::string& name) {
    if (!factor.is_number() || factor.get<double>() < 1.0 / 64)
      usage_error(name_, fmt::format("{} must be a number of at least 1/64 but is {}", name, json_line(factor)));
  };
  const Json &factor = config_.reduction_factor, &scaling = config_.scaling;
  if (!factor.is_object()) check(factor, "reduction_factor");
  else
    for (auto& [layer, value] : factor.items()) check(value, fmt::format("reduction_factor['{}']", layer));
  if (!scaling.is_number() && scaling != "learned" && scaling != "channel")
    usage_error(name_, fmt::format("scaling must be a number, \"learned\" or \"channel\" but is {}", json_line(scaling)));
  if (static_cast<int64_t>(layer_numbers(config_.leave_out, "leave_out", model, name_).size()) == model.layers())
    usage_error(name_, "leave_out holds all layers: there is no adapter");
}

int64_t Bottleneck::bottleneck_width(int64_t width, int64_t layer) const {
  Json factor = config_.reduction_factor;
  if (factor.is_object()) {
    const std::string key = factor.contains(std::to_string(layer)) ? std::to_string(layer) : "default";
    if (!factor.contains(key)) usage_error(name_, fmt::format("reduction_factor = {} says nothing about layer {}", json_line(factor), layer), "add a \"default\"");
    factor = factor.at(key);
  }
  const double divisor = factor.get<double>(), whole = static_cast<double>(width);
  return std::max<int64_t>(1, static_cast<int64_t>(std::llround((whole - std::fmod(whole, divisor)) / divisor)));
}

// --- Presets ---

BottleneckConfig houlsby_options() { return {}; }

BottleneckConfig pfeiffer_options() {
  BottleneckConfig c;
  c.mh_adapter = false;
  c.original_ln_before = true;
  c.non_linearity = "relu";
  return c;
}

BottleneckConfig parallel_options() {
  BottleneckConfig c;
  c.mh_adapter = false;
  c.is_parallel = true;
  c.non_linearity = "relu";
  c.reduction_factor = 2.0;
  c.scaling = 4.0;
  c.init_weights = "mam_adapter";
  return c;
}

}  // namespace graft
