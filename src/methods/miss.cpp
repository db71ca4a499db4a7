// MiSS (arXiv 2409.15371, once Bone): one small matrix, shared by all shards of the weight.
//   default  ΔW = Dᵀ [out, r] repeated along the input and cut at in: y = W x + b + Dᵀ (sum of x's pieces of length r)
//   "mini"   as the default with D [r, mini_r] repeated along the output
//   "bat"    the weight in r × r blocks: W_ab + W_ab D_a + D_a
// Trained: D [r, out], [r, mini_r] or [out/r, r, r]. Init 0: the identity. Merges.
// PEFT calls the variant init_weights, and so do we. With "bat" miss_dropout has no effect there; here it is refused.
#include "core/check.h"
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct MissConfig : WeightMethodConfig {
  int64_t r = 64, mini_r = 1;
  double miss_dropout = 0;
  Json init_weights = true;
  void visit(Fields& f) override {
    f("r", r, "the length of the pieces of the input, or the size of a block", at_least(1));
    f("mini_r", mini_r, "with init_weights = mini: columns of D, repeated along the output; it must divide that", at_least(1));
    f("miss_dropout", miss_dropout, "dropout on the update's input", between(0, 0.999));
    f("init_weights", init_weights, "the variant: true, \"bat\" or \"mini\"; false: as true but random at the start");
    visit_common(f, "MiSS_only");
  }
};

struct MissEdit : UpdateEdit {
  Tensor d;  // [r, out / repeats]
  int64_t repeats = 1;
  Tensor update(const Tensor& x) const override {
    const int64_t r = d.size(0), rest = (r - x.size(1) % r) % r;
    const Tensor whole = rest ? at::constant_pad_nd(x, {0, rest}) : x;
    return at::mm(whole.reshape({x.size(0), -1, r}).sum(1), d).repeat({1, repeats});
  }
};

struct MissBatEdit : DeltaEdit {
  Tensor delta(const Tensor& weight) const override {
    const Tensor& d = trained[0];  // [out / r, r, r]
    const int64_t r = d.size(2);
    const Tensor blocks =
        weight.reshape({weight.size(0) / r, r, weight.size(1) / r, r}).permute({2, 0, 1, 3});  // [in / r, out / r, r, r]
    return (at::matmul(blocks, d) + d).permute({1, 2, 0, 3}).reshape(weight.sizes());
  }
};

class Miss : public WeightMethod {
 public:
  Miss() : WeightMethod("miss", config_) {}

 private:
  void prepare(AttachContext&) override {
    const Json& variant = config_.init_weights;
    if (!variant.is_boolean() && variant != "bat" && variant != "mini")
      usage_error("miss", fmt::format("init_weights must be true, false, \"bat\" or \"mini\" but is {}", json_line(variant)));
    if (variant == "bat" && config_.miss_dropout > 0)
      usage_error("miss", "miss_dropout has no meaning with init_weights = \"bat\"", "set it to 0");
  }
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    const auto options = adapter_options(context.model);
    const int64_t r = config_.r, in = linear.in(), out = linear.out();
    if (config_.init_weights == "bat") {
      if (in % r || out % r)
        does_not_fit(linear, fmt::format("with init_weights = \"bat\" r must divide both sides of the weight but is {}", r),
                     "choose another r");
      auto edit = std::make_shared<MissBatEdit>();
      edit->trained = {param(linear, "miss_block", zeros({out / r, r, r}, options))};
      return edit;
    }
    const bool mini = config_.init_weights == "mini";
    if (r > in) does_not_fit(linear, fmt::format("r must be at most the input's width but is {}", r), "choose a smaller r");
    if (mini && out % config_.mini_r)
      does_not_fit(linear, fmt::format("mini_r must divide the output's width but is {}", config_.mini_r),
                   "choose another mini_r");
    auto edit = std::make_shared<MissEdit>();
    edit->drops.input = config_.miss_dropout;
    edit->repeats = mini ? out / config_.mini_r : 1;
    const std::vector<int64_t> shape{r, out / edit->repeats};
    edit->d = param(linear, "miss_block",
                    config_.init_weights == false ? kaiming_uniform(shape, options, context.generator) : zeros(shape, options));
    edit->trained = {edit->d};
    return edit;
  }
  MissConfig config_;
};

}  // namespace

extern const MethodRow kMiss;
const MethodRow kMiss{
    .name = "miss",
    .peft_type = "MISS",
    .title = "MiSS",
    .paper = "arXiv 2409.15371",
    .trains = "a small matrix that all shards of the weight share",
    .idea = Idea::LowRank,
    .formula = "y = W x + b + Dᵀ (x₁ + x₂ + …),  x in pieces of length r",
    .size = "r out a linear; mini: r mini_r; bat: r out",
    .cost = "in + 2 r out operations a token and pass, half of LoRA's; bat: ΔW costs 2 r in · out a step; none after merging",
    .format = Format::Peft,
    .mergeable = true,
    .identity = true,
    .learning_rate = 2e-4,
    .make = []() -> std::unique_ptr<Method> { return std::make_unique<Miss>(); }};

}  // namespace graft
