// HiRA (ICLR 2025, "Hadamard High-Rank Adaptation"): y = W x + b + (W ⊙ B A) drop(x), without a scale.
// Trained: A [r, in], B [out, r]. Init: A kaiming, B 0: the identity. Merges: W + W ⊙ BA, which can have full rank.
// Deviation: PEFT can adapt the token embedding too; here only linears. PEFT takes a rank_pattern but gives every module the rank
// r all the same, so there is no such option here, and in a file it is passed over.
#include "core/check.h"
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct HiraConfig : WeightMethodConfig {
  int64_t r = 32;
  double hira_dropout = 0;
  Json init_weights = true;
  void visit(Fields& f) override {
    f("r", r, "rank of the factor that W is multiplied by", at_least(1));
    f("hira_dropout", hira_dropout, "dropout on the update's input", between(0, 0.999));
    f("init_weights", init_weights, "true: A kaiming, B 0; \"gaussian\": A normal with std 1/r, B 0; false: both normal");
    visit_common(f, nullptr, true);
  }
};

struct HiraEdit : DeltaEdit {
  Tensor a, b;
  Tensor delta(const Tensor& weight) const override { return weight * at::mm(b, a); }
};

class Hira : public WeightMethod {
 public:
  Hira() : WeightMethod("hira", config_) {}
  std::vector<std::string> ignored_keys() const override { return {"rank_pattern"}; }

 private:
  void prepare(AttachContext&) override {
    if (!config_.init_weights.is_boolean() && config_.init_weights != "gaussian")
      usage_error("hira",
                  fmt::format("init_weights must be true, false or \"gaussian\" but is {}", json_line(config_.init_weights)));
  }
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    const auto options = adapter_options(context.model);
    const int64_t r = config_.r;
    const bool kaiming = config_.init_weights == true, random = config_.init_weights == false;
    const std::vector<int64_t> a_shape{r, linear.in()}, b_shape{linear.out(), r};
    auto edit = std::make_shared<HiraEdit>();
    edit->drops.input = config_.hira_dropout;
    edit->a = param(linear, "hira_A",
                    kaiming ? kaiming_uniform(a_shape, options, context.generator)
                            : normal(a_shape, random ? 1 : 1 / static_cast<double>(r), options, context.generator));
    edit->b = param(linear, "hira_B", random ? normal(b_shape, 1, options, context.generator) : zeros(b_shape, options));
    edit->trained = {edit->a, edit->b};
    return edit;
  }
  HiraConfig config_;
};

}  // namespace

extern const MethodRow kHira;
const MethodRow kHira{
    .name = "hira",
    .peft_type = "HIRA",
    .title = "HiRA",
    .paper = "ICLR 2025, openreview TwJrTz9cRS",
    .trains = "a low-rank factor that the weights are multiplied by, entry by entry",
    .idea = Idea::LowRank,
    .formula = "y = W x + b + (W ⊙ B A) x",
    .size = "r (in + out) a linear",
    .cost = "ΔW is made from r in · out operations a step, and its gradient costs 2 in · out a token; none after merging",
    .format = Format::Peft,
    .mergeable = true,
    .identity = true,
    .learning_rate = 5e-3,
    .make = []() -> std::unique_ptr<Method> { return std::make_unique<Hira>(); }};

}  // namespace graft
