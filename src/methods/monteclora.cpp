// MonteCLoRA (arXiv 2411.04358): LoRA whose A is drawn around its mean while it is trained.
//   y = W x + b + s · B A' x,  A' = A + sample_scaler · diag(√v) Σ_i w_i Z_i  in training, A' = A else
//   v_j = max(e^{2 σ_j} · c_j, 1e-3), c_j ~ χ²(r);  w = softmax(μ + √d ⊙ z), α = e^ω, μ = log α − mean log α,
//   d = (1 − 2/n) / α + Σ 1/α / n² + 1e-6;  Z_i, z standard normal, i = 1..n = num_samples
// Trained: A [r, in], B [out, r] and, in training alone of effect, σ [r], ω [n]. Init: A kaiming, B 0: the identity; σ and ω
// uniform in 0..1. Merges as LoRA. v (as a diagonal matrix) and w of the last pass stand in the file too. A term joins the
// gradient, the mean over modules of kl_loss_weight · (distances of ω, σ and v from their priors) and, with use_entropy, Σ w²;
// PEFT leaves it to the training script. All formulas are PEFT's, the first distance with the sign that PEFT gives it
// (docs/methods/notes/monteclora.md). PEFT draws v from a whole Wishart matrix, of which only the diagonal matters: these are r
// independent χ²(r).
#include "core/check.h"
#include "core/torch.h"
#include "kernels/dropout.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/lora_method.h"

namespace graft {
namespace {

struct MonteCLoraOptions : Config {
  int64_t num_samples = 8;
  bool use_entropy = false;
  double dirichlet_prior = 0.1, sample_scaler = 1e-4, kl_loss_weight = 1e-5;
  void visit(Fields& f) override {
    f("num_samples", num_samples, "draws that each pass averages over", at_least(1));
    f("use_entropy", use_entropy, "a term in the gradient that keeps the draws' weights alike");
    f("dirichlet_prior", dirichlet_prior, "the weights' prior", above(0));
    f("sample_scaler", sample_scaler, "size of the noise around A", at_least(0));
    f("kl_loss_weight", kl_loss_weight, "weight of the distances from the priors in the gradient", at_least(0));
  }
};

struct MonteCLoraConfig : LoraConfig {
  MonteCLoraOptions own;
  Json monteclora_config;
  void visit(Fields& f) override {
    LoraConfig::visit(f);
    own.visit(f);
    f("monteclora_config", monteclora_config, "these five as one mapping, as files hold them");
  }
};

struct MonteCLoraEdit : LoraEdit {
  const MonteCLoraOptions* options = nullptr;
  Tensor deviations, concentrations;    // σ [r], ω [n]
  Tensor last_variances, last_weights;  // of the last pass: [r, r], [n]

  Tensor linear(const Linear& base, const Tensor& x, bool training) const override {
    return training ? drawn().LoraEdit::linear(base, x, training) : LoraEdit::linear(base, x, training);
  }
  std::optional<LowRank> low_rank(bool training) const override {
    auto result = LoraEdit::low_rank(training);
    if (result && training) result->a = drawn().a;
    return result;
  }
  // The term of this module, with what the last pass drew, or with what a file brought.
  Tensor loss() const {
    const double n = static_cast<double>(options->num_samples), r = static_cast<double>(deviations.size(0)),
                 prior = options->dirichlet_prior;
    const Tensor alpha = concentrations.exp(), v = drawn_ ? variances() : last_variances.diagonal(), own = (2 * deviations).exp(),
                 w = drawn_ ? weights() : last_weights;
    const Tensor of_weights = at::lgamma(alpha.sum()) - std::lgamma(n * prior) + (at::lgamma(alpha) - std::lgamma(prior)).sum() +
                              ((alpha - prior) * (at::digamma(alpha) - at::digamma(alpha.sum()))).sum();
    const Tensor of_deviations = 0.5 * (r * (own - own.log()).sum() - r * r), of_variances = 0.5 * n * ((v - v.log()).sum() - r);
    const Tensor distances = options->kl_loss_weight * (of_weights + of_deviations + of_variances);
    return options->use_entropy ? distances + w.square().sum() : distances;
  }

