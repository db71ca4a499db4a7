// LoRA (arXiv 2106.09685), rsLoRA (arXiv 2312.03732) and DoRA (arXiv 2402.09353).
//   LoRA    y = W x + b + s · B A drop(x),  s = α / r;  rsLoRA: s = α / √r
//   DoRA    V = W + s·BA, n = ‖rows of V‖ (a constant in the backward pass), m trained:
//           y = W x + b + (m/n − 1) ⊙ (W x') + (m/n) ⊙ s·B A x',  x' = drop(x)
// Trained: A [r, in], B [out, r] and m [out]. Init: A kaiming, B 0, m = ‖rows of W‖: the identity. Merges: W + s·BA, or
// (m/n) ⊙ V. With bias = "all" or "lora_only" the base's biases are trained too.
// Deviations: a name in target_modules that matches nothing is an error.
#include <cmath>
#include <map>

#include "core/check.h"
#include "core/regex.h"
#include "core/torch.h"
#include "kernels/dropout.h"
#include "kernels/linear.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/targets.h"
#include "model/family.h"

namespace graft {
namespace {

struct LoraConfig : Config {
  int64_t r = 8;
  double lora_alpha = 8, lora_dropout = 0;
  TargetOptions targets;
  std::string bias = "none";
  bool use_rslora = false, use_dora = false, fan_in_fan_out = false;
  Json init_lora_weights = true, rank_pattern = Json::object(), alpha_pattern = Json::object();
  void visit(Fields& f) override {
    f("r", r, "rank of the update", at_least(1));
    f("lora_alpha", lora_alpha, "the update is scaled by lora_alpha / r", above(0));
    f("lora_dropout", lora_dropout, "dropout on the update's input", between(0, 0.999));
    targets.visit(f);
    f("bias", bias, "train biases of the base too: none, all, or those of the adapted modules", one_of({"none", "all", "lora_only"}));
    f("use_rslora", use_rslora, "scale by lora_alpha / sqrt(r)");
    f("use_dora", use_dora, "weight-decomposed: train the rows' magnitudes too");
    f("init_lora_weights", init_lora_weights, "true: A kaiming, B 0; \"gaussian\": A normal with std 1/r; false: both random");
    f("rank_pattern", rank_pattern, "other ranks for modules whose path a key matches: {regex: r}");
    f("alpha_pattern", alpha_pattern, "other lora_alpha for modules whose path a key matches: {regex: alpha}");
    f("fan_in_fan_out", fan_in_fan_out, "the base stores [in, out]; known from the model, accepted for files of other programs");
  }
};

// The first key that matches the end of the path, as the reference looks it up.
template <class T>
T pattern_value(const Json& pattern, const std::string& path, T fallback, const char* name) {
  if (!pattern.is_object()) usage_error("lora", fmt::format("{} must be a mapping but is {}", name, json_line(pattern)));
  for (auto it = pattern.begin(); it != pattern.end(); ++it)
    if (full_match("(.*\\.)?(" + it.key() + ")", path)) {
      const double value = it->is_number() ? it->template get<double>() : 0;
      if (value <= 0) usage_error("lora", fmt::format("{}['{}'] must be above 0 but is {}", name, it.key(), json_line(*it)));
      return static_cast<T>(value);
    }
  return fallback;
}

struct LoraEdit : WeightEdit {
  Tensor a, b, magnitude;  // magnitude: DoRA only
  double scale = 1, dropout = 0;
  bool held = false;      // see Method::hold_constants
  mutable Tensor held_norms;

  // ‖rows of W + s·BA‖ without building the sum for the gradient: a constant.
  Tensor row_norms(const Linear& base) const {
    if (held && held_norms.defined()) return held_norms;
    at::NoGradGuard no_grad;
    return held_norms = (base.weight.detach().to(a.scalar_type()) + at::mm(b, a).mul_(scale)).norm(2, 1);
  }

  bool plain(const Tensor& x, bool training) const { return x.scalar_type() == a.scalar_type() && !(training && dropout > 0); }

  std::optional<LowRank> low_rank(bool training) const override {
    if (magnitude.defined() || (training && dropout > 0)) return std::nullopt;
    return LowRank{a, b, scale};
  }

  Tensor linear(const Linear& base, const Tensor& x, bool training) const override {
    const Tensor factor = magnitude.defined() ? magnitude / row_norms(base) : Tensor();
    const bool frozen = !base.weight.requires_grad();
    if (factor.defined() && frozen && plain(x, training)) {  // x' = x: (m/n) ⊙ (W x + s·B A x) + b
      const Tensor y = kernels::low_rank_linears(x, {{base.weight, {}, a, b, scale}})[0] * factor;
      return base.bias.defined() ? y + base.bias : y;
    }
    const Tensor dropped = training && dropout > 0 ? kernels::dropout(x, dropout) : x;
    const Tensor side = at::mm(at::mm(dropped.to(a.scalar_type()), a.t()), b.t()) * scale;
    const Tensor y = kernels::linear(x, base.weight, base.bias);
    if (!factor.defined()) return y + side.to(y.scalar_type());
    return y + ((factor - 1) * kernels::linear(dropped, base.weight, {}) + factor * side).to(y.scalar_type());
  }

