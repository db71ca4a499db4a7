// DeLoRA (arXiv 2503.18225): a low-rank update of bounded length, its directions and its strength apart.
//   ΔW = B diag(λ / (r · ‖a_i‖ · ‖b_i‖)) A, column j times ‖column j of W‖;  a_i rows of A, b_i columns of B, norms at least 1e-4
// Trained: A [r, in], B [out, r], λ [1]. Init: A kaiming, B 0, λ = delora_lambda: the identity. Merges.
// The norms of W's columns stand in the file and are read from there. PEFT's module_dropout is a dropout on the update's input.
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct DeloraConfig : WeightMethodConfig {
  int64_t r = 8;
  double delora_lambda = 15, module_dropout = 0;
  bool init_weights = true;
  Json lambda_pattern = Json::object();
  void visit(Fields& f) override {
    f("r", r, "rank of the update", at_least(1));
    f("delora_lambda", delora_lambda, "where the strength of the update starts: its bound as a share of W", above(0));
    f("module_dropout", module_dropout, "dropout on the update's input", between(0, 0.999));
    f("init_weights", init_weights, "true: A kaiming, B 0; false: both kaiming");
    f("lambda_pattern", lambda_pattern, "other delora_lambda for modules whose path a key matches: {regex: lambda}");
    visit_rank_pattern(f);
    visit_common(f, "delora_only");
  }
};

struct DeloraEdit : FactorsEdit {
  Tensor a, b, lambda;  // [r, in], [out, r], [1]
  Tensor column_norms;  // [in]
  LowRank factors() const override {
    const Tensor lengths = a.norm(2, 1).clamp_min(1e-4) * b.norm(2, 0).clamp_min(1e-4);
    return {a * column_norms, b * (lambda / static_cast<double>(a.size(0)) / lengths), 1};
  }
};

class Delora : public WeightMethod {
 public:
  Delora() : WeightMethod("delora", config_) {}

 private:
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    const auto options = adapter_options(context.model);
    const int64_t r = rank_of(linear, config_.r);
    const double lambda = patterned("lambda_pattern", config_.lambda_pattern, linear, config_.delora_lambda);
    auto edit = std::make_shared<DeloraEdit>();
    edit->drops.input = config_.module_dropout;
    edit->a = param(linear, "delora_A", kaiming_uniform({r, linear.in()}, options, context.generator));
    edit->b = param(linear, "delora_B",
                    config_.init_weights ? zeros({linear.out(), r}, options)
                                         : kaiming_uniform({linear.out(), r}, options, context.generator));
    edit->lambda = param(linear, "delora_lambda", ones({1}, options) * lambda, /*decay=*/false);
    edit->column_norms =
        frozen(kPeftPrefix + linear.path + ".delora_w_norm", linear.weight.detach().to(options).norm(2, 0), true);
    edit->trained = {edit->a, edit->b, edit->lambda};
    return edit;
  }
  DeloraConfig config_;
};

}  // namespace

extern const MethodRow kDelora;
const MethodRow kDelora{.name = "delora",
                        .peft_type = "DELORA",
                        .title = "DeLoRA",
                        .paper = "arXiv 2503.18225",
                        .trains = "a low-rank update of bounded length, and the bound",
                        .idea = Idea::LowRank,
                        .formula = "y = W x + b + B diag(λ / (r ‖a_i‖ ‖b_i‖)) A (‖columns of W‖ ⊙ x)",
                        .size = "r (in + out) + 1 a linear",
                        .cost = "as LoRA; none after merging",
                        .format = Format::Peft,
                        .mergeable = true,
                        .identity = true,
                        .learning_rate = 1e-3,
                        .make = []() -> std::unique_ptr<Method> { return std::make_unique<Delora>(); }};

}  // namespace graft
