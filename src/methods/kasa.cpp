// KaSA (arXiv 2412.06071): LoRA in the form of a singular value decomposition, on a base without its r smallest singular
// components.
//   y = W_k x + b + s · B diag(d) A drop(x),  W_k = W without its r smallest singular values, s = α / r (rsLoRA: α / √r)
// Trained: A [r, in], B [out, r], d [r]. Init: A kaiming, B 0, d normal: y = W_k x + b, which is not the identity. Merges into
// W_k. Two terms join the gradient, as in the paper: β Σ d² + γ (‖BᵀB − I‖ + ‖AAᵀ − I‖), for each module. PEFT leaves them to the
// training script. Files do not hold W_k: it is computed again from the base, so they belong to that very base.
#include <cmath>

#include "core/check.h"
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct KasaConfig : WeightMethodConfig {
  int64_t r = 8;
  double lora_alpha = 8, lora_dropout = 0;
  bool use_rslora = false, init_lora_weights = true;
  Json alpha_pattern = Json::object(), kasa_config = {{"beta", 1e-4}, {"gamma", 1e-3}};
  void visit(Fields& f) override {
    f("r", r, "rank of the update, and number of singular components that the base loses", at_least(1));
    f("lora_alpha", lora_alpha, "the update is scaled by lora_alpha / r", above(0));
    f("lora_dropout", lora_dropout, "dropout on the update's input", between(0, 0.999));
    f("kasa_config", kasa_config,
      "weights of the two terms that join the gradient: {\"beta\": of the singular values, \"gamma\": of orthogonality}");
    f("use_rslora", use_rslora, "scale by lora_alpha / sqrt(r)");
    f("init_lora_weights", init_lora_weights, "true: A kaiming, B 0; false: both kaiming");
    f("alpha_pattern", alpha_pattern, "other lora_alpha for modules whose path a key matches: {regex: alpha}");
    visit_rank_pattern(f);
    visit_common(f, "lora_only", true);
  }
};

struct KasaEdit : FactorsEdit {
  Tensor a, b, diagonal;
  double scale = 1;
  LowRank factors() const override { return {a, b * diagonal, scale}; }
  // Beside W_k, not beside the base: nobody may take these factors for the whole change.
  std::optional<LowRank> low_rank(bool) const override { return std::nullopt; }
};

class Kasa : public WeightMethod {
 public:
  Kasa() : WeightMethod("kasa", config_) {}

  Tensor extra_loss() const override {
    if (beta_ == 0 && gamma_ == 0) return {};
    Tensor sum;
    const auto far_from_unit = [](const Tensor& product) {
      return (product - at::eye(product.size(0), product.options())).norm();
    };
    for (auto& edit : edits_) {
      const Tensor term = edit->diagonal.square().sum() * beta_ +
                          (far_from_unit(at::mm(edit->b.t(), edit->b)) + far_from_unit(at::mm(edit->a, edit->a.t()))) * gamma_;
      sum = sum.defined() ? sum + term : term;
    }
    return sum;
  }
  std::vector<std::string> ignored_keys() const override { return {"qalora_group_size"}; }

 private:
  void prepare(AttachContext& context) override {
    const auto weight = [&](const char* name, double fallback) {
      const Json value = config_.kasa_config.is_object() ? config_.kasa_config.value(name, Json(fallback)) : Json();
      if (!value.is_number() || value.get<double>() < 0)
        usage_error("kasa", fmt::format("kasa_config must be a mapping whose beta and gamma are at least 0 but is {}",
                                        json_line(config_.kasa_config)));
      return value.get<double>();
    };
    beta_ = weight("beta", 1e-4);
    gamma_ = weight("gamma", 1e-3);
    for (auto& [key, value] : config_.kasa_config.items())
      if (key != "beta" && key != "gamma")
        usage_error("kasa", fmt::format("kasa_config has no '{}'", key), "it has beta and gamma");
    for (auto& target : targets_) cut_down(context.model, *target.linear);
  }
  void cut_down(const Model& model, Linear& linear) {
    at::NoGradGuard no_grad;
    const int64_t r = rank_of(linear, config_.r), k = std::min(linear.in(), linear.out());
    if (r >= k)
      does_not_fit(linear, fmt::format("r must be below both sides of the weight but is {}", r),
                   "choose a smaller r or other target_modules");
    if (model.config.tied_head && linear.path == model.head.path)
      does_not_fit(linear, "the base of a tied head cannot be cut down: the embedding would change with it",
                   "leave the head out");
    const auto [u, s, vt] = at::linalg_svd(linear.weight.detach().to(adapter_options(model)), /*full_matrices=*/false);
    linear.weight = at::mm(u.narrow(1, 0, k - r) * s.narrow(0, 0, k - r), vt.narrow(0, 0, k - r)).to(model.dtype());
  }
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    const auto options = adapter_options(context.model);
    const int64_t r = rank_of(linear, config_.r);
    const double alpha = patterned("alpha_pattern", config_.alpha_pattern, linear, config_.lora_alpha),
                 rank = static_cast<double>(r);
    auto edit = std::make_shared<KasaEdit>();
    edit->drops.input = config_.lora_dropout;
    edit->scale = alpha / (config_.use_rslora ? std::sqrt(rank) : rank);
    edit->a = param(linear, "lora_A.weight", kaiming_uniform({r, linear.in()}, options, context.generator));
    edit->b = param(linear, "lora_B.weight",
                    config_.init_lora_weights ? zeros({linear.out(), r}, options)
                                              : kaiming_uniform({linear.out(), r}, options, context.generator));
    edit->diagonal = param(linear, "lora_diag", normal({r}, 1, options, context.generator));
    edit->trained = {edit->a, edit->b, edit->diagonal};
    edits_.push_back(edit);
    return edit;
  }
  KasaConfig config_;
  double beta_ = 0, gamma_ = 0;
  std::vector<std::shared_ptr<KasaEdit>> edits_;
};

}  // namespace

extern const MethodRow kKasa;
const MethodRow kKasa{.name = "kasa",
                      .peft_type = "LORA",
                      .title = "KaSA",
                      .paper = "arXiv 2412.06071",
                      .trains = "a low-rank update with singular values of its own, in place of the base's smallest ones",
                      .idea = Idea::LowRank,
                      .formula = "y = W_k x + b + α/r · B diag(d) A x,  W_k = W without its r smallest singular components",
                      .size = "r (in + out + 1) a linear",
                      .cost = "as LoRA; the decomposition of every weight at the start and on loading; none after merging",
                      .format = Format::Peft,
                      .mergeable = true,
                      .identity = false,
                      .learning_rate = 5e-4,
                      .make = []() -> std::unique_ptr<Method> { return std::make_unique<Kasa>(); },
                      .peft_key = "kasa_config"};

}  // namespace graft