 private:
  Tensor variances() const { return ((2 * deviations).exp() * squares_).clamp_min(1e-3); }
  Tensor weights() const {
    const Tensor alpha = concentrations.exp();
    const double n = static_cast<double>(options->num_samples);
    const Tensor d = ((1 - 2 / n) / alpha + (1 / alpha).sum() / (n * n)).clamp_min(1e-6) + 1e-6;
    return at::softmax(alpha.log() - alpha.log().mean() + d.sqrt() * direction_, 0);
  }
  LoraEdit drawn() const {
    const int64_t n = options->num_samples, r = a.size(0);
    const auto noise = [&](at::IntArrayRef shape) { return kernels::normal_noise(shape, a.options()); };
    squares_ = noise({r, r}).square().sum(1);
    direction_ = noise({n});
    drawn_ = true;
    const Tensor v = variances(), w = weights(), sum = at::mv(noise({n, r * a.size(1)}).t(), w).view_as(a);
    last_variances.copy_(at::diag(v.detach()));
    last_weights.copy_(w.detach());
    LoraEdit result(*this);
    result.a = a + options->sample_scaler * v.sqrt().unsqueeze(1) * sum;
    return result;
  }
  mutable bool drawn_ = false;
  mutable Tensor squares_, direction_;  // c [r], z [n]
};

class MonteCLora : public LoraWith<MonteCLoraConfig> {
 public:
  MonteCLora() : LoraWith("monteclora") {}
  void attach(AttachContext& context) override {
    if (options_.use_dora || changes_base(options_.init_lora_weights))
      usage_error("monteclora", "use_dora and starts that change the base cannot be combined with draws around A");
    // How many draws PEFT makes ahead is of no use here.
    if (options_.monteclora_config.is_object())
      from_json(options_.own, options_.monteclora_config, "monteclora", {"buffer_size"});
    LoraMethod::attach(context);
  }
  Json file_config(const Model& model) override {
    Json json = LoraMethod::file_config(model);
    json["monteclora_config"] = to_json(options_.own);
    return json;
  }
  Tensor extra_loss() const override {
    if (options_.own.kl_loss_weight == 0 && !options_.own.use_entropy) return {};
    Tensor sum;
    for (auto& edit : samplers_) sum = sum.defined() ? sum + edit->loss() : edit->loss();
    return sum / static_cast<double>(samplers_.size());
  }

 protected:
  bool adapts_embeddings() const override { return false; }
  LoraStart start(AttachContext& context, const Linear& linear, int64_t r, double scale) override {
    LoraStart begin = LoraMethod::start(context, linear, r, scale);
    const auto tensors = adapter_options(context.model);
    const int64_t n = options_.own.num_samples;
    const std::string name = kPeftPrefix + linear.path + ".lora_monteclora_sampler.";
    auto edit = std::make_shared<MonteCLoraEdit>();
    edit->options = &options_.own;
    edit->deviations = add(name + "std_prior", uniform({r}, 0.5, tensors, context.generator) + 0.5, false);
    edit->concentrations = add(name + "expert_weights_prior", uniform({n}, 0.5, tensors, context.generator) + 0.5, false);
    edit->last_variances = at::eye(r, tensors);
    edit->last_weights = ones({n}, tensors) / static_cast<double>(n);
    kept_.push_back({.name = name + "gaussian_var_prior", .value = edit->last_variances, .own = true});
    kept_.push_back({.name = name + "expert_weights", .value = edit->last_weights, .own = true});
    samplers_.push_back(edit);
    return begin;
  }
  std::shared_ptr<LoraEdit> make_edit(const Linear&) override { return samplers_.back(); }

 private:
  std::vector<std::shared_ptr<MonteCLoraEdit>> samplers_;
};

}  // namespace

extern const MethodRow kMonteCLora;
const MethodRow kMonteCLora{.name = "monteclora",
                            .peft_type = "LORA",
                            .title = "MonteCLoRA",
                            .paper = "arXiv 2411.04358",
                            .trains = "a low-rank update and how far its A is drawn from its mean",
                            .idea = Idea::LowRank,
                            .formula = "y = W x + b + α/r · B (A + noise of learned size) x  in training, without noise else",
                            .size = "r (in + out + 1) + num_samples a linear",
                            .cost = "LoRA and num_samples · r · in random numbers a linear and pass; none after merging",
                            .format = Format::Peft,
                            .mergeable = true,
                            .identity = true,
                            .learning_rate = 5e-4,
                            .make = []() -> std::unique_ptr<Method> { return std::make_unique<MonteCLora>(); },
                            .peft_key = "monteclora_config"};

}  // namespace graft
