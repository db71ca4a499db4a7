// OSF, orthogonal subspace fine-tuning (arXiv 2504.07097): the largest singular components of a weight stay, the others are
// trained without entering the space that the former take.
//   W = U_k S_k V_kᵀ + U S Vᵀ, k = effective_rank;  W' = U_k S_k V_kᵀ + U S Vᵀ with trained U, S, V
//   before the optimizer g_U ← g_U − U_k U_kᵀ g_U,  g_V ← g_V − g_V V_k V_kᵀ
// Trained: U_low [out, m − k], S_low [m − k], V_low [m − k, in], m = min(in, out). Init: the decomposition of W: the identity.
// Merges: W'. Files do not hold the frozen part: it is computed again from the base, so they belong to that very base.
// effective_rank counts the frozen components, as in PEFT: null is half of m, a float a share of m, and a key of rank_pattern
// need only be found in a module's path. Deviations: two keys that give one module different ranks (PEFT: the first counts) and a
// rank that leaves a module nothing to train are errors. PEFT adapts nothing, silently, where weights are stored [in, out]
// (GPT-2); here they work.
#include <algorithm>

#include "core/check.h"
#include "core/regex.h"
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/svd.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct OsfConfig : WeightMethodConfig {
  Json effective_rank;
  bool init_weights = true;
  void visit(Fields& f) override {
    f("effective_rank", effective_rank,
      "singular components that are kept as they are: a number, a share (0.5) of all, or null for half of them");
    f("init_weights", init_weights, "true: no update at the start; false: a random one");
    f("rank_pattern", rank_pattern, "other effective_rank for modules whose path a key is found in: {regex: rank}");
    visit_common(f);
  }
};

struct OsfEdit : DeltaEdit {
  Tensor u, s, v;                 // [out, m − k], [m − k], [m − k, in]
  Tensor kept_u, kept_s, kept_v;  // [out, k], [k], [k, in]
  Tensor delta(const Tensor& weight) const override { return at::mm(u * s, v) + at::mm(kept_u * kept_s, kept_v) - weight; }
};

class Osf : public WeightMethod {
 public:
  Osf() : WeightMethod("osf", config_, /*excludes=*/false, /*by_layer=*/false) {}
  void adjust_gradients() override {
    at::NoGradGuard no_grad;
    for (auto& e : edits_) {
      if (Tensor& g = e->u.mutable_grad(); g.defined()) g.sub_(at::mm(e->kept_u, at::mm(e->kept_u.t(), g)));
      if (Tensor& g = e->v.mutable_grad(); g.defined()) g.sub_(at::mm(at::mm(g, e->kept_v.t()), e->kept_v));
    }
  }
  std::vector<std::string> ignored_keys() const override { return {"target_svd_config"}; }

 private:
  const std::vector<std::string>& default_targets(const Model& model) const override {
    Model copy = model;
    defaults_.clear();
    visit_linears(copy, [&](Site, int64_t layer, Linear& linear) {
      if (layer == 0) defaults_.push_back(last_part(linear.path));
    });
    return defaults_;
  }
  int64_t kept_components(const Linear& linear) const {
    const int64_t all = std::min(linear.in(), linear.out());
    Json wanted = config_.effective_rank;
    std::string by;
    if (config_.rank_pattern.is_object())
      for (auto& [key, value] : config_.rank_pattern.items()) {
        if (!full_match(".*(?:" + key + ").*", linear.path)) continue;
        if (!by.empty() && value != wanted)
          does_not_fit(linear, fmt::format("rank_pattern: '{}' and '{}' give it different ranks", by, key), "make one narrower");
        wanted = value, by = key;
      }
    if (!wanted.is_null() && !wanted.is_number())
      usage_error("osf", fmt::format("effective_rank must be a number or null but is {}", json_line(wanted)));
    const double value = wanted.is_null() ? 0 : wanted.get<double>();
    const bool share = wanted.is_number_float() && value > 0 && value <= 1;
    const int64_t k = wanted.is_null() ? all / 2 : static_cast<int64_t>(share ? static_cast<double>(all) * value : value);
    if (k < 1 || k >= all)
      does_not_fit(linear,
                   fmt::format("effective_rank must keep between 1 and {} components but is {}", all - 1, json_line(wanted)),
                   "choose another rank or other target_modules");
    return k;
  }
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    at::NoGradGuard no_grad;
    const auto options = adapter_options(context.model);
    const int64_t k = kept_components(linear), rest = std::min(linear.in(), linear.out()) - k;
    const auto [u, s, vh] = exact_svd(linear.weight.detach().to(options));
    auto edit = std::make_shared<OsfEdit>();
    edit->kept_u = u.narrow(1, 0, k).contiguous();
    edit->kept_s = s.narrow(0, 0, k).contiguous();
    edit->kept_v = vh.narrow(0, 0, k).contiguous();
    const auto start = [&](const Tensor& part) {
      return config_.init_weights ? part.clone(at::MemoryFormat::Contiguous)
                                  : normal(part.sizes(), 1, options, context.generator);
    };
    edit->u = param(linear, "osf_svd_params.U_low", start(u.narrow(1, k, rest)));
    edit->s = param(linear, "osf_svd_params.S_low", start(s.narrow(0, k, rest)), false);
    edit->v = param(linear, "osf_svd_params.V_low", start(vh.narrow(0, k, rest)));
    edit->trained = {edit->u, edit->s, edit->v};
    edits_.push_back(edit);
    return edit;
  }
  OsfConfig config_;
  mutable std::vector<std::string> defaults_;
  std::vector<std::shared_ptr<OsfEdit>> edits_;
};

}  // namespace

extern const MethodRow kOsf;
const MethodRow kOsf{
    .name = "osf",
    .peft_type = "OSF",
    .title = "OSF",
    .paper = "arXiv 2504.07097",
    .trains = "the smaller singular components of the weights, apart from the space of the larger ones",
    .idea = Idea::Orthogonal,
    .formula = "y = (U_k S_k V_kᵀ + U S Vᵀ) x + b,  the first k components frozen, gradients of U and V orthogonal to them",
    .size = "(m − k) (in + out + 1) a linear, m = min(in, out)",
    .cost =
        "a product of the size of the weight's own rank a step, not a token; the decomposition of every weight at the start and "
        "on loading; none after merging",
    .format = Format::Peft,
    .mergeable = true,
    .identity = true,
    .learning_rate = 1e-4,
    .make = []() -> std::unique_ptr<Method> { return std::make_unique<Osf>(); }};

}  // namespace graft
