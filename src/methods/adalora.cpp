// AdaLoRA (arXiv 2303.10512): a low-rank update in SVD form whose rank is shared out between the modules while training.
//   y = W x + b + α / (init_r + 1e-5) · B ((A ⊙ E) drop(x))
// Trained: A [init_r, in], E [init_r, 1], B [out, init_r]. Init: A, B normal(0, 0.02), E 0: the identity. Merges: W + s · B (A ⊙
// E). The gradient gets orth_reg_weight · mean over all A and B of ‖P Pᵀ − I‖ (A Aᵀ and Bᵀ B); the logged loss does not. After
// every optimizer step t (from 1), with the gradients of that step: importance I = |w · g|, smoothed Ī = β1 Ī + (1 − β1) I, its
// uncertainty U = β2 U + (1 − β2) |I − Ī|, score Ī · U. A triplet's score is its entry of E plus the means over A's row and B's
// column. Up to tinit all triplets stay; then the budget falls from init_r to target_r a module with the cube of the remaining
// time, and every deltaT steps E is set to 0 below the threshold; at total_step − tfinal the last mask is chosen, which holds.
// Files hold only the kept triplets, a module may have none; rank_pattern says which. The scale never changes.
// total_step is the run's length unless it is given. `r` has no effect, as in the reference.
#include <algorithm>
#include <cmath>
#include <map>
#include <span>

#include "core/check.h"
#include "core/torch.h"
#include "kernels/dropout.h"
#include "kernels/linear.h"
#include "methods/common/base_params.h"
#include "methods/common/companions.h"
#include "methods/common/init.h"
#include "methods/common/targets.h"
#include "model/family.h"

namespace graft {
namespace {

struct AdaLoraConfig : Config {
  int64_t r = 8, init_r = 12, target_r = 8, tinit = 0, tfinal = 0, deltaT = 1;
  std::optional<int64_t> total_step;
  double beta1 = 0.85, beta2 = 0.85, orth_reg_weight = 0.5, lora_alpha = 8, lora_dropout = 0;
  TargetOptions targets;
  std::string bias = "none";
  bool init_lora_weights = true, fan_in_fan_out = false, ensure_weight_tying = false;
  Json rank_pattern, modules_to_save, trainable_token_indices;
  void visit(Fields& f) override {
    f("init_r", init_r, "rank of every module at the start", at_least(1));
    f("target_r", target_r, "mean rank at the end", at_least(1));
    f("tinit", tinit, "steps before the budget starts to fall", at_least(0));
    f("tfinal", tfinal, "steps at the end with the final ranks", at_least(0));
    f("deltaT", deltaT, "steps between two choices of ranks", at_least(1));
    f("total_step", total_step, "steps that the schedule spans; null: the run's length", at_least(1));
    f("beta1", beta1, "smoothing of the importance", between(1e-6, 0.999999));
    f("beta2", beta2, "smoothing of its uncertainty", between(1e-6, 0.999999));
    f("orth_reg_weight", orth_reg_weight, "weight of the orthogonality term", at_least(0));
    f("lora_alpha", lora_alpha, "the update is scaled by lora_alpha / init_r", above(0));
    f("lora_dropout", lora_dropout, "dropout on the update's input", between(0, 0.999));
    targets.visit(f);
    f("bias", bias, "train biases of the base too: none, all, or those of the adapted modules",
      one_of({"none", "all", "lora_only"}));
    f("init_lora_weights", init_lora_weights, "true: E 0; false: all random");
    f("modules_to_save", modules_to_save, "modules that are trained as a whole: path endings");
    f("trainable_token_indices", trainable_token_indices,
      "token ids whose embedding rows are trained: a list, or {module: list}");
    f("ensure_weight_tying", ensure_weight_tying, "keep a tied head and embedding tied when one of them is saved");
    f("rank_pattern", rank_pattern, "written by training: which triplets a module has kept, {module.lora_E: [true, false, ...]}");
    f("fan_in_fan_out", fan_in_fan_out, "the base stores [in, out]; known from the model, accepted for files of other programs");
    f("r", r, "kept for files; has no effect");
  }
};

struct AdaLoraEdit : WeightEdit {
  Tensor a, b, e;  // [r, in], [out, r], [r, 1]
  double scale = 1, dropout = 0;

