// RandLoRA (arXiv 2502.00987): a full-rank update as a sum of n = ⌈min(in, out) / r⌉ random low-rank products with trained
// diagonals.
//   ΔW = α/r · B' A' with B' = the bases B [max, n, r] flattened and A' = λ ⊙ A ⊙ γ [r, n, min] flattened; transposed for in >
//   out
// Trained: λ [r, n], γ [n, min(in, out)]. Init: λ 0, γ = 1 / max(n, min): the identity. Merges.
// Frozen and shared by all linears: A [r, 1, smallest side], B [largest side, n, r], drawn as PEFT draws them from a generator
// with the seed projection_prng_key (in bfloat16, then divided by their deviation), or ternary with sparse and very_sparse.
// Deviations from the paper that PEFT has and its files demand: B' is flattened with the rank inside, A' with the basis inside,
// so the products pair other ranks than the paper's. PEFT's files hold the bases again under every layer: those are left out and
// skipped.
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>

#include "core/torch.h"
#include "kernels/linear.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct RandloraConfig : WeightMethodConfig {
  int64_t r = 32, projection_prng_key = 0;
  double randlora_alpha = 640, randlora_dropout = 0;
  bool save_projection = true, sparse = false, very_sparse = false, init_weights = true;
  void visit(Fields& f) override {
    f("r", r, "rank of each base; smaller ones mean more bases and more parameters", at_least(1));
    f("projection_prng_key", projection_prng_key, "the seed of the shared bases", at_least(0));
    f("save_projection", save_projection, "write the shared bases into the file too");
    f("sparse", sparse, "bases of -1, 0 and 1 with probabilities 1/6, 2/3, 1/6");
    f("very_sparse", very_sparse, "the same with 1/(2 √d), 1 - 1/√d, 1/(2 √d) for the smaller side d");
    f("randlora_alpha", randlora_alpha, "the update is scaled by randlora_alpha / r", above(0));
    f("randlora_dropout", randlora_dropout, "dropout on the update's input", between(0, 0.999));
    f("init_weights", init_weights, "true: lambda 0; false: lambda normal");
    visit_common(f, "randlora_only", true);
  }
};

// Both products on x would be as large as the base's: ΔW is made as a matrix, unless a few rows are all that there is to do.
struct RandloraEdit : DeltaEdit {
  Tensor a, b;           // views of the shared bases: [r, 1, min], [max, n, r]
  Tensor lambda, gamma;  // [r, n], [n, min]
  double scale = 1;
  bool transposed = false;
  LowRank factors() const {
    const Tensor wide = b.flatten(1), narrow = (lambda.unsqueeze(2) * a * gamma).flatten(0, 1);  // [max, n r], [n r, min]
    return transposed ? LowRank{wide.t(), narrow.t(), scale} : LowRank{narrow, wide, scale};
  }
  Tensor delta(const Tensor&) const override {
    const auto [first, second, factor] = factors();
    return at::mm(second, first) * factor;
  }
  Tensor without_drops(const Linear& base, const Tensor& x) const override {
    if (at::GradMode::is_enabled() || 2 * x.size(0) > gamma.size(1)) return DeltaEdit::without_drops(base, x);
    const auto [first, second, factor] = factors();
    return kernels::low_rank_linears(x, {{base.weight, base.bias, first, second, factor}})[0];
  }
};

int64_t number_of_bases(int64_t side, int64_t r) {
  return (side + r - 1) / r;
}

class Randlora : public WeightMethod {
 public:
  Randlora() : WeightMethod("randlora", config_, /*excludes=*/false) {}

  void load_file_tensors(const NamedTensors& tensors, const std::string& source) override {
    NamedTensors once;
    for (auto& entry : tensors)
      if (!entry.first.starts_with(kPeftPrefix) ||
          !(entry.first.ends_with(".randlora_A") || entry.first.ends_with(".randlora_B")))
        once.push_back(entry);
    WeightMethod::load_file_tensors(once, source);
  }

