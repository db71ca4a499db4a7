// TinyLoRA (arXiv 2602.04118): a handful of numbers for a whole module, or for a whole model.
//   y = W x + b + B (Σ_i v_i P_i) A drop(x),  A = √S_r V_rᵀ and B = U_r √S_r of W's singular value decomposition, P_i random [r,
//   r]
// Trained: v [u], one for each module, or with weight_tying for groups of neighbours; 1: one for all. Init 0: the identity, or
// "uniform" in ±init_v_bound. Merges. A and B stand in the file; P does too (save_projection) or is drawn from the seed
// projection_seed + the module's number, normal with deviation 1/√r, as PEFT draws it.
// r is at most min(in, out). Deviations: PEFT can adapt the token embedding too; init_weights = false leaves v unset there, 0
// here.
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>

#include "core/check.h"
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct TinyloraConfig : WeightMethodConfig {
  int64_t r = 2, u = 64, projection_seed = 42;
  double weight_tying = 0, init_v_bound = 0.02, tinylora_dropout = 0;
  bool save_projection = true;
  Json init_weights = true;
  void visit(Fields& f) override {
    f("r", r, "singular components of the weight that are mixed", at_least(1));
    f("u", u, "length of a trained vector", at_least(1));
    f("weight_tying", weight_tying, "the share of vectors that modules save by sharing: 0 each its own, 1 one for all",
      between(0, 1));
    f("projection_seed", projection_seed, "the seed of the random projections", at_least(0));
    f("save_projection", save_projection, "write the random projections into the file too");
    f("init_v_bound", init_v_bound, "with init_weights = uniform: vectors start in +- this", above(0));
    f("tinylora_dropout", tinylora_dropout, "dropout on the update's input", between(0, 0.999));
    f("init_weights", init_weights, "true: vectors start at 0; \"uniform\": random");
    visit_common(f, "tinylora_only", true);
  }
};

struct TinyloraEdit : FactorsEdit {
  Tensor v, a, b, p;  // [u], [r, in], [out, r], [u, r, r]
  LowRank factors() const override {
    return {at::mm(at::mm(v.unsqueeze(0), p.flatten(1)).view({p.size(1), p.size(2)}), a), b, 1};
  }
};

class Tinylora : public WeightMethod {
 public:
  Tinylora() : WeightMethod("tinylora", config_, /*excludes=*/false) {}

 private:
  void prepare(AttachContext& context) override {
    if (!config_.init_weights.is_boolean() && config_.init_weights != "uniform")
      usage_error("tinylora",
                  fmt::format("init_weights must be true, false or \"uniform\" but is {}", json_line(config_.init_weights)));
    const auto options = adapter_options(context.model);
    const auto modules = static_cast<int64_t>(targets_.size());
    // Halves go to the even neighbour, as the reference rounds.
    const int64_t groups =
        std::max<int64_t>(1, static_cast<int64_t>(std::nearbyint(static_cast<double>(modules) * (1 - config_.weight_tying))));
    const int64_t size = std::max<int64_t>(1, modules / groups);
    for (int64_t module = 0; module < modules; ++module) group_of_.push_back(std::min(module / size, groups - 1));
    for (int64_t g = 0; g <= group_of_.back(); ++g)
      vectors_.push_back(add(fmt::format("base_model.tinylora_v.{}", g),
                             config_.init_weights == "uniform"
                                 ? uniform({config_.u}, config_.init_v_bound, options, context.generator)
                                 : zeros({config_.u}, options)));
  }
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    at::NoGradGuard no_grad;
    const auto options = adapter_options(context.model);
    const int64_t in = linear.in(), out = linear.out(), r = std::min({config_.r, in, out});
    at::Generator generator = at::detail::createCPUGenerator(static_cast<uint64_t>(config_.projection_seed + number_));
    Tensor a = at::empty({r, in}, options), b = at::empty({out, r}, options);
    if (!context.loading) {  // else they come from the file
      const auto [u, s, vt] = at::linalg_svd(linear.weight.detach().to(options), /*full_matrices=*/false);
      const Tensor root = s.narrow(0, 0, r).sqrt();
      a.copy_(root.unsqueeze(1) * vt.narrow(0, 0, r));
      b.copy_(u.narrow(1, 0, r) * root);
    }
    auto edit = std::make_shared<TinyloraEdit>();
    const std::string name = kPeftPrefix + linear.path + ".tinylora_";
    edit->drops.input = config_.tinylora_dropout;
    edit->v = vectors_[static_cast<size_t>(group_of_[static_cast<size_t>(number_++)])];
    edit->a = frozen(name + "A", a, true);
    edit->b = frozen(name + "B", b, true);
    edit->p = frozen(name + "P", normal({config_.u, r, r}, 1 / std::sqrt(static_cast<double>(r)), options, generator),
                     config_.save_projection);
    edit->trained = {edit->v};
    return edit;
  }
  TinyloraConfig config_;
  std::vector<int64_t> group_of_;  // the number of each module's vector
  std::vector<Tensor> vectors_;
  int64_t number_ = 0;
};

}  // namespace

extern const MethodRow kTinylora;
const MethodRow kTinylora{
    .name = "tinylora",
    .peft_type = "TINYLORA",
    .title = "TinyLoRA",
    .paper = "arXiv 2602.04118",
    .trains = "a few numbers that mix random maps of the weight's largest singular components",
    .idea = Idea::LowRank,
    .formula = "y = W x + b + U_r √S_r (Σ v_i P_i) √S_r V_rᵀ x,  P_i random",
    .size = "u a linear; with weight_tying = 1: u in all",
    .cost = "LoRA of rank r, which is tiny; the decomposition of every weight at the start; none after merging",
    .format = Format::Peft,
    .mergeable = true,
    .identity = true,
    .learning_rate = 1e-2,
    .make = []() -> std::unique_ptr<Method> { return std::make_unique<Tinylora>(); }};

}  // namespace graft