  std::optional<LowRank> low_rank(bool training) const override {
    if (a.size(0) == 0 || (training && dropout > 0)) return std::nullopt;
    return LowRank{a * e, b, scale};
  }
  Tensor linear(const Linear& base, const Tensor& x, bool training) const override {
    const Tensor y = kernels::linear(x, base.weight, base.bias);
    const Tensor dropped = (training && dropout > 0 ? kernels::dropout(x, dropout) : x).to(a.scalar_type());
    return y + (at::mm(at::mm(dropped, (a * e).t()), b.t()) * scale).to(y.scalar_type());
  }
  std::optional<Linear> merged(const Linear& base) const override {
    at::NoGradGuard no_grad;
    Linear result = base;
    result.weight = base.weight.to(a.scalar_type()) + at::mm(b, a * e) * scale;
    return result;
  }
};

class AdaLora : public Method {
 public:
  Config& config() override { return config_; }

  void attach(AttachContext& context) override {
    config_.modules_to_save = as_name_list(config_.modules_to_save);
    config_.trainable_token_indices = as_index_list(config_.trainable_token_indices);
    Model& model = context.model;
    const auto options = adapter_options(model);
    targets_ = resolve_targets(model, config_.targets, model.family->targets.low_rank, "adalora", {config_.modules_to_save});
    if (config_.target_r > config_.init_r)
      usage_error("adalora", fmt::format("target_r must be at most init_r = {} but is {}", config_.init_r, config_.target_r));
    check_pattern(context.loading);
    for (auto& [site, layer, linear] : targets_) {
      Module m{linear->path, std::make_shared<AdaLoraEdit>(), Tensor()};
      const int64_t r = context.loading ? kept_ranks(linear->path) : config_.init_r, in = linear->in(), out = linear->out();
      const bool usual = config_.init_lora_weights;
      const std::string name = kPeftPrefix + linear->path + ".lora_";
      m.edit->scale = config_.lora_alpha / (static_cast<double>(config_.init_r) + 1e-5);
      m.edit->dropout = config_.lora_dropout;
      m.edit->a = add(name + "A", normal({r, in}, usual ? 0.02 : 1, options, context.generator));
      m.edit->e = add(name + "E", usual ? zeros({r, 1}, options) : normal({r, 1}, 1, options, context.generator));
      m.edit->b = add(name + "B", normal({out, r}, usual ? 0.02 : 1, options, context.generator));
      context.sites.put(site, layer, m.edit);
      modules_.push_back(std::move(m));
    }
    const CompanionLists lists{params_, kept_};
    keep_embeddings(model, targets_, saved_targets(model), lists);
    train_saved_modules(model, config_.modules_to_save, config_.ensure_weight_tying, kPeftPrefix, target_paths(model, targets_),
                        "adalora", lists);
    train_token_rows(context, config_.trainable_token_indices, config_.ensure_weight_tying, "adalora", lists);
    train_biases(model, config_.bias, targets_, lists);
  }

  void start_training(int64_t steps) override {
    total_ = config_.total_step.value_or(steps);
    if (config_.tinit >= total_ - config_.tfinal)
      usage_error("adalora",
                  fmt::format("tinit + tfinal = {} must be below total_step = {}", config_.tinit + config_.tfinal, total_),
                  "lower them, or train longer");
  }

  Tensor extra_loss() const override {
    if (config_.orth_reg_weight == 0) return {};
    Tensor sum;
    for (auto& m : modules_)
      for (const Tensor& product : {at::mm(m.edit->a, m.edit->a.t()), at::mm(m.edit->b.t(), m.edit->b)}) {
        const Tensor term = (product - at::eye(product.size(0), product.options())).norm();
        sum = sum.defined() ? sum + term : term;
      }
    return sum * (config_.orth_reg_weight / static_cast<double>(2 * modules_.size()));
  }

