// Bottleneck adapters: Houlsby (arXiv 1902.00751), Pfeiffer (arXiv 2005.00247), parallel (arXiv 2110.04366), as AdapterHub
// defines them for pre-norm decoders. up(x) = W_u f(W_d x + b_d) + b_u; h = a sub-layer's output, res = the residual stream.
//   houlsby   after attention and after the MLP:  res + h + up(h)
//   pfeiffer  after the MLP:                      res + h + up(h + res)
//   parallel  after the MLP:                      res + h + scaling · up(res), res before the MLP's norm
// scaling is a number, or trained from 1: "learned" [1], "channel" [width].
// Trained: W_d [b, width], b_d, W_u [width, b], b_u with b = max(1, width div reduction_factor). Init "bert": normal(0, 0.02),
// biases 0 (not the identity); "mam_adapter": W_d kaiming, W_u 0 (the identity); "houlsby": normal(0, 0.01) cut at 2 std.
// Not mergeable. Files: AdapterHub's folders.
#include <cmath>

#include "core/check.h"
#include "core/torch.h"
#include "kernels/activation.h"
#include "kernels/dropout.h"
#include "kernels/linear.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"

namespace graft {
namespace {

struct BottleneckConfig : Config {
  bool mh_adapter = true, output_adapter = true, is_parallel = false;
  // Whether the adapter reads h + res instead of h (AdapterHub's words for a pre-norm block).
  bool original_ln_before = false;
  double dropout = 0;
  Json reduction_factor = 16.0, scaling = 1.0;
  std::string non_linearity = "swish", init_weights = "bert";
  Json leave_out = Json::array();
  void visit(Fields& f) override {
    f("mh_adapter", mh_adapter, "an adapter after the attention");
    f("output_adapter", output_adapter, "an adapter after the MLP");
    f("is_parallel", is_parallel, "beside the sub-layer, reading the residual stream, instead of behind it");
    f("original_ln_before", original_ln_before, "the adapter reads the sub-layer's output plus the residual stream");
    f("reduction_factor", reduction_factor, "the bottleneck is width / reduction_factor wide: a number, or {layer: number, \"default\": number}");
    f("scaling", scaling, "factor of the adapter's output: a number, \"learned\" or \"channel\"");
    f("non_linearity", non_linearity, "activation in the bottleneck");
    f("init_weights", init_weights, "initialisation", one_of({"bert", "mam_adapter", "houlsby"}));
    f("dropout", dropout, "dropout on the bottleneck's output", between(0, 0.999));
    f("leave_out", leave_out, "layers without an adapter, a list of numbers");
  }
};

struct BottleneckEdit : HiddenEdit {
  Tensor down, down_bias, up, up_bias;
  Tensor scaling;    // trained, or undefined
  double fixed = 1;  // else this number
  const BottleneckConfig* config = nullptr;

  Tensor hidden(const Tensor& h, const Tensor& residual, bool training) const override {
    const Tensor input = config->is_parallel ? residual : config->original_ln_before ? h + residual : h;
    const Tensor inner = kernels::activate(kernels::linear(input.to(down.scalar_type()), down, down_bias), config->non_linearity);
    Tensor out = kernels::linear(inner, up, up_bias);
    if (scaling.defined()) out = out * scaling;
    else if (fixed != 1) out = out * fixed;
    if (training && config->dropout > 0) out = kernels::dropout(out, config->dropout);
    return h + out.to(h.scalar_type());
  }
};

class Bottleneck : public Method {
 public:
  explicit Bottleneck(BottleneckConfig config) : config_(std::move(config)) {}
  Config& config() override { return config_; }

