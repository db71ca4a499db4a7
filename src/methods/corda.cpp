// CorDA (arXiv 2406.05223): LoRA on the singular components of the weight as the data see it.
//   C = covariance of the module's inputs;  W C = U S Vᵀ;  B = U √(S / s), A = √(S / s) Vᵀ C⁻¹ of r components: the first ("ipm",
//   what matters for these data) or the last ("kpm", what does not, so that knowledge stays); the base becomes W − s · B A;
//   y = (W − s · B0 A0) x + b + s · B A x
// Trained and merging: LoRA's. The identity at the start up to rounding. Files are plain LoRA of twice the rank (lora.cpp); PEFT
// cannot load its own raw file. As in PEFT: C is the mean over rows of Xᵀ X with X divided by |max X|, and 0.01 of its mean
// diagonal is added to the diagonal, twice that until C C⁻¹ is near I. For kpm the data should be of what is to be kept.
#include "core/check.h"
#include "core/progress.h"
#include "core/signals.h"
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/calibrated_lora.h"

namespace graft {
namespace {

struct CordaConfig : LoraConfig {
  std::string corda_method = "ipm";
  int64_t calibration_rows = 256;
  void visit(Fields& f) override {
    LoraConfig::visit(f);
    f("corda_method", corda_method, "ipm: the components that matter most for the data; kpm: those that matter least",
      one_of({"ipm", "kpm"}));
    f("calibration_rows", calibration_rows, "training rows of which the inputs' covariance is taken", at_least(1));
  }
};

class Corda : public CalibratedLoraWith<CordaConfig> {
 public:
  Corda() : CalibratedLoraWith("corda") {}

 protected:
  NamedTensors calibrate(AttachContext& context, const Calibration& data, const std::vector<Planned>& plan) override {
    at::NoGradGuard no_grad;
    const auto batches = first_batches(data, options_.calibration_rows);
    std::vector<Target> adapted;
    std::vector<int64_t> bytes;
    for (auto& p : plan) adapted.push_back(p.target);
    const auto first = equal_inputs(context.model, adapted, batches[0]);
    std::vector<size_t> inputs;  // modules with inputs of their own
    for (size_t i = 0; i < plan.size(); ++i)
      if (first[i] == i) inputs.push_back(i), bytes.push_back(4 * plan[i].target.linear->in() * plan[i].target.linear->in());
    const auto groups = groups_within_memory(bytes);
    Progress progress("covariances", static_cast<int64_t>(groups.size() * batches.size() + plan.size()), data.quiet);
    int64_t done = 0, rows = 0;
    for (auto& batch : batches) rows += batch.documents();
    const auto one_more = [&] {
      progress.update(++done);
      if (const int signal = pending_signal()) throw Stopped(signal);
    };
    NamedTensors factors;
    for (auto& [begin, end] : groups) {
      std::map<size_t, Tensor> sums;
      for (size_t k = begin; k < end; ++k) sums[inputs[k]];
      for (auto& batch : batches) {
        visit_inputs(context.model, adapted, batch, [&](size_t i, const Tensor& x) {
          if (const auto sum = sums.find(i); sum != sums.end())
            add_rows(sum->second, x.to(adapter_options(context.model)), batch);
        });
        one_more();
      }
      for (auto& [input, sum] : sums) {
        const auto [covariance, inverse] = invertible(sum / static_cast<double>(rows), plan[input].target.linear->path);
        for (size_t i = 0; i < plan.size(); ++i) {
          if (first[i] != input) continue;
          add_factors(factors, plan[i], covariance, inverse);
          one_more();
        }
      }
    }
    progress.finish();
    return factors;
  }

 private:
  static void add_rows(Tensor& covariance, const Tensor& x, const Batch& batch) {
    if (!covariance.defined()) covariance = at::zeros({x.size(1), x.size(1)}, x.options());
    for (int64_t d = 0; d < batch.documents(); ++d) {
      const auto at = static_cast<size_t>(d);
      const Tensor row = x.slice(0, batch.starts[at], batch.starts[at + 1]), scaled = row / row.max().abs();
      covariance.addmm_(scaled.t(), scaled);
    }
  }

  static std::pair<Tensor, Tensor> invertible(const Tensor& covariance, const std::string& path) {
    if (!at::isfinite(covariance).all().item<bool>())
      input_error("corda", fmt::format("the inputs of '{}' have no finite covariance", path),
                  "is the model or a row of the data broken?");
    const Tensor eye = at::eye(covariance.size(0), covariance.options()), level = covariance.diagonal().mean();
    for (double damp = 0.01;; damp *= 2) {
      const Tensor fixed = covariance + eye * (level * damp), inverse = at::linalg_inv(fixed);
      if (at::dist(at::mm(fixed, inverse), eye).item<double>() < 0.05 || damp > 1e6) return {fixed, inverse};
    }
  }

  void add_factors(NamedTensors& factors, const Planned& p, const Tensor& covariance, const Tensor& inverse) const {
    const Linear& linear = *p.target.linear;
    const auto [u, s, vh] = at::linalg_svd(at::mm(linear.weight.detach().to(covariance.options()), covariance), false);
    const int64_t begin = options_.corda_method == "ipm" ? 0 : s.size(0) - p.r;
    const Tensor root = (s.narrow(0, begin, p.r) / p.scale).sqrt();
    factors.emplace_back(linear.path + ".a", root.unsqueeze(1) * at::mm(vh.narrow(0, begin, p.r), inverse));
    factors.emplace_back(linear.path + ".b", u.narrow(1, begin, p.r) * root);
  }
};

}  // namespace

extern const MethodRow kCorda;
const MethodRow kCorda{
    .name = "corda",
    .peft_type = "LORA",
    .title = "CorDA",
    .paper = "arXiv 2406.05223",
    .trains = "the components of the weights that matter most, or least, for the data",
    .idea = Idea::LowRank,
    .formula = "y = (W − s · B0 A0) x + b + s · B A x,  B0 A0 from the singular components of W C, C = covariance of x",
    .size = "r (in + out) a linear; twice that in the file",
    .cost = "as LoRA, and a forward pass of 256 rows and one SVD a linear before the first step",
    .format = Format::Peft,
    .mergeable = true,
    .identity = true,
    .learning_rate = 2e-4,
    .make = []() -> std::unique_ptr<Method> { return std::make_unique<Corda>(); }};

}  // namespace graft