  std::optional<Linear> merged(const Linear& base) const override {
    at::NoGradGuard no_grad;
    Linear result = base;
    const Tensor sum = base.weight.to(a.scalar_type()) + at::mm(b, a) * scale;
    result.weight = magnitude.defined() ? sum * (magnitude / sum.norm(2, 1)).unsqueeze(1) : sum;
    return result;
  }
};

class Lora : public Method {
 public:
  explicit Lora(bool rslora = false, bool dora = false) { config_.use_rslora = rslora, config_.use_dora = dora; }
  Config& config() override { return config_; }

  void attach(AttachContext& context) override {
    const auto options = adapter_options(context.model);
    targets_ = resolve_targets(context.model, config_.targets, context.model.family->targets.low_rank, "lora");
    const Json& init = config_.init_lora_weights;
    if (!init.is_boolean() && init != "gaussian")
      usage_error("lora", fmt::format("init_lora_weights = {} is not supported", json_line(init)), "known: true, false, \"gaussian\"");
    for (auto& [site, layer, linear] : targets_) {
      auto edit = std::make_shared<LoraEdit>();
      const int64_t r = pattern_value(config_.rank_pattern, linear->path, config_.r, "rank_pattern");
      const int64_t most = std::min(linear->in(), linear->out());
      if (r > most)
        usage_error("lora", fmt::format("r must be in 1..min(in, out) = {} but is {} ({})", most, r, linear->path), "choose a smaller r or other target_modules");
      const double alpha = pattern_value(config_.alpha_pattern, linear->path, config_.lora_alpha, "alpha_pattern");
      edit->scale = config_.use_rslora ? alpha / std::sqrt(static_cast<double>(r)) : alpha / static_cast<double>(r);
      edit->dropout = config_.lora_dropout;
      const std::string name = kPeftPrefix + linear->path + ".lora_";
      edit->a = add(name + "A.weight", init == "gaussian" ? normal({r, linear->in()}, 1.0 / r, options, context.generator)
                                                           : kaiming_uniform({r, linear->in()}, options, context.generator));
      edit->b = add(name + "B.weight", init == false ? kaiming_uniform({linear->out(), r}, options, context.generator) : zeros({linear->out(), r}, options));
      if (config_.use_dora) edit->magnitude = add(name + "magnitude_vector", edit->row_norms(*linear).clone(), false);
      context.sites.put(site, layer, edit);
      edits_.push_back(edit);
    }
    if (config_.bias != "none") train_biases(context.model);
  }

  Json file_config(const Model& model) override {
    Json json = to_json(config_);
    json["target_modules"] = saved_selection(targets_, config_.targets.target_modules, model.family->targets.low_rank);
    json["fan_in_fan_out"] = targets_.front().linear->conv1d;
    return json;
  }
  void hold_constants(bool held) override {
    for (auto& edit : edits_) edit->held = held;
  }
  std::vector<std::string> ignored_keys() const override { return {"qalora_group_size"}; }  // read only where use_qalora is on

 private:
  void train_biases(Model& model) {
    std::map<std::string, bool> adapted;
    for (auto& target : targets_) adapted[target.linear->path] = true;
    visit_base(model, [&](const std::string& name, Tensor& handle, bool) {
      if (!name.ends_with(".bias")) return;
      const std::string module = name.substr(0, name.size() - 5);
      if (!adapted[module] && config_.bias == "lora_only") return;
      params_.push_back({kPeftPrefix + module + (adapted[module] ? ".base_layer.bias" : ".bias"), trained_copy(handle), false});
    });
  }

  LoraConfig config_;
  std::vector<Target> targets_;
  std::vector<std::shared_ptr<LoraEdit>> edits_;
};

}  // namespace

extern const MethodRow kLora, kRsLora, kDora;
const MethodRow kLora{.name = "lora",
                      .peft_type = "LORA",
                      .title = "LoRA",
                      .paper = "arXiv 2106.09685",
                      .trains = "a low-rank update of the weights",
                      .format = Format::Peft,
                      .mergeable = true,
                      .identity = true,
                      .learning_rate = 5e-4,
                      .make = []() -> std::unique_ptr<Method> { return std::make_unique<Lora>(); }};
const MethodRow kRsLora{.name = "rslora",
                        .peft_type = "LORA",
                        .title = "rsLoRA",
                        .paper = "arXiv 2312.03732",
                        .trains = "a low-rank update of the weights, scaled by alpha / sqrt(r)",
                        .format = Format::Peft,
                        .mergeable = true,
                        .identity = true,
                        .learning_rate = 5e-4,
                        .make = []() -> std::unique_ptr<Method> { return std::make_unique<Lora>(true, false); }};
const MethodRow kDora{.name = "dora",
                      .peft_type = "LORA",
                      .title = "DoRA",
                      .paper = "arXiv 2402.09353",
                      .trains = "a low-rank update of the weights and the rows' magnitudes",
                      .format = Format::Peft,
                      .mergeable = true,
                      .identity = true,
                      .learning_rate = 5e-4,
                      .make = []() -> std::unique_ptr<Method> { return std::make_unique<Lora>(false, true); }};

}  // namespace graft
