// BOFT (arXiv 2311.06243): the input turned by a product of block-diagonal rotations whose blocks take their inputs from ever
// farther apart, as the fast Fourier transform does.
//   y = s ⊙ (W (x M_(m−1) … M_0)) + b,  M_i = P_i blockdiag(R) P_iᵀ,  R = (I − Q)(I + Q)⁻¹,  Q = ½ (D − Dᵀ)
// P_i cuts the inputs into parts of 2^i blocks and, inside a part, runs of half a block: even runs go first, odd ones behind.
// Trained: D [m, blocks, b, b] and s [out, 1]. Init D = 0, s = 1: the identity. Merges: s ⊙ (W M_0ᵀ … M_(m−1)ᵀ).
// PEFT turns boft_n_butterfly_factor into 1 where its CUDA extension does not compile, in memory but not in the configuration
// that it writes; a file's tensors then tell what it holds.
#include "core/check.h"
#include "core/torch.h"
#include "kernels/linear.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/turned_input.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct BoftConfig : WeightMethodConfig {
  int64_t boft_block_size = 4, boft_block_num = 0, boft_n_butterfly_factor = 1;
  bool init_weights = true;
  void visit(Fields& f) override {
    f("boft_block_size", boft_block_size, "inputs that are turned together; 0: see boft_block_num", at_least(0));
    f("boft_block_num", boft_block_num, "number of blocks in each module; 0: see boft_block_size", at_least(0));
    f("boft_n_butterfly_factor", boft_n_butterfly_factor, "number of rotations in a row", between(1, 30));
    f("init_weights", init_weights, "true: no turn at the start; false: random");
    visit_common(f, "boft_only", true);
  }
};

struct BoftEdit : TurnedInput {
  Tensor blocks, s;  // [m, blocks, b, b], [out, 1]

  Tensor turned(const Tensor& rows, bool back) const override {
    const int64_t m = blocks.size(0), b = blocks.size(-1);
    const Tensor d = cayley((blocks.transpose(-2, -1) - blocks) * 0.5);
    Tensor x = rows;
    for (int64_t step = 0; step < m; ++step) {
      const int64_t i = back ? step : m - 1 - step;
      x = times_blocks(moved(x, i, b, true), back ? d[i].transpose(1, 2) : d[i]);
      x = moved(x, i, b, false);
    }
    return x;
  }
  at::ScalarType dtype() const override { return blocks.scalar_type(); }

  Tensor linear(const Linear& base, const Tensor& x, bool) const override {
    const Tensor y = kernels::linear(turned(x, false), base.weight, {});
    const Tensor scaled = at::addcmul(y, y, (s.flatten() - 1).to(y.scalar_type()));
    return base.bias.defined() ? scaled + base.bias.to(y.scalar_type()) : scaled;
  }
  std::optional<Linear> merged(const Linear& base) const override {
    auto result = TurnedInput::merged(base);
    at::NoGradGuard no_grad;
    result->weight = result->weight * s;
    return result;
  }

 private:
  // x P_i, which brings together what a block turns, or x P_iᵀ, which brings it back.
  static Tensor moved(const Tensor& x, int64_t i, int64_t b, bool together) {
    if (i == 0) return x;
    const int64_t runs = int64_t{1} << i, n = x.size(0);
    const Tensor parts = together ? x.reshape({n, -1, 2, runs, b / 2}) : x.reshape({n, -1, runs, 2, b / 2});
    return parts.transpose(2, 3).reshape(x.sizes());
  }
};

class Boft : public WeightMethod {
 public:
  Boft() : WeightMethod("boft", config_) {}
  void load_file_tensors(const NamedTensors& tensors, const std::string& source) override {
    NamedTensors whole = tensors;
    for (auto& [name, value] : whole)  // rotations that PEFT left out: by nothing
      if (name.ends_with(".boft_R") && value.dim() == 4 && value.size(0) == 1 && config_.boft_n_butterfly_factor > 1) {
        std::vector<int64_t> rest = value.sizes().vec();
        rest[0] = config_.boft_n_butterfly_factor - 1;
        value = at::cat({value, at::zeros(rest, value.options())});
      }
    WeightMethod::load_file_tensors(whole, source);
  }
  std::vector<std::string> ignored_keys() const override { return {"boft_dropout"}; }

 protected:
  void prepare(AttachContext&) override {
    if ((config_.boft_block_size == 0) == (config_.boft_block_num == 0))
      usage_error("boft",
                  fmt::format("one of boft_block_size and boft_block_num must be 0 and the other not, but they are {} and {}",
                              config_.boft_block_size, config_.boft_block_num),
                  "their product is the number of inputs");
  }
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    const int64_t in = linear.in(), given = config_.boft_block_size ? config_.boft_block_size : config_.boft_block_num;
    if (in % given)
      does_not_fit(linear,
                   fmt::format("{} = {} does not divide the {} inputs",
                               config_.boft_block_size ? "boft_block_size" : "boft_block_num", given, in),
                   "choose a divisor");
    const int64_t size = config_.boft_block_size ? given : in / given, number = in / size, m = config_.boft_n_butterfly_factor;
    if (size < 2) does_not_fit(linear, "blocks of one input cannot turn", "choose larger blocks");
    if (m > 1 && (size % 2 || number % (int64_t{1} << (m - 1))))
      does_not_fit(
          linear,
          fmt::format(
              "boft_n_butterfly_factor = {} needs blocks of an even size, and a multiple of {} of them, but there are {} of {}",
              m, int64_t{1} << (m - 1), number, size),
          "choose a smaller factor or other blocks");
    const auto options = adapter_options(context.model);
    const std::vector<int64_t> shape{m, number, size, size}, rows{linear.out(), 1};
    auto edit = std::make_shared<BoftEdit>();
    edit->blocks = param(linear, "boft_R",
                         config_.init_weights ? zeros(shape, options) : normal(shape, 0.1, options, context.generator), false);
    edit->s = param(linear, "boft_s",
                    config_.init_weights ? ones(rows, options) : 1 + normal(rows, 0.1, options, context.generator), false);
    return edit;
  }

 private:
  BoftConfig config_;
};

}  // namespace

extern const MethodRow kBoft;
const MethodRow kBoft{
    .name = "boft",
    .peft_type = "BOFT",
    .title = "BOFT",
    .paper = "arXiv 2311.06243",
    .trains = "a product of rotations of the inputs in small blocks, and factors of the outputs",
    .idea = Idea::Orthogonal,
    .formula = "y = s ⊙ (W (x M_(m−1) … M_0)) + b,  M_i = P_i blockdiag((I − Q)(I + Q)⁻¹) P_iᵀ",
    .size = "m · in · block + out a linear",
    .cost = "2 m · in · block operations a token and pass beside the base's 2 in · out, most of them moves; none after merging",
    .format = Format::Peft,
    .mergeable = true,
    .identity = true,
    .learning_rate = 1e-3,
    .make = []() -> std::unique_ptr<Method> { return std::make_unique<Boft>(); }};

}  // namespace graft
