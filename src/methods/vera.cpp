// VeRA (arXiv 2310.11454): one pair of frozen random factors for all linears, scaled by trained vectors; PVeRA (arXiv
// 2512.07703): what lies between the factors is drawn in training, with a learned mean and variance.
//   VeRA   y = W x + b + λ_b ⊙ (B (λ_d ⊙ (A drop(x)))),  A = the first `in` columns of the shared A, B = the first `out` rows of
//          the shared B
//   PVeRA  [m; l] = λ_d ⊙ (A drop(x)) with twice the rows;  y = W x + b + λ_b ⊙ (B (m + e^{l/2} ⊙ z)), z standard normal for
//          every token in training (or always: sample_at_inference), 0 else
// Trained: λ_d [r] (PVeRA: [2r]), λ_b [out]. Init: λ_d = d_initial, λ_b = 0: the identity; A [r, largest in] (PVeRA: [2r, ...]),
// B [largest out, r] uniform in ±√(6 / fan_in) from a generator with the seed projection_prng_key, as PEFT draws them. Merges,
// PVeRA with the mean.
// The factors stand in the file (save_projection) or are drawn again from the seed; those of a file win over those of the seed.
// Deviation: PVeRA's z comes from the run's seed, not from PEFT's generator_seed.
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>

#include "core/torch.h"
#include "kernels/dropout.h"
#include "kernels/linear.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct VeraConfig : WeightMethodConfig {
  bool drawn = false;  // PVeRA
  int64_t r = 256, projection_prng_key = 0;
  bool save_projection = true, init_weights = true, sample_at_inference = false;
  double dropout = 0, d_initial = 0.1;
  void visit(Fields& f) override {
    f("r", r, "rank of the shared factors", at_least(1));
    f("projection_prng_key", projection_prng_key, "the seed of the shared factors", at_least(0));
    f("save_projection", save_projection, "write the shared factors into the file too");
    f(drawn ? "pvera_dropout" : "vera_dropout", dropout, "dropout on the update's input", between(0, 0.999));
    f("d_initial", d_initial, "where the entries of lambda_d start");
    f("init_weights", init_weights, "true: lambda_d = d_initial, lambda_b = 0; false: lambda_d normal, lambda_b = 1");
    if (drawn) f("sample_at_inference", sample_at_inference, "draw outside training too, in place of the mean");
    visit_common(f, drawn ? "pvera_only" : "vera_only", true);
  }
};

struct VeraEdit : FactorsEdit {
  Tensor a, b;                // views of the shared factors
  Tensor lambda_d, lambda_b;  // [r], [out]
  LowRank factors() const override { return {lambda_d.unsqueeze(1) * a, lambda_b.unsqueeze(1) * b, 1}; }
};

struct PveraEdit : VeraEdit {
  bool always = false;  // draw outside training too

  LowRank factors() const override {
    const int64_t r = b.size(1);
    return {lambda_d.narrow(0, 0, r).unsqueeze(1) * a.narrow(0, 0, r), lambda_b.unsqueeze(1) * b, 1};
  }
  std::optional<LowRank> low_rank(bool training) const override {
    return training || always ? std::nullopt : VeraEdit::low_rank(training);
  }
  Tensor linear(const Linear& base, const Tensor& x, bool training) const override {
    if (!training && !always) return VeraEdit::linear(base, x, training);
    const int64_t r = b.size(1);
    const Tensor input = (training && drops.input > 0 ? kernels::dropout(x, drops.input) : x).to(a.scalar_type());
    const Tensor both = at::mm(input, a.t()) * lambda_d, mean = both.narrow(1, 0, r),
                 deviation = (both.narrow(1, r, r) / 2).exp();
    const Tensor code = mean + deviation * kernels::normal_noise(mean.sizes(), mean.options());
    const Tensor y = kernels::linear(x, base.weight, base.bias);
    return y + (at::mm(code, b.t()) * lambda_b).to(y.scalar_type());
  }
};

class Vera : public WeightMethod {
 public:
  explicit Vera(bool drawn = false)
      : WeightMethod(drawn ? "pvera" : "vera", config_, /*excludes=*/false), prefix_(drawn ? "pvera_" : "vera_") {
    config_.drawn = drawn;
  }
  std::vector<std::string> ignored_keys() const override { return {"generator_seed"}; }

 private:
  void prepare(AttachContext& context) override {
    int64_t in = 0, out = 0;
    for (auto& target : targets_) in = std::max(in, target.linear->in()), out = std::max(out, target.linear->out());
    at::Generator generator = at::detail::createCPUGenerator(static_cast<uint64_t>(config_.projection_prng_key));
    const auto draw = [&](int64_t rows, int64_t columns) {
      return uniform({rows, columns}, std::sqrt(6 / static_cast<double>(columns)), adapter_options(context.model), generator);
    };
    a_ = frozen("base_model." + prefix_ + "A", draw(rows(), in), config_.save_projection);
    b_ = frozen("base_model." + prefix_ + "B", draw(out, config_.r), config_.save_projection);
  }
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    const auto options = adapter_options(context.model);
    const bool usual = config_.init_weights;
    std::shared_ptr<VeraEdit> edit;
    if (config_.drawn) {
      auto drawn = std::make_shared<PveraEdit>();
      drawn->always = config_.sample_at_inference;
      edit = drawn;
    } else {
      edit = std::make_shared<VeraEdit>();
    }
    edit->drops.input = config_.dropout;
    edit->a = a_.narrow(1, 0, linear.in());
    edit->b = b_.narrow(0, 0, linear.out());
    edit->lambda_d = param(linear, prefix_ + "lambda_d",
                           usual ? ones({rows()}, options) * config_.d_initial : normal({rows()}, 1, options, context.generator));
    edit->lambda_b = param(linear, prefix_ + "lambda_b", usual ? zeros({linear.out()}, options) : ones({linear.out()}, options));
    edit->trained = {edit->lambda_d, edit->lambda_b};
    return edit;
  }
  int64_t rows() const { return config_.drawn ? 2 * config_.r : config_.r; }

  VeraConfig config_;
  std::string prefix_;
  Tensor a_, b_;
};

}  // namespace

extern const MethodRow kVera, kPvera;
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
const MethodRow kPvera{
    .name = "pvera",
    .peft_type = "PVERA",
    .title = "PVeRA",
    .paper = "arXiv 2512.07703",
    .trains = "two vectors that scale a shared pair of random factors, with noise of a learned size between them",
    .idea = Idea::LowRank,
    .formula = "y = W x + b + λ_b ⊙ B (m + e^{l/2} ⊙ z),  [m; l] = λ_d ⊙ A x,  z normal in training, 0 else",
    .size = "2 r + out a linear",
    .cost = "VeRA's, with a first factor of twice the rows and r random numbers a token in training; none after merging",
    .format = Format::Peft,
    .mergeable = true,
    .identity = true,
    .learning_rate = 1e-2,
    .make = []() -> std::unique_ptr<Method> { return std::make_unique<Vera>(true); }};

}  // namespace graft