  void after_step(int64_t step) override {
    at::NoGradGuard no_grad;
    const int64_t last_choice = total_ - config_.tfinal;
    if (step > last_choice) {  // the final mask holds
      for (auto& m : modules_)
        if (m.mask.defined()) m.edit->e.mul_(m.mask);
      return;
    }
    if (step < last_choice) update_importance();
    const int64_t all = config_.init_r * static_cast<int64_t>(modules_.size()),
                  target = config_.target_r * static_cast<int64_t>(modules_.size());
    const double rest = 1 - static_cast<double>(step - config_.tinit) / static_cast<double>(last_choice - config_.tinit);
    const int64_t budget =
        step <= config_.tinit
            ? all
            : static_cast<int64_t>(static_cast<double>(all - target) * std::pow(rest, 3) + static_cast<double>(target));
    if (step == last_choice || (step > config_.tinit && step % config_.deltaT == 0)) choose(all - budget);
    if (step == last_choice) importance_.clear();
  }

  NamedTensors state() const override {
    NamedTensors tensors;
    for (auto& [name, value] : importance_) {
      tensors.emplace_back("importance." + name, value.first);
      tensors.emplace_back("uncertainty." + name, value.second);
    }
    for (auto& m : modules_)
      if (m.mask.defined()) tensors.emplace_back("mask." + m.path, m.mask);
    return tensors;
  }
  void load_state(const NamedTensors& tensors, const std::string& source) override {
    importance_.clear();
    for (auto& [name, value] : tensors) {
      bool known = false;
      for (auto& m : modules_)
        if (name == "mask." + m.path && value.sizes() == m.edit->e.sizes())
          m.mask = value.to(m.edit->e.options().requires_grad(false)), known = true;
      for (auto& p : factors())
        for (const bool first : {true, false})
          if (name == (first ? "importance." : "uncertainty.") + p.name && value.sizes() == p.value.sizes()) {
            auto& pair = importance_[p.name];
            (first ? pair.first : pair.second) = value.to(p.value.options().requires_grad(false)).clone();
            known = true;
          }
      if (!known)
        input_error("resume", fmt::format("{}: '{}' belongs to nothing in this run or has another shape", source, name),
                    "use a fresh --out");
    }
  }

  NamedTensors file_tensors() const override {
    NamedTensors tensors = Method::file_tensors();
    std::map<std::string, const Module*> masked;
    for (auto& m : modules_)
      if (m.mask.defined()) masked[kPeftPrefix + m.path + ".lora_"] = &m;
    for (auto& [name, value] : tensors)
      if (const auto found = masked.find(name.substr(0, name.size() - 1)); found != masked.end())
        value = value.index_select(name.ends_with("B") ? 1 : 0, at::nonzero(found->second->mask.flatten()).flatten());
    return tensors;
  }
  Json file_config(const Model& model) override {
    Json json = to_json(config_);
    json["target_modules"] = saved_targets(model);
    json["modules_to_save"] = saved_modules_for_file(model, config_.modules_to_save, config_.ensure_weight_tying);
    json["fan_in_fan_out"] = any_conv1d(targets_);
    json["total_step"] = config_.total_step.value_or(total_ > 0 ? total_ : config_.tinit + config_.tfinal + 1);
    for (auto& m : modules_) {
      if (!m.mask.defined()) continue;
      if (json["rank_pattern"].is_null()) json["rank_pattern"] = Json::object();
      std::vector<bool> kept;
      for (int64_t i = 0; i < m.mask.size(0); ++i) kept.push_back(m.mask[i].item<double>() != 0);
      json["rank_pattern"][m.path + ".lora_E"] = kept;
    }
    return json;
  }
  // LoRA's options stand in these files too, without an effect on this method.
  std::vector<std::string> ignored_keys() const override { return {"qalora_group_size", "use_rslora"}; }

 private:
  struct Module {
    std::string path;
    std::shared_ptr<AdaLoraEdit> edit;
    Tensor mask;  // [init_r, 1] of 0 and 1; undefined before the first choice
  };

  std::span<const Param> factors() const { return {params_.data(), 3 * modules_.size()}; }