  void attach(AttachContext& context) override {
    kernels::check_activation(config_.non_linearity, "bottleneck");
    const Model& model = context.model;
    const int64_t width = model.config.width;
    check_options(model);
    if (!config_.mh_adapter && !config_.output_adapter) usage_error("bottleneck", "mh_adapter and output_adapter are both false: there is no adapter");
    const auto options = adapter_options(model);
    const auto draw = [&](std::vector<int64_t> shape, bool is_up) {
      if (config_.init_weights == "bert") return normal(shape, 0.02, options, context.generator);
      if (config_.init_weights == "houlsby") return normal(shape, 0.01, options, context.generator).clamp_(-0.02, 0.02);
      return is_up ? zeros(shape, options) : kaiming_uniform(shape, options, context.generator);
    };
    for (int64_t layer = 0; layer < model.layers(); ++layer) {
      if (std::find(config_.leave_out.begin(), config_.leave_out.end(), Json(layer)) != config_.leave_out.end()) continue;
      const int64_t bottleneck = bottleneck_width(width, layer);
      const std::string block = model.blocks[layer].path + ".";
      for (const Site site : {Site::AttnOut, Site::MlpOut}) {
        if (site == Site::AttnOut ? !config_.mh_adapter : !config_.output_adapter) continue;
        const std::string name = block + (site == Site::AttnOut ? "attention_adapters" : "output_adapters") + ".adapters.default.adapter_";
        auto edit = std::make_shared<BottleneckEdit>();
        edit->config = &config_;
        edit->down = add(name + "down.0.weight", draw({bottleneck, width}, false));
        edit->down_bias = add(name + "down.0.bias", zeros({bottleneck}, options), false);
        edit->up = add(name + "up.weight", draw({width, bottleneck}, true));
        edit->up_bias = add(name + "up.bias", zeros({width}, options), false);
        if (config_.scaling.is_number()) edit->fixed = config_.scaling.get<double>();
        else edit->scaling = add(name.substr(0, name.rfind('.') + 1) + "scaling", ones({config_.scaling == "channel" ? width : 1}, options), false);
        context.sites.put(site, layer, edit);
      }
    }
  }

  // All keys of the reference's file; those that are not options here stand at the only value that this maths has.
  Json file_config(const Model&) override {
    Json json = neutral();
    json.update(to_json(config_));
    if (json["scaling"].is_number()) json["scaling"] = json["scaling"].get<double>();  // the reference wants a float here
    json["adapter_residual_before_ln"] = false;
    return json;
  }
  void read_file_config(const Json& json, const std::string& tag) override {
    Json own = Json::object();
    const Json fixed = neutral();
    const auto names = field_names(config_);
    for (auto& [key, value] : json.items()) {
      if (std::find(names.begin(), names.end(), key) != names.end()) own[key] = value;
      else if (!fixed.contains(key)) usage_error(tag, fmt::format("unknown option '{}' = {}", key, json_line(value)), suggest(key, names));
      else if (fixed[key] != value && used(key, json))
        usage_error(tag, fmt::format("{} = {} is not supported", key, json_line(value)), fmt::format("it must be {}", json_line(fixed[key])));
    }
    from_json(config_, own, tag);
  }

