// C3A (arXiv 2407.19342): an update of circulant blocks, computed by Fourier transforms of blocks of the input.
//   y = W x + b + ΔW x,  block (m, n) of ΔW: [j, k] = w[m, n, (k − j) mod b] / in
// Trained: kernels w [out/b, in/b, b]. Init xavier_uniform, which is not the identity; true: 0. Merges: W + ΔW.
// Deviation: PEFT chains several active adapters by mistake; here there is one.
#include <cmath>

#include "core/check.h"
#include "core/torch.h"
#include "kernels/linear.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct C3aConfig : WeightMethodConfig {
  int64_t block_size = 256;
  Json block_size_pattern = Json::object(), init_weights = "xavier_uniform";
  void visit(Fields& f) override {
    f("block_size", block_size, "size of the circulant blocks: a divisor of each module's inputs and outputs", at_least(1));
    f("block_size_pattern", block_size_pattern, "other block sizes for modules whose path a key matches: {regex: size}");
    f("init_weights", init_weights,
      "\"xavier_uniform\" (also false), \"kaiming_uniform\", \"gaussian\", or true: no update at the start");
    visit_common(f, "c3a_only");
  }
};

struct C3aEdit : WeightEdit {
  Tensor kernel;  // [m, n, b]

  // ŷ = conj(ŵ) x̂: each block is a correlation. Frequencies are the batch of the products over n.
  Tensor update(const Tensor& x) const {
    const int64_t m = kernel.size(0), n = kernel.size(1), b = kernel.size(2);
    const Tensor x_hat = at::fft_rfft(x.to(kernel.scalar_type()).reshape({x.size(0), n, b})).permute({2, 0, 1});
    const Tensor w_hat = at::fft_rfft(kernel / static_cast<double>(n * b)).conj().permute({2, 1, 0});
    return at::fft_irfft(at::bmm(x_hat, w_hat).permute({1, 2, 0}), b).reshape({x.size(0), m * b});
  }
  Tensor linear(const Linear& base, const Tensor& x, bool) const override {
    const Tensor y = kernels::linear(x, base.weight, base.bias);
    return y + update(x).to(y.scalar_type());
  }
  std::optional<Linear> merged(const Linear& base) const override {
    at::NoGradGuard no_grad;
    const int64_t b = kernel.size(2);
    const Tensor number = at::arange(b, at::TensorOptions(kernel.device()).dtype(at::kLong));
    const Tensor index = (number.unsqueeze(0) - number.unsqueeze(1)).remainder(b).flatten();  // [j, k] → k − j
    const Tensor blocks = kernel.index_select(2, index).view({kernel.size(0), kernel.size(1), b, b}).transpose(1, 2);
    Linear result = base;
    result.weight =
        base.weight.to(kernel.scalar_type()) + blocks.reshape({base.out(), base.in()}) / static_cast<double>(base.in());
    return result;
  }
};

class C3a : public WeightMethod {
 public:
  C3a() : WeightMethod("c3a", config_, /*excludes=*/false) {}

 protected:
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    const int64_t in = linear.in(), out = linear.out();
    const int64_t b = static_cast<int64_t>(
        patterned("block_size_pattern", config_.block_size_pattern, linear, static_cast<double>(config_.block_size), true));
    if (in % b || out % b)
      does_not_fit(linear, fmt::format("block_size = {} must divide the {} inputs and the {} outputs", b, in, out),
                   "choose a common divisor, or block_size_pattern for this module");
    const auto options = adapter_options(context.model);
    const std::vector<int64_t> shape{out / b, in / b, b};
    auto edit = std::make_shared<C3aEdit>();
    edit->kernel =
        param(linear, "c3a_kernel", start(shape, static_cast<double>(in), static_cast<double>(out), options, context.generator));
    return edit;
  }

 private:
  Tensor start(at::IntArrayRef shape, double in, double out, const at::TensorOptions& options, at::Generator& generator) const {
    const Json& init = config_.init_weights;
    if (init == true) return zeros(shape, options);
    if (init == false || init == "xavier_uniform") return uniform(shape, std::sqrt(6 / (in + out)), options, generator);
    if (init == "kaiming_uniform") return uniform(shape, 1 / std::sqrt(in), options, generator);
    if (init == "gaussian") return normal(shape, 1, options, generator);
    usage_error("c3a", fmt::format("init_weights = {} is not known", json_line(init)),
                "known: true, false, \"xavier_uniform\", \"kaiming_uniform\", \"gaussian\"");
  }
  C3aConfig config_;
};

}  // namespace

extern const MethodRow kC3a;
const MethodRow kC3a{
    .name = "c3a",
    .peft_type = "C3A",
    .title = "C3A",
    .paper = "arXiv 2407.19342",
    .trains = "an update of the weights made of circulant blocks",
    .idea = Idea::Spectral,
    .formula = "y = W x + b + ΔW x,  blocks of ΔW: [j, k] = w[(k − j) mod b] / in",
    .size = "in · out / b a linear",
    .cost = "Fourier transforms of the input and the output and 4 in · out / b operations a token and pass; none after merging",
    .format = Format::Peft,
    .mergeable = true,
    .identity = false,
    .learning_rate = 5e-2,
    .make = []() -> std::unique_ptr<Method> { return std::make_unique<C3a>(); }};

}  // namespace graft
