// VeRA (arXiv 2310.11454): one pair of frozen random factors for all linears, scaled by trained vectors.
//   y = W x + b + λ_b ⊙ (B (λ_d ⊙ (A drop(x)))),  A = the first `in` columns of the shared A, B = the first `out` rows of the
//   shared B
// Trained: λ_d [r], λ_b [out]. Init: λ_d = d_initial, λ_b = 0: the identity; A [r, largest in], B [largest out, r] uniform in
// ±√(6 / fan_in) from a generator with the seed projection_prng_key, as PEFT draws them. Merges.
// The factors stand in the file (save_projection) or are drawn again from the seed; those of a file win over those of the seed.
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>

#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct VeraConfig : WeightMethodConfig {
  int64_t r = 256, projection_prng_key = 0;
  bool save_projection = true, init_weights = true;
  double vera_dropout = 0, d_initial = 0.1;
  void visit(Fields& f) override {
    f("r", r, "rank of the shared factors", at_least(1));
    f("projection_prng_key", projection_prng_key, "the seed of the shared factors", at_least(0));
    f("save_projection", save_projection, "write the shared factors into the file too");
    f("vera_dropout", vera_dropout, "dropout on the update's input", between(0, 0.999));
    f("d_initial", d_initial, "where the entries of lambda_d start");
    f("init_weights", init_weights, "true: lambda_d = d_initial, lambda_b = 0; false: lambda_d normal, lambda_b = 1");
    visit_common(f, "vera_only", true);
  }
};

struct VeraEdit : FactorsEdit {
  Tensor a, b;                // views of the shared factors
  Tensor lambda_d, lambda_b;  // [r], [out]
  LowRank factors() const override { return {lambda_d.unsqueeze(1) * a, lambda_b.unsqueeze(1) * b, 1}; }
};

class Vera : public WeightMethod {
 public:
  Vera() : WeightMethod("vera", config_, /*excludes=*/false) {}

 private:
  void prepare(AttachContext& context) override {
    int64_t in = 0, out = 0;
    for (auto& target : targets_) in = std::max(in, target.linear->in()), out = std::max(out, target.linear->out());
    at::Generator generator = at::detail::createCPUGenerator(static_cast<uint64_t>(config_.projection_prng_key));
    const auto draw = [&](int64_t rows, int64_t columns) {
      return uniform({rows, columns}, std::sqrt(6 / static_cast<double>(columns)), adapter_options(context.model), generator);
    };
    a_ = frozen("base_model.vera_A", draw(config_.r, in), config_.save_projection);
    b_ = frozen("base_model.vera_B", draw(out, config_.r), config_.save_projection);
  }
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    const auto options = adapter_options(context.model);
    const bool usual = config_.init_weights;
    auto edit = std::make_shared<VeraEdit>();
    edit->drops.input = config_.vera_dropout;
    edit->a = a_.narrow(1, 0, linear.in());
    edit->b = b_.narrow(0, 0, linear.out());
    edit->lambda_d =
        param(linear, "vera_lambda_d",
              usual ? ones({config_.r}, options) * config_.d_initial : normal({config_.r}, 1, options, context.generator));
    edit->lambda_b = param(linear, "vera_lambda_b", usual ? zeros({linear.out()}, options) : ones({linear.out()}, options));
    edit->trained = {edit->lambda_d, edit->lambda_b};
    return edit;
  }
  VeraConfig config_;
  Tensor a_, b_;
};

}  // namespace

extern const MethodRow kVera;
const MethodRow kVera{.name = "vera",
                      .peft_type = "VERA",
                      .title = "VeRA",
                      .paper = "arXiv 2310.11454",
                      .trains = "two vectors that scale a shared pair of random factors",
                      .idea = Idea::LowRank,
                      .formula = "y = W x + b + λ_b ⊙ B (λ_d ⊙ A x),  A and B random and shared",
                      .size = "r + out a linear",
                      .cost = "LoRA of rank r, which is large; none after merging",
                      .format = Format::Peft,
                      .mergeable = true,
                      .identity = true,
                      .learning_rate = 1e-2,
                      .make = []() -> std::unique_ptr<Method> { return std::make_unique<Vera>(); }};

}  // namespace graft
