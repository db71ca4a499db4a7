// LoRA-GA (arXiv 2407.05000): LoRA that starts where the first step of full fine-tuning would go.
//   U S Vᵀ = the weight's gradient, mean over calibration batches;  A = V_1..rᵀ, B = U_r+1..2r S_r+1..2r · c, the base becomes
//   W − s · B A;  y = (W − s · B0 A0) x + b + s · B A x
// Trained and merging: LoRA's. The identity at the start up to rounding. "stable": c = out^¼ / √γ. Files are plain LoRA of twice
// the rank (lora.cpp); PEFT's own raw file loads to something else without a word. The gradient is taken group by group of
// modules, and decomposed by a randomised SVD with 4r columns and 4 iterations, as in PEFT. Deviations: PEFT, which this follows,
// keeps the singular values in B and leaves A as it is, where the paper drops them and scales both; PEFT reads `in` for `out`
// where weights are stored [in, out] (GPT-2), which is not followed.
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>

#include "core/check.h"
#include "core/torch.h"
#include "methods/common/calibrated_lora.h"
#include "methods/common/svd.h"

namespace graft {
namespace {

struct LoraGaConfig : LoraConfig {
  std::string direction = "ArB2r", scale = "stable";
  int64_t stable_gamma = 16, calibration_rows = 64;
  void visit(Fields& f) override {
    LoraConfig::visit(f);
    f("direction", direction,
      "which singular directions of the gradient A and B take: odd and even ones, the second r and the first, the reverse, or "
      "any r",
      one_of({"ArBr", "A2rBr", "ArB2r", "random"}));
    f("scale", scale,
      "factor of B: out^1/4 / sqrt(stable_gamma), W's largest singular value, A and B over lora_alpha / r, or none",
      one_of({"stable", "weight_svd", "gd_scale", "unit"}));
    f("stable_gamma", stable_gamma, "see scale", at_least(1));
    f("calibration_rows", calibration_rows, "training rows of which the gradient is taken", at_least(1));
  }
};

class LoraGa : public CalibratedLoraWith<LoraGaConfig> {
 public:
  LoraGa() : CalibratedLoraWith("lora_ga") {}

 protected:
  NamedTensors calibrate(AttachContext& context, const Calibration& data, const std::vector<Planned>& plan) override {
    std::vector<Target> adapted;
    for (auto& p : plan) {
      const int64_t most = std::min(p.target.linear->in(), p.target.linear->out());
      if (2 * p.r > most)
        usage_error("lora_ga",
                    fmt::format("2 r must be at most min(in, out) = {} but r is {} ({})", most, p.r, p.target.linear->path),
                    "choose a smaller r");
      adapted.push_back(p.target);
    }
    NamedTensors factors;
    at::Generator generator = at::detail::createCPUGenerator(42);
    visit_weight_gradients(context.model, adapted, first_batches(data, options_.calibration_rows), data.quiet,
                           [&](size_t i, const Tensor& gradient) {
                             const auto [a, b] = directions(gradient, plan[i], generator);
                             factors.emplace_back(plan[i].target.linear->path + ".a", a);
                             factors.emplace_back(plan[i].target.linear->path + ".b", b);
                           });
    return factors;
  }

 private:
  std::pair<Tensor, Tensor> directions(const Tensor& gradient, const Planned& p, at::Generator& generator) const {
    const Linear& linear = *p.target.linear;
    const int64_t r = p.r;
    const auto svd = randomised_svd(gradient, std::min(4 * r, std::min(linear.in(), linear.out())), 4, generator);
    const auto range = [&](int64_t begin, int64_t step) {
      return at::arange(begin, begin + r * step, step, at::kLong).to(gradient.device());
    };
    Tensor of_a = range(0, 1), of_b = range(r, 1);
    if (options_.direction == "ArBr") of_a = range(1, 2), of_b = range(0, 2);
    if (options_.direction == "A2rBr") std::swap(of_a, of_b);
    if (options_.direction == "random")
      of_a = of_b = at::randperm(2 * r, generator, at::kLong).narrow(0, 0, r).to(gradient.device());
    const Tensor s = svd.s.index_select(0, of_b);
    Tensor a = svd.vh.index_select(0, of_a), b = svd.u.index_select(1, of_b) * s;
    if (options_.scale == "stable")
      b = b * (std::pow(static_cast<double>(linear.out()), 0.25) / std::sqrt(static_cast<double>(options_.stable_gamma)));
    if (options_.scale == "weight_svd" && s[0].item<double>() > 0)
      b = b * (randomised_svd(linear.weight.detach().to(gradient.options()), r, 4, generator).s[0] / s[0]);
    if (options_.scale == "gd_scale") a = a / p.scale, b = b / p.scale;
    return {a.contiguous(), b.contiguous()};
  }
};

}  // namespace

extern const MethodRow kLoraGa;
const MethodRow kLoraGa{.name = "lora_ga",
                        .peft_type = "LORA",
                        .title = "LoRA-GA",
                        .paper = "arXiv 2407.05000",
                        .trains = "a low-rank update that starts along the gradient",
                        .idea = Idea::LowRank,
                        .formula = "y = (W − s · B0 A0) x + b + s · B A x,  A0, B0 from the singular vectors of ∂loss/∂W",
                        .size = "r (in + out) a linear; twice that in the file",
                        .cost = "as LoRA, and gradients of 64 rows before the first step",
                        .format = Format::Peft,
                        .mergeable = true,
                        .identity = true,
                        .learning_rate = 2e-4,
                        .make = []() -> std::unique_ptr<Method> { return std::make_unique<LoraGa>(); }};

}  // namespace graft
