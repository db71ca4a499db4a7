// BEFT (arXiv 2509.15974): a new bias on chosen linears, the values' by default, whether the base has one or not.
//   y = W x + b + β
// Trained: β [1, out]. Init 0: the identity. Merges into the base's bias, where there is one.
// Where queries, keys and values are one module PEFT asks for target_modules; we take that module.
#include "core/check.h"
#include "core/torch.h"
#include "kernels/linear.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct BeftConfig : WeightMethodConfig {
  bool init_weights = true;
  void visit(Fields& f) override {
    f("init_weights", init_weights, "true: no bias at the start; false: a random one");
    visit_common(f);
  }
};

struct BeftEdit : WeightEdit {
  Tensor beta;  // [1, out]

  Tensor sum(const Linear& base) const { return base.bias.defined() ? base.bias.to(beta.scalar_type()) + beta[0] : beta[0]; }
  Tensor linear(const Linear& base, const Tensor& x, bool) const override { return kernels::linear(x, base.weight, sum(base)); }
  std::optional<Linear> merged(const Linear& base) const override {
    at::NoGradGuard no_grad;
    if (!base.bias.defined())
      usage_error("merge", fmt::format("beft adds a bias to '{}', which has none in the base", base.path),
                  "keep the adapter beside the base");
    Linear result = base;
    result.bias = sum(base);
    return result;
  }
};

class Beft : public WeightMethod {
 public:
  Beft() : WeightMethod("beft", config_, /*excludes=*/false, /*layers=*/false) {}

 protected:
  const std::vector<std::string>& default_targets(const Model& model) const override {
    const Block& block = model.blocks.front();
    return defaults_ = {last_part((block.v.present() ? block.v : block.qkv).path)};
  }
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    const auto options = adapter_options(context.model);
    auto edit = std::make_shared<BeftEdit>();
    edit->beta =
        param(linear, "beft_bias",
              config_.init_weights ? zeros({1, linear.out()}, options) : normal({1, linear.out()}, 1, options, context.generator),
              false);
    return edit;
  }

 private:
  BeftConfig config_;
  mutable std::vector<std::string> defaults_;
};

}  // namespace

extern const MethodRow kBeft;
const MethodRow kBeft{.name = "beft",
                      .peft_type = "BEFT",
                      .title = "BEFT",
                      .paper = "arXiv 2509.15974",
                      .trains = "a new bias of the values",
                      .idea = Idea::Scaling,
                      .formula = "y = W x + b + β",
                      .size = "out a linear",
                      .cost = "the base's; merges only where the base has biases",
                      .format = Format::Peft,
                      .mergeable = true,
                      .identity = true,
                      .learning_rate = 5e-3,
                      .make = []() -> std::unique_ptr<Method> { return std::make_unique<Beft>(); }};

}  // namespace graft
