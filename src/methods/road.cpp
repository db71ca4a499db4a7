// RoAd (arXiv 2409.00119): pairs of outputs turned in the plane and scaled.
//   in each group of g outputs pairs p = j, q = j + g/2:  y'_p = c_p y_p − s_p y_q,  y'_q = c_q y_q + s_q y_p
//   c = α cos θ, s = α sin θ, y = W x + b, so the bias is turned too
// road_1 has one θ and α a pair, road_2 one an output, road_4 two an output: the first for c, the second for s.
// Trained: θ and α. Init θ = 0, α = 1: the identity. Merges: the rows of W and the bias, turned.
#include "core/check.h"
#include "core/torch.h"
#include "kernels/linear.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct RoadConfig : WeightMethodConfig {
  std::string variant = "road_1";
  int64_t group_size = 64;
  bool init_weights = true;
  void visit(Fields& f) override {
    f("variant", variant, "an angle and a factor a pair, an output, or two an output", one_of({"road_1", "road_2", "road_4"}));
    f("group_size", group_size,
      "outputs j and j + group_size / 2 of a group are a pair: an even divisor of each module's outputs", at_least(2));
    f("init_weights", init_weights, "true: no turn at the start; false: a random one");
    visit_common(f);
  }
};

struct RoadEdit : WeightEdit {
  Tensor theta, alpha;  // [out / 2], [out] or [2 out]
  int64_t group = 0;

  // y [n, out] with every row turned.
  Tensor turned(const Tensor& y) const {
    const int64_t out = y.size(1), kinds = 4 * theta.size(0) / out;  // 2, 4 or 8 halves of a group
    const auto halves = [&](const Tensor& t) { return t.view({out / group, kinds / 2, group / 2}); };
    Tensor c = halves(alpha * theta.cos()), s = halves(alpha * theta.sin());
    if (kinds == 8) c = c.narrow(1, 0, 2), s = s.narrow(1, 2, 2);
    const Tensor pairs = y.to(c.scalar_type()).reshape({y.size(0), out / group, 2, group / 2});
    const Tensor signed_s = at::cat({-s.narrow(1, 0, 1), s.narrow(1, s.size(1) - 1, 1)}, 1);
    return at::addcmul(pairs * c, pairs.flip(2), signed_s).view(y.sizes()).to(y.scalar_type());
  }
  Tensor linear(const Linear& base, const Tensor& x, bool) const override {
    return turned(kernels::linear(x, base.weight, base.bias));
  }
  std::optional<Linear> merged(const Linear& base) const override {
    at::NoGradGuard no_grad;
    Linear result = base;
    const auto type = theta.scalar_type();
    result.weight = turned(base.weight.to(type).t()).t();
    if (base.bias.defined()) result.bias = turned(base.bias.to(type).unsqueeze(0))[0];
    return result;
  }
};

class Road : public WeightMethod {
 public:
  Road() : WeightMethod("road", config_, /*excludes=*/false, /*layers=*/false) {}

 protected:
  void prepare(AttachContext&) override {
    if (config_.group_size % 2)
      usage_error("road", fmt::format("group_size must be even but is {}", config_.group_size), "it holds pairs");
  }
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    const int64_t out = linear.out();
    if (out % config_.group_size)
      does_not_fit(linear, fmt::format("group_size = {} does not divide the {} outputs", config_.group_size, out),
                   "choose an even divisor");
    const int64_t n = config_.variant == "road_1" ? out / 2 : config_.variant == "road_2" ? out : 2 * out;
    const auto options = adapter_options(context.model);
    const auto start = [&](double value) {
      return config_.init_weights ? at::full({n}, value, options) : value + normal({n}, 0.5, options, context.generator);
    };
    auto edit = std::make_shared<RoadEdit>();
    edit->group = config_.group_size;
    edit->theta = param(linear, "road_theta", start(0), false);
    edit->alpha = param(linear, "road_alpha", start(1), false);
    return edit;
  }

 private:
  RoadConfig config_;
};

}  // namespace

extern const MethodRow kRoad;
const MethodRow kRoad{.name = "road",
                      .peft_type = "ROAD",
                      .title = "RoAd",
                      .paper = "arXiv 2409.00119",
                      .trains = "angles and factors of pairs of outputs",
                      .idea = Idea::Scaling,
                      .formula = "(y'_p, y'_q) = α · turn(θ) (y_p, y_q) for pairs of y = W x + b",
                      .size = "out a linear (road_1)",
                      .cost = "three multiplications an output; none after merging",
                      .format = Format::Peft,
                      .mergeable = true,
                      .identity = true,
                      .learning_rate = 5e-3,
                      .make = []() -> std::unique_ptr<Method> { return std::make_unique<Road>(); }};

}  // namespace graft
