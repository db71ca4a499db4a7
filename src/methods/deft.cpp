// DEFT (PEFT's deft; with para = true PaRa): a subspace of the outputs is taken out of the weight and filled anew.
//   W' = (I − P_proj) W + s · Q R,  P_proj = Q rightᵀ;  "relu": Q = P, right = max(P, 0); "qr": Q = right = the Q of P's QR
// as LoRA: W' = W + B A with B = Q and A = s · R − rightᵀ W; s = alpha / r, or 1 without alpha. para: no R.
// Trained: P [out, r], R [r, in]. Init: P normal (0, 0.02), R = rightᵀ W / s: the identity (not with para or init_weights =
// false). Merges. r is at most out. Dropout acts on the filling alone, not on what is taken out.
#include "core/torch.h"
#include "kernels/dropout.h"
#include "kernels/linear.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct DeftConfig : WeightMethodConfig {
  int64_t r = 8;
  std::optional<double> alpha;
  double init_scale = 1, deft_dropout = 0;
  bool para = false, init_weights = true;
  std::string decomposition_method = "relu";
  void visit(Fields& f) override {
    f("r", r, "rank of what is taken out", at_least(1));
    f("alpha", alpha, "the filling is scaled by alpha / r; null: not scaled", at_least(0));
    f("decomposition_method", decomposition_method, "how P becomes a projection", one_of({"relu", "qr"}));
    f("para", para, "only take out");
    f("init_scale", init_scale, "with init_weights = false: R starts normal with 0.02 times this", above(0));
    f("init_weights", init_weights, "true: start as the base; false: P and R normal");
    f("deft_dropout", deft_dropout, "dropout on the filling's input", between(0, 0.999));
    visit_common(f, "deft_only", true);
  }
};

struct DeftEdit : FactorsEdit {
  Tensor weight, p, r;  // the base's [out, in], [out, r], [r, in] or undefined
  double scale = 1;
  bool qr = false;

  struct Sides {
    Tensor q, right;
  };
  Sides sides() const {
    const Tensor q = qr ? std::get<0>(at::linalg_qr(p)) : p;
    return {q, qr ? q : at::relu(p)};
  }
  LowRank factors() const override {
    const auto [q, right] = sides();
    const Tensor out = at::mm(right.t(), weight.to(p.scalar_type()));
    return {r.defined() ? r * scale - out : -out, q, 1};
  }
  Tensor linear(const Linear& base, const Tensor& x, bool training) const override {
    if (!training || !drops.any() || !r.defined()) return without_drops(base, x);
    const auto [q, right] = sides();
    const Tensor dropped = kernels::dropout(x, drops.input).to(p.scalar_type());
    const Tensor inner = at::mm(dropped, r.t()) * scale - at::mm(kernels::linear(x, base.weight, {}).to(p.scalar_type()), right);
    const Tensor y = kernels::linear(x, base.weight, base.bias);
    return y + at::mm(inner, q.t()).to(y.scalar_type());
  }
};

class Deft : public WeightMethod {
 public:
  Deft() : WeightMethod("deft", config_) {}

 private:
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    const auto options = adapter_options(context.model);
    const int64_t r = std::min(config_.r, linear.out());
    auto edit = std::make_shared<DeftEdit>();
    edit->drops.input = config_.deft_dropout;
    edit->weight = linear.weight.detach();
    edit->qr = config_.decomposition_method == "qr";
    edit->scale = config_.alpha.value_or(0) > 0 ? *config_.alpha / static_cast<double>(r) : 1;
    edit->p = param(linear, "deft_P", normal({linear.out(), r}, 0.02, options, context.generator));
    edit->trained = {edit->p};
    if (config_.para) return edit;
    at::NoGradGuard no_grad;
    edit->r = param(linear, "deft_R",
                    config_.init_weights ? at::mm(edit->sides().right.t(), edit->weight.to(options)) / edit->scale
                                         : normal({r, linear.in()}, 0.02 * config_.init_scale, options, context.generator));
    edit->trained.push_back(edit->r);
    return edit;
  }
  DeftConfig config_;
};

}  // namespace

extern const MethodRow kDeft;
const MethodRow kDeft{.name = "deft",
                      .peft_type = "DEFT",
                      .title = "DEFT",
                      .paper = "HF PEFT 0.21; with para: arXiv 2406.05641",
                      .trains = "a subspace of the outputs and what stands there instead of the base",
                      .idea = Idea::LowRank,
                      .formula = "y = (I − P max(P, 0)ᵀ) W x + b + s · P R x",
                      .size = "r (in + out) a linear",
                      .cost = "as LoRA, and 2 r in · out operations a step; none after merging",
                      .format = Format::Peft,
                      .mergeable = true,
                      .identity = true,
                      .learning_rate = 3e-4,
                      .make = []() -> std::unique_ptr<Method> { return std::make_unique<Deft>(); }};

}  // namespace graft
