// Bottleneck adapters as AdapterHub defines them for pre-norm decoders: their options, files and places, for every method that is one.
// up(x) = s · (W_u f(W_d x + b_d) + b_u), h = a sub-layer's output, res = the residual stream in front of it:
//   behind the sub-layer   h ← h + up(h), or h + up(h + res) with original_ln_before
//   beside it              h ← h + up(res)
#pragma once
#include "methods/method.h"

namespace graft {

struct BottleneckConfig : Config {
  bool mh_adapter = true, output_adapter = true, is_parallel = false;
  // Whether the adapter reads h + res instead of h (AdapterHub's words for a pre-norm block).
  bool original_ln_before = false;
  double dropout = 0, stochastic_depth = 0;
  Json reduction_factor = 16.0, scaling = 1.0;
  std::string non_linearity = "swish", init_weights = "bert";
  Json leave_out = Json::array();
  void visit(Fields& f) override;

  // Not options: what a method is made of.
  bool gated = false;           // the output times the mean of sigmoid(gate(input)) over the prompt
  bool residual_inside = true;  // false: AdapterHub's residual_before_ln = original_ln_after = false, the same map in a pre-norm block
  Json phm = Json::object();    // AdapterHub's keys of a parameterised hypercomplex layer, where the maps are such
};

// One of an adapter's two maps: x [rows, in] → [rows, out].
using BottleneckMap = std::function<Tensor(const Tensor& x)>;

class Bottleneck : public Method {
 public:
  Bottleneck(const char* name, BottleneckConfig config) : Bottleneck(name, std::make_shared<BottleneckConfig>(std::move(config))) {}
  Config& config() override { return config_; }
  BottleneckConfig& options() { return config_; }
  void attach(AttachContext& context) override;
  Json file_config(const Model& model) override;
  void read_file_config(const Json& json, const std::string& tag) override;
  int file_fit(const Json& config) const override;
  void load_file_tensors(const NamedTensors& tensors, const std::string& source) override;

 protected:
  // The map under `name`, e.g. "….adapter_down.0": a dense one with weight and bias.
  virtual BottleneckMap make_map(AttachContext& context, const std::string& name, int64_t in, int64_t out, bool up);
  // Whether this layer has no adapter in this pass.
  virtual bool left_out(int64_t /*layer*/, bool /*training*/) const { return false; }

  // A method with options of its own derives them from BottleneckConfig.
  Bottleneck(const char* name, std::shared_ptr<BottleneckConfig> config) : name_(name), shared_config_(std::move(config)) {}
  const char* name_;
  std::shared_ptr<BottleneckConfig> shared_config_;
  BottleneckConfig& config_ = *shared_config_;

 private:
  friend struct BottleneckEdit;
  void check_options(const Model& model) const;
  bool layer_left_out(int64_t layer) const;
  int64_t bottleneck_width(int64_t width, int64_t layer) const;
  Json fixed_keys() const;
};

// Their presets.
BottleneckConfig houlsby_options();
BottleneckConfig pfeiffer_options();
BottleneckConfig parallel_options();

}  // namespace graft