 private:
  void prepare(AttachContext& context) override {
    int64_t in = 0, out = 0;
    for (auto& target : targets_) in = std::max(in, target.linear->in()), out = std::max(out, target.linear->out());
    const int64_t smallest = std::min(in, out), largest = std::max(in, out), n = number_of_bases(smallest, config_.r);
    at::Generator generator = at::detail::createCPUGenerator(static_cast<uint64_t>(config_.projection_prng_key));
    const double sparsity = config_.very_sparse ? std::sqrt(static_cast<double>(smallest)) : config_.sparse ? 3 : 0;
    const auto draw = [&](const std::vector<int64_t>& shape) {
      if (sparsity == 0) {
        const double bound = 1 / std::sqrt(static_cast<double>(shape[1] * shape[2]));
        return at::empty(shape, at::kBFloat16).uniform_(-bound, bound, generator);
      }
      const Tensor u = at::empty(shape, at::kFloat).uniform_(0, 1, generator);
      return (u > 1 - 1 / (2 * sparsity)).to(at::kFloat) - (u < 1 / (2 * sparsity)).to(at::kFloat);
    };
    const Tensor a = draw({config_.r, 1, smallest});
    std::vector<Tensor> slices;
    if (sparsity == 0)
      for (int64_t i = 0; i < n; ++i) slices.push_back(draw({largest, 1, config_.r}));
    const Tensor b = sparsity == 0 ? at::cat(slices, 1) : draw({largest, n, config_.r});
    const auto options = adapter_options(context.model);
    a_ = frozen("base_model.randlora_A", (a / a.std()).to(options), config_.save_projection);
    b_ = frozen("base_model.randlora_B", (b / b.std()).to(options), config_.save_projection);
  }
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    const auto options = adapter_options(context.model);
    const int64_t in = linear.in(), out = linear.out(), smaller = std::min(in, out), larger = std::max(in, out),
                  n = number_of_bases(smaller, config_.r);
    const bool usual = config_.init_weights;
    auto edit = std::make_shared<RandloraEdit>();
    edit->drops.input = config_.randlora_dropout;
    edit->scale = config_.randlora_alpha / static_cast<double>(config_.r);
    edit->transposed = in > out;
    edit->a = a_.narrow(2, 0, smaller);
    edit->b = b_.narrow(0, 0, larger).narrow(1, 0, n);
    edit->lambda = param(linear, "randlora_lambda",
                         usual ? zeros({config_.r, n}, options) : normal({config_.r, n}, 1, options, context.generator));
    edit->gamma =
        param(linear, "randlora_gamma", ones({n, smaller}, options) / static_cast<double>(usual ? std::max(n, smaller) : larger));
    edit->trained = {edit->lambda, edit->gamma};
    return edit;
  }
  RandloraConfig config_;
  Tensor a_, b_;
};

}  // namespace

extern const MethodRow kRandlora;
const MethodRow kRandlora{.name = "randlora",
                          .peft_type = "RANDLORA",
                          .title = "RandLoRA",
                          .paper = "arXiv 2502.00987",
                          .trains = "diagonals that mix many random low-rank products into an update of full rank",
                          .idea = Idea::LowRank,
                          .formula = "y = W x + b + α/r · Σ_j B_j Λ_j A Γ_j x,  A and B_j random and shared",
                          .size = "n (r + min(in, out)) a linear, n = ⌈min(in, out) / r⌉",
                          .cost =
                              "ΔW is made from 2 in · out · min(in, out) operations a step, and its gradient costs 2 in · out a "
                              "token; none after merging",
                          .format = Format::Peft,
                          .mergeable = true,
                          .identity = true,
                          .learning_rate = 3e-4,
                          .make = []() -> std::unique_ptr<Method> { return std::make_unique<Randlora>(); }};

}  // namespace graft
