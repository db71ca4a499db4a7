// LoHa (arXiv 2108.06098, FedPara): the update is the product, entry by entry, of two low-rank matrices; its rank can reach r².
//   ΔW = α/r · (A₁ B₁) ⊙ (A₂ B₂)
// Trained: A₁, A₂ [out, r], B₁, B₂ [r, in]. Init: all kaiming but B₂ = 0: the identity. Merges.
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct LohaConfig : WeightMethodConfig {
  int64_t r = 8;
  double alpha = 8, rank_dropout = 0, module_dropout = 0;
  bool use_effective_conv2d = false, init_weights = true;
  Json alpha_pattern = Json::object();
  void visit(Fields& f) override {
    f("r", r, "rank of each of the two products", at_least(1));
    f("alpha", alpha, "the update is scaled by alpha / r", above(0));
    f("rank_dropout", rank_dropout, "the share of the update's rows that a step leaves out", between(0, 0.999));
    f("module_dropout", module_dropout, "how often a step leaves out a module's update", between(0, 0.999));
    f("use_effective_conv2d", use_effective_conv2d, "for convolutions, which these models have not");
    f("init_weights", init_weights, "true: the second B starts at 0; false: all kaiming");
    f("alpha_pattern", alpha_pattern, "other alpha for modules whose path a key matches: {regex: alpha}");
    visit_rank_pattern(f);
    visit_common(f);
  }
};

struct LohaEdit : DeltaEdit {
  double scale = 1;
  Tensor delta(const Tensor&) const override { return at::mm(trained[0], trained[1]) * at::mm(trained[2], trained[3]) * scale; }
};

class Loha : public WeightMethod {
 public:
  Loha() : WeightMethod("loha", config_) {}

 private:
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    const auto options = adapter_options(context.model);
    const int64_t r = rank_of(linear, config_.r), in = linear.in(), out = linear.out();
    auto edit = std::make_shared<LohaEdit>();
    edit->scale = patterned("alpha_pattern", config_.alpha_pattern, linear, config_.alpha) / static_cast<double>(r);
    edit->drops = {.rows = config_.rank_dropout, .whole = config_.module_dropout, .rows_scaled = true};
    const auto kaiming = [&](const char* suffix, std::vector<int64_t> shape) {
      edit->trained.push_back(param(linear, suffix, kaiming_uniform(shape, options, context.generator)));
    };
    kaiming("hada_w1_a", {out, r});
    kaiming("hada_w1_b", {r, in});
    kaiming("hada_w2_a", {out, r});
    if (config_.init_weights)
      edit->trained.push_back(param(linear, "hada_w2_b", zeros({r, in}, options)));
    else
      kaiming("hada_w2_b", {r, in});
    return edit;
  }
  LohaConfig config_;
};

}  // namespace

extern const MethodRow kLoha;
const MethodRow kLoha{
    .name = "loha",
    .peft_type = "LOHA",
    .title = "LoHa",
    .paper = "arXiv 2108.06098",
    .trains = "two low-rank matrices whose entries are multiplied",
    .idea = Idea::LowRank,
    .formula = "y = W x + b + α/r · ((A₁ B₁) ⊙ (A₂ B₂)) x",
    .size = "2 r (in + out) a linear",
    .cost = "ΔW is made from 4 r in · out operations a step, and its gradient costs 2 in · out a token; none after merging",
    .format = Format::Peft,
    .mergeable = true,
    .identity = true,
    .learning_rate = 1e-3,
    .make = []() -> std::unique_ptr<Method> { return std::make_unique<Loha>(); }};

}  // namespace graft