 private:
  void check_options(const Model& model) const {
    const auto check = [](const Json& factor, const std::string& name) {
      if (!factor.is_number() || factor.get<double>() < 1.0 / 64)
        usage_error("bottleneck", fmt::format("{} must be a number of at least 1/64 but is {}", name, json_line(factor)));
    };
    const Json &factor = config_.reduction_factor, &scaling = config_.scaling, &out = config_.leave_out;
    if (!factor.is_object()) check(factor, "reduction_factor");
    else
      for (auto& [layer, value] : factor.items()) check(value, fmt::format("reduction_factor['{}']", layer));
    if (!scaling.is_number() && scaling != "learned" && scaling != "channel")
      usage_error("bottleneck", fmt::format("scaling must be a number, \"learned\" or \"channel\" but is {}", json_line(scaling)));
    if (!out.is_array()) usage_error("bottleneck", fmt::format("leave_out must be a list of layer numbers but is {}", json_line(out)));
    for (auto& layer : out)
      if (!layer.is_number_integer() || layer.get<int64_t>() < 0 || layer.get<int64_t>() >= model.layers())
        usage_error("bottleneck", fmt::format("leave_out holds {}, but this model has the layers 0..{}", json_line(layer), model.layers() - 1));
  }
  int64_t bottleneck_width(int64_t width, int64_t layer) const {
    Json factor = config_.reduction_factor;
    if (factor.is_object()) {
      const std::string key = factor.contains(std::to_string(layer)) ? std::to_string(layer) : "default";
      if (!factor.contains(key)) usage_error("bottleneck", fmt::format("reduction_factor = {} says nothing about layer {}", json_line(factor), layer), "add a \"default\"");
      factor = factor.at(key);
    }
    const double divisor = factor.get<double>(), whole = static_cast<double>(width);
    return std::max<int64_t>(1, static_cast<int64_t>(std::llround((whole - std::fmod(whole, divisor)) / divisor)));
  }
  static Json neutral() {
    return {{"original_ln_after", true}, {"ln_before", false}, {"ln_after", false}, {"residual_before_ln", true}, {"adapter_residual_before_ln", false},
            {"init_weights_seed", nullptr}, {"use_gating", false}, {"stochastic_depth", 0.0}, {"inv_adapter", nullptr}, {"inv_adapter_reduction_factor", nullptr},
            {"cross_adapter", false}, {"phm_layer", false}, {"phm_dim", 4}, {"phm_rank", 1}, {"phm_bias", true}, {"phm_c_init", "normal"},
            {"phm_init_range", 0.0001}, {"learn_phm", true}, {"hypercomplex_nonlinearity", "glorot-uniform"}, {"shared_phm_rule", true},
            {"factorized_phm_rule", false}, {"shared_W_phm", false}, {"factorized_phm_W", true}};
  }
  // Options of a switched-off part do not matter.
  static bool used(const std::string& key, const Json& json) {
    const bool phm = json.value("phm_layer", false);
    if (key != "phm_layer" && (key.find("phm") != std::string::npos || key == "hypercomplex_nonlinearity")) return phm;
    return key != "init_weights_seed" && key != "inv_adapter_reduction_factor";
  }
  BottleneckConfig config_;
};

BottleneckConfig pfeiffer() {
  BottleneckConfig c;
  c.mh_adapter = false;
  c.original_ln_before = true;
  c.non_linearity = "relu";
  return c;
}
BottleneckConfig parallel() {
  BottleneckConfig c;
  c.mh_adapter = false;
  c.is_parallel = true;
  c.non_linearity = "relu";
  c.reduction_factor = 2.0;
  c.scaling = 4.0;
  c.init_weights = "mam_adapter";
  return c;
}

}  // namespace

extern const MethodRow kHoulsby, kPfeiffer, kParallel;
const MethodRow kHoulsby{.name = "houlsby",
                         .peft_type = nullptr,
                         .title = "Houlsby adapters",
                         .paper = "arXiv 1902.00751",
                         .trains = "a bottleneck after attention and MLP of each block",
                         .idea = Idea::Adapter,
                         .formula = "h ← h + W_u f(W_d h + b_d) + b_u after attention and MLP",
                         .size = "2 (2 d d/rf + d/rf + d) a block",
                         .cost = "4 d · d/rf operations a token and adapter, forward; stays at inference",
                         .format = Format::AdapterHub,
                         .mergeable = false,
                         .identity = false,
                         .learning_rate = 1e-3,
                         .make = []() -> std::unique_ptr<Method> { return std::make_unique<Bottleneck>(BottleneckConfig()); },
                         .aliases = "double_seq_bn"};
const MethodRow kPfeiffer{.name = "pfeiffer",
                          .peft_type = nullptr,
                          .title = "Pfeiffer adapters",
                          .paper = "arXiv 2005.00247",
                          .trains = "a bottleneck after the MLP of each block",
                          .idea = Idea::Adapter,
                          .formula = "h ← h + W_u f(W_d (h + res) + b_d) + b_u after the MLP",
                          .size = "2 d d/rf + d/rf + d a block",
                          .cost = "half of Houlsby's at the same width; stays at inference",
                          .format = Format::AdapterHub,
                          .mergeable = false,
                          .identity = false,
                          .learning_rate = 1e-3,
                          .make = []() -> std::unique_ptr<Method> { return std::make_unique<Bottleneck>(pfeiffer()); },
                          .aliases = "seq_bn"};
const MethodRow kParallel{.name = "parallel",
                          .peft_type = nullptr,
                          .title = "Parallel adapters",
                          .paper = "arXiv 2110.04366",
                          .trains = "a bottleneck beside the MLP of each block",
                          .idea = Idea::Adapter,
                          .formula = "h ← h + s · (W_u f(W_d res + b_d) + b_u) beside the MLP",
                          .size = "2 d d/rf + d/rf + d a block",
                          .cost = "4 d · d/rf operations a token, forward; stays at inference",
                          .format = Format::AdapterHub,
                          .mergeable = false,
                          .identity = true,
                          .learning_rate = 1e-3,
                          .make = []() -> std::unique_ptr<Method> { return std::make_unique<Bottleneck>(parallel()); },
                          .aliases = "par_bn par_seq_bn"};

}  // namespace graft
