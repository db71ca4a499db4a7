// OFT in its second form, which turns the input (arXiv 2306.07280, 2506.19847).
//   y = W (x R) + b,  R = blockdiag(R_1, …),  Q = U − Uᵀ
//   Cayley-Neumann (default, 5 terms): R_i = I + 2Q + 2Q² + 2Q³ + Q⁴;  exact: R_i = (I − Q)(I + Q)⁻¹, which turns the other way
// Trained: the strict upper triangle U of each block. Init 0: the identity. Merges: W Rᵀ.
// A block size that does not divide a module's inputs gives way to the nearest divisor, as in PEFT. PEFT's series with 4 terms is
// that with 3; we follow. COFT keeps each adapter's Q in a ball: PEFT projects in the forward pass, we behind each step and on
// reading.
#include <cmath>

#include "core/check.h"
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/turned_input.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct OftConfig : WeightMethodConfig {
  int64_t r = 0, oft_block_size = 32, num_cayley_neumann_terms = 5;
  bool coft = false, block_share = false, use_cayley_neumann = true, init_weights = true;
  double eps = 6e-5;
  void visit(Fields& f) override {
    f("oft_block_size", oft_block_size, "inputs that are turned together, moved to a divisor of each module's inputs; 0: see r",
      at_least(0));
    f("r", r, "number of blocks in each module; 0: see oft_block_size", at_least(0));
    f("use_cayley_neumann", use_cayley_neumann,
      "a series in place of the inverse: fewer operations, orthogonal only while the turn is small");
    f("num_cayley_neumann_terms", num_cayley_neumann_terms, "its terms", at_least(2));
    f("block_share", block_share, "one block serves all blocks of a module");
    f("coft", coft, "keep the turn in a small ball");
    f("eps", eps, "coft: the radius of that ball", above(0));
    f("init_weights", init_weights, "true: no turn at the start; false: random");
    visit_common(f, "oft_only", true);
  }
};

struct OftEdit : TurnedInput {
  Tensor upper, positions;      // [blocks, size (size − 1) / 2]
  int64_t size = 0, terms = 0;  // 0: exact

  Tensor turned(const Tensor& rows, bool back) const override {
    const Tensor q = skew_symmetric(upper, positions, size);
    const Tensor d = terms ? cayley_series(q, terms) : cayley(-q);
    return times_blocks(rows, back ? d.transpose(1, 2) : d);
  }
  at::ScalarType dtype() const override { return upper.scalar_type(); }
  void project(double eps) const {
    at::NoGradGuard no_grad;
    const Tensor norm = upper.norm(2, 1, true) * std::sqrt(2.0);  // of U − Uᵀ
    const double radius = eps / std::sqrt(static_cast<double>(upper.size(0)));
    upper.copy_(at::where(norm.le(radius), upper, upper * (radius / norm)));
  }
};

class Oft : public WeightMethod {
 public:
  Oft() : WeightMethod("oft", config_) {}
  void load_file_tensors(const NamedTensors& tensors, const std::string& source) override {
    WeightMethod::load_file_tensors(tensors, source);
    after_step(0);
  }
  void after_step(int64_t) override {
    if (config_.coft)
      for (auto& edit : edits_) edit->project(config_.eps);
  }
  // PEFT makes this dropout and never calls it.
  std::vector<std::string> ignored_keys() const override { return {"module_dropout"}; }

 protected:
  void prepare(AttachContext&) override {
    if ((config_.r == 0) == (config_.oft_block_size == 0))
      usage_error("oft",
                  fmt::format("one of r and oft_block_size must be 0 and the other not, but r = {} and oft_block_size = {}",
                              config_.r, config_.oft_block_size),
                  "r times the block size is the number of inputs");
  }
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    const int64_t in = linear.in();
    auto edit = std::make_shared<OftEdit>();
    edit->size = config_.r ? in / nearest_divisor(in, config_.r) : nearest_divisor(in, config_.oft_block_size);
    if (edit->size < 2)
      does_not_fit(linear, fmt::format("blocks of one of the {} inputs cannot turn", in),
                   "choose a larger oft_block_size or a smaller r");
    edit->terms = config_.use_cayley_neumann ? config_.num_cayley_neumann_terms : 0;
    edit->positions = upper_triangle(edit->size, context.model.device());
    const auto options = adapter_options(context.model);
    const std::vector<int64_t> shape{config_.block_share ? 1 : in / edit->size, edit->positions.size(0)};
    edit->upper = param(linear, "oft_R.weight",
                        config_.init_weights ? zeros(shape, options) : normal(shape, 0.1, options, context.generator), false);
    edits_.push_back(edit);
    return edit;
  }

 private:
  // The nearer one of the next divisors below and above; the one below where both are as near.
  static int64_t nearest_divisor(int64_t n, int64_t wanted) {
    if (wanted >= n) return n;
    int64_t above = wanted, below = wanted;
    while (n % above) ++above;
    while (n % below) --below;
    return wanted - below <= above - wanted ? below : above;
  }
  OftConfig config_;
  std::vector<std::shared_ptr<OftEdit>> edits_;
};

}  // namespace

extern const MethodRow kOft;
const MethodRow kOft{.name = "oft",
                     .peft_type = "OFT",
                     .title = "OFT",
                     .paper = "arXiv 2306.07280, 2506.19847",
                     .trains = "an orthogonal turn of the inputs, block by block",
                     .idea = Idea::Orthogonal,
                     .formula = "y = W (x R) + b,  R = blockdiag(I + 2Q + 2Q² + 2Q³ + Q⁴),  Q = U − Uᵀ",
                     .size = "in (block − 1) / 2 a linear",
                     .cost = "2 in · block operations a token and pass beside the base's 2 in · out; none after merging",
                     .format = Format::Peft,
                     .mergeable = true,
                     .identity = true,
                     .learning_rate = 1e-3,
                     .make = []() -> std::unique_ptr<Method> { return std::make_unique<Oft>(); }};

}  // namespace graft
