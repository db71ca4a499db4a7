// A method that changes the weights of chosen linears, each by tensors of its own: what such methods share. A method states its
// options, checks them, and makes the parameters and the edit of one linear; modules_to_save, biases, copies of embeddings, the
// file's names and its configuration follow.
//
//   struct HiraConfig : WeightMethodConfig { ... void visit(Fields& f) override { f("r", ...); visit_common(f); } };
//   class Hira : public WeightMethod {
//     Hira() : WeightMethod("hira", config_) {}
//     std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
//       auto edit = std::make_shared<HiraEdit>();
//       edit->a = param(linear, "hira_A", kaiming_uniform({r, linear.in()}, options, context.generator));
//       ...
#pragma once
#include <map>
#include <memory>

#include "methods/common/targets.h"
#include "methods/common/weight_edits.h"
#include "methods/method.h"

namespace graft {

struct WeightMethodConfig : Config {
  TargetOptions targets;
  Json modules_to_save, rank_pattern = Json::object();
  bool fan_in_fan_out = false;
  std::string bias = "none";

 protected:
  // The options of nearly all. `bias_only`: how PEFT calls biases of the adapted modules alone; nullptr: it has no such option.
  void visit_common(Fields& f, const char* bias_only = nullptr, bool has_fan_in_fan_out = false);
  void visit_rank_pattern(Fields& f);
};

class WeightMethod : public Method {
 public:
  Config& config() final { return common_; }
  void attach(AttachContext& context) final;
  NamedTensors file_tensors() const override;
  void load_file_tensors(const NamedTensors& tensors, const std::string& source) override;
  Json file_config(const Model& model) override;

 protected:
  // `excludes`: whether PEFT knows exclude_modules for this method, `layers`: layers_to_transform. Where not, a file of an adapter
  // that uses them names each module.
  WeightMethod(const char* name, WeightMethodConfig& config, bool excludes = true, bool layers = true)
      : name_(name), common_(config), excludes_(excludes), layers_(layers) {}

  virtual const std::vector<std::string>& default_targets(const Model& model) const;  // as LoRA's
  // Once, when targets_ are known and before the first of them: checks, tensors that all of them share.
  virtual void prepare(AttachContext& /*context*/) {}
  virtual std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) = 0;

  // Registers a trained tensor as `<module>.<suffix>`.
  Tensor param(const Linear& linear, const std::string& suffix, Tensor value, bool decay = true);
  // A tensor that is not trained but stands in the file, by its whole name: read from there, or kept where it may be absent.
  Tensor frozen(const std::string& name, Tensor value, bool needed);
  // The value for this module in a mapping {regex: value}, or the fallback.
  double patterned(const char* option, const Json& pattern, const Linear& linear, double fallback, bool integers = false);
  int64_t rank_of(const Linear& linear, int64_t r) { return static_cast<int64_t>(patterned("rank_pattern", common_.rank_pattern, linear, static_cast<double>(r), true)); }
  // Fault::Usage for one module whose shape an option does not fit.
  [[noreturn]] void does_not_fit(const Linear& linear, const std::string& message, const std::string& hint) const;

  std::vector<Target> targets_;

 private:
  struct Frozen {
    std::string name;
    Tensor value;
    bool needed;
  };
  const char* name_;
  WeightMethodConfig& common_;
  bool excludes_, layers_;
  std::vector<Frozen> frozen_;
  std::map<std::string, ModulePattern> patterns_;
};

}  // namespace graft