  void check_pattern(bool loading) const {
    if (config_.rank_pattern.is_null()) return;
    if (!config_.rank_pattern.is_object())
      usage_error("adalora", fmt::format("rank_pattern must be null or a mapping but is {}", json_line(config_.rank_pattern)));
    if (!loading && !config_.rank_pattern.empty())
      usage_error("adalora", "rank_pattern is a result of training and cannot be given", "leave it out");
    for (auto& [key, kept] : config_.rank_pattern.items()) {
      const bool known = std::any_of(targets_.begin(), targets_.end(),
                                     [&, &k = key](const Target& t) { return k == t.linear->path + ".lora_E"; });
      if (!known) usage_error("adalora", fmt::format("rank_pattern: '{}' is no adapted module", key));
      if (!kept.is_array() || static_cast<int64_t>(kept.size()) != config_.init_r ||
          std::any_of(kept.begin(), kept.end(), [](const Json& k) { return !k.is_boolean(); }))
        usage_error("adalora", fmt::format("rank_pattern['{}'] must be a list of init_r = {} times true or false but is {}", key,
                                           config_.init_r, json_line(kept)));
    }
  }
  int64_t kept_ranks(const std::string& path) const {
    const std::string key = path + ".lora_E";
    if (!config_.rank_pattern.is_object() || !config_.rank_pattern.contains(key)) return config_.init_r;
    return std::count(config_.rank_pattern[key].begin(), config_.rank_pattern[key].end(), Json(true));
  }
  Json saved_targets(const Model& model) const {
    return saved_selection(targets_, config_.targets.target_modules, model.family->targets.low_rank);
  }

  void update_importance() {
    for (auto& p : factors()) {
      auto& [mean, uncertainty] = importance_[p.name];
      if (!mean.defined()) mean = at::zeros_like(p.value.detach()), uncertainty = mean.clone();
      if (!p.value.grad().defined()) continue;
      const Tensor now = (p.value.detach() * p.value.grad()).abs();
      mean.mul_(config_.beta1).add_(now, 1 - config_.beta1);
      uncertainty.mul_(config_.beta2).add_((now - mean).abs(), 1 - config_.beta2);
    }
  }

  // Sets the `drop` triplets of the lowest scores to 0; ties with the threshold go too.
  void choose(int64_t drop) {
    if (drop <= 0 || importance_.empty()) return;
    const auto score = [&](size_t parameter) {
      const auto& [mean, uncertainty] = importance_.at(params_[parameter].name);
      return mean * uncertainty;
    };
    std::vector<Tensor> scores;
    for (size_t i = 0; i < modules_.size(); ++i)
      scores.push_back(score(3 * i + 1).flatten() + (score(3 * i).mean(1) + score(3 * i + 2).mean(0)));
    const Tensor threshold = std::get<0>(at::kthvalue(at::cat(scores), drop));
    for (size_t i = 0; i < modules_.size(); ++i) {
      modules_[i].mask = scores[i].gt(threshold).to(scores[i].scalar_type()).unsqueeze(1);
      modules_[i].edit->e.mul_(modules_[i].mask);
    }
  }

  AdaLoraConfig config_;
  std::vector<Target> targets_;
  std::vector<Module> modules_;
  std::map<std::string, std::pair<Tensor, Tensor>> importance_;  // of every factor: smoothed importance, its uncertainty
  int64_t total_ = 0;
};

}  // namespace

extern const MethodRow kAdaLora;
const MethodRow kAdaLora{.name = "adalora",
                         .peft_type = "ADALORA",
                         .title = "AdaLoRA",
                         .paper = "arXiv 2303.10512",
                         .trains = "a low-rank update whose rank is shared out between modules",
                         .idea = Idea::LowRank,
                         .formula = "y = W x + b + α/init_r · B (A ⊙ E) x",
                         .size = "init_r (in + out + 1) a linear at first, target_r on average at the end",
                         .cost = "LoRA of rank init_r, a regulariser of init_r² (in + out) and importances of all entries a step",
                         .format = Format::Peft,
                         .mergeable = true,
                         .identity = true,
                         .learning_rate = 1e-3,
                         .make = []() -> std::unique_ptr<Method> { return std::make_unique<AdaLora>(); }};

}  // namespace graft
