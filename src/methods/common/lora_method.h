// LoRA and its relatives are one method. A relative overrides where its factors start, which of them are trained, or what happens
// to their gradients; all of them write plain LoRA files, which the row `lora` reads.
#pragma once
#include <map>
#include <memory>

#include "methods/common/lora_edits.h"
#include "methods/common/lora_start.h"
#include "methods/common/targets.h"
#include "methods/method.h"

namespace graft {

struct LoraConfig : Config {
  int64_t r = 8;
  double lora_alpha = 8, lora_dropout = 0;
  TargetOptions targets;
  std::string bias = "none";
  bool use_rslora = false, use_dora = false, lora_bias = false, fan_in_fan_out = false, ensure_weight_tying = false;
  Json init_lora_weights = true, rank_pattern = Json::object(), alpha_pattern = Json::object(), modules_to_save,
       trainable_token_indices;
  void visit(Fields& f) override;
};

class LoraMethod : public Method {
 public:
  explicit LoraMethod(const char* name) : name_(name) {}  // the row's, for messages
  Config& config() override { return options(); }
  void attach(AttachContext& context) override;
  NamedTensors file_tensors() const override;
  // LoRA's own options only: what a relative has beside them is of no use to a reader.
  Json file_config(const Model& model) override;
  void hold_constants(bool held) override;
  std::vector<std::string> ignored_keys() const override;

 protected:
  virtual LoraConfig& options() = 0;
  // --- what relatives override ---
  virtual bool adapts_embeddings() const { return true; }
  virtual bool trains_a() const { return true; }
  virtual bool trains_b() const { return true; }
  // Where the factors start: init_lora_weights, as far as the base's own weights tell.
  virtual LoraStart start(AttachContext& context, const Linear& linear, int64_t r, double scale);
  virtual LoraStart embedding_start(AttachContext& context, const Tensor& weight, int64_t r);  // weight [vocab, width]
  // What computes with the factors of a linear, in case they mean something else.
  virtual std::shared_ptr<LoraEdit> make_edit(const Linear& /*linear*/) { return std::make_shared<LoraEdit>(); }
  // Whether a start leaves another base behind, so that files hold twice the rank.
  virtual bool moves_base() { return changes_base(options().init_lora_weights); }

  const std::vector<std::shared_ptr<LoraEdit>>& edits() const { return edits_; }
  std::vector<Target> targets(AttachContext& context);  // the modules that the options name
  const char* name() const { return name_; }

 private:
  void tie_targets(const Model& model);
  void adapt_linear(AttachContext& context, const Target& target, int64_t r, double scale);
  void adapt_embedding(AttachContext& context, int64_t r, double scale);
  Tensor add_factor(const std::string& name, const Tensor& value, bool trained);
  void remember(const std::string& name, Tensor value, int64_t dim) { starts_[name] = {std::move(value), dim}; }
  Json saved_targets(const Model& model);

  const char* name_;
  std::vector<Target> targets_;
  std::vector<std::shared_ptr<LoraEdit>> edits_;
  std::shared_ptr<LoraEmbedEdit> embedding_;
  bool head_follows_ = false;
  std::map<std::string, std::pair<Tensor, int64_t>>
      starts_;  // what is appended to a factor in the file, and along which dimension
};

// A relative with its options.
template <class Options = LoraConfig>
class LoraWith : public LoraMethod {
 protected:
  using LoraMethod::LoraMethod;
  LoraConfig& options() override { return options_; }
  Options options_;
};

}  // namespace graft
