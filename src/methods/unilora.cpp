// Uni-LoRA (arXiv 2506.00799): one short vector for the whole model; each entry of every LoRA factor is one of its entries.
//   y = W x + b + B A drop(x),  entries of A and B = θ[index] / √(how often the index occurs)
// Trained: θ [theta_d_length]. Init: θ uniform in ±init_theta_d_bound: close to the identity but not equal. No scale. Merges.
// The indices, each as often as any other within one, are shuffled by NumPy's generator from proj_seed and dealt out to the
// modules in the reference's order, A before B; with save_indices they stand in the file, with the factors 1/√count.
#include <algorithm>

#include "core/check.h"
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/numpy_random.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct UniloraConfig : WeightMethodConfig {
  int64_t r = 4, proj_seed = 42, theta_d_length = 256;
  double unilora_dropout = 0, init_theta_d_bound = 0.02;
  bool init_weights = true, save_indices = false;
  void visit(Fields& f) override {
    f("r", r, "rank of the update", at_least(1));
    f("theta_d_length", theta_d_length, "numbers that are trained, for the whole model", at_least(1));
    f("proj_seed", proj_seed, "the seed of the indices", at_least(0));
    f("save_indices", save_indices, "write the indices into the file too");
    f("init_theta_d_bound", init_theta_d_bound, "the vector starts uniform in +- this", above(0));
    f("unilora_dropout", unilora_dropout, "dropout on the update's input", between(0, 0.999));
    f("init_weights", init_weights, "true: uniform; false: normal with deviation 1");
    visit_common(f, "unilora_only", true);
  }
};

struct UniloraEdit : FactorsEdit {
  struct Spread {
    Tensor indices, scales;
    Tensor of(const Tensor& theta) const { return theta.index_select(0, indices.flatten()).view(indices.sizes()) * scales; }
  };
  Tensor theta;
  Spread a, b;  // [r, in], [out, r]
  LowRank factors() const override { return {a.of(theta), b.of(theta), 1}; }
};

class Unilora : public WeightMethod {
 public:
  Unilora() : WeightMethod("unilora", config_, /*excludes=*/false) {}

  void load_file_tensors(const NamedTensors& tensors, const std::string& source) override {
    for (auto& [name, value] : tensors)
      if (name.find(".unilora_indices_") != std::string::npos && value.numel() && !value.is_floating_point() &&
          (value.min().item<int64_t>() < 0 || value.max().item<int64_t>() >= config_.theta_d_length))
        input_error("adapter", fmt::format("{}: '{}' must hold numbers from 0 to {}", source, name, config_.theta_d_length - 1));
    WeightMethod::load_file_tensors(tensors, source);
  }

 private:
  void prepare(AttachContext& context) override {
    const auto options = adapter_options(context.model);
    const std::vector<int64_t> shape{config_.theta_d_length};
    theta_ = add("base_model.unilora_theta_d", config_.init_weights
                                                   ? uniform(shape, config_.init_theta_d_bound, options, context.generator)
                                                   : normal(shape, 1, options, context.generator));
    int64_t entries = 0;
    for (auto& target : targets_) entries += config_.r * (target.linear->in() + target.linear->out());
    const int64_t each = entries / config_.theta_d_length, rest = entries % config_.theta_d_length;
    std::vector<int64_t> dealt;
    for (int64_t i = 0; i < config_.theta_d_length; ++i) dealt.insert(dealt.end(), static_cast<size_t>(each), i);
    NumpyRandom random(static_cast<uint64_t>(config_.proj_seed));
    if (rest > 0)
      for (const int64_t i : random.choice(config_.theta_d_length, rest)) dealt.push_back(i);
    random.shuffle(dealt);
    indices_ = at::tensor(dealt, at::kLong);
    scales_ = at::bincount(indices_, {}, config_.theta_d_length).to(at::kFloat).rsqrt().index_select(0, indices_).to(options);
    indices_ = indices_.to(options.device());
  }
  std::shared_ptr<WeightEdit> adapt(AttachContext&, const Linear& linear) override {
    auto edit = std::make_shared<UniloraEdit>();
    edit->drops.input = config_.unilora_dropout;
    edit->theta = theta_;
    const auto deal = [&](const char* factor, int64_t rows, int64_t columns) {
      const std::string name = kPeftPrefix + linear.path + ".unilora_";
      const auto next = [&](const Tensor& all) { return all.narrow(0, dealt_, rows * columns).view({rows, columns}).clone(); };
      const UniloraEdit::Spread spread{frozen(name + "indices_" + factor, next(indices_), config_.save_indices),
                                       frozen(name + "scales_" + factor, next(scales_), config_.save_indices)};
      dealt_ += rows * columns;
      return spread;
    };
    edit->a = deal("A", config_.r, linear.in());
    edit->b = deal("B", linear.out(), config_.r);
    edit->trained = {edit->theta};
    return edit;
  }
  UniloraConfig config_;
  Tensor theta_, indices_, scales_;  // the last two for all modules, in a row
  int64_t dealt_ = 0;
};

}  // namespace

extern const MethodRow kUnilora;
const MethodRow kUnilora{.name = "unilora",
                         .peft_type = "UNILORA",
                         .title = "Uni-LoRA",
                         .paper = "arXiv 2506.00799",
                         .trains = "one short vector that all factors of all modules are made of",
                         .idea = Idea::LowRank,
                         .formula = "y = W x + b + B A x,  entries of A and B = θ[index] / √count",
                         .size = "theta_d_length in all",
                         .cost = "as LoRA, and 12 r (in + out) bytes a linear for indices and factors; none after merging",
                         .format = Format::Peft,
                         .mergeable = true,
                         .identity = false,
                         .learning_rate = 2e-2,
                         .make = []() -> std::unique_ptr<Method> { return std::make_unique<Unilora>(); }};

}  // namespace graft
