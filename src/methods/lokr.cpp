// LoKr (arXiv 2309.14859): the update is a Kronecker product of a small matrix and a larger one that is of low rank.
//   ΔW = α/r · w1 ⊗ w2,  w1 [l, m], w2 [k, n],  out = l k, in = m n;  x as m pieces of n: y += α/r · w1 (x w2ᵀ)
// Trained: w1, as a product [l, r] [r, m] with decompose_both and r < max(l, m) / 2; w2, as a product [k, r] [r, n] where
// r < max(k, n) / 2. Init: w1 (or its first factor) 0, all others kaiming: the identity. Merges.
// The scale stands with full factors too, as in PEFT; LyCORIS has 1 there. A dimension is split by decompose_factor where that
// divides it, else into the most square pair of divisors whose smaller one is at most decompose_factor (−1: any).
#include "core/check.h"
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct LokrConfig : WeightMethodConfig {
  int64_t r = 8, decompose_factor = -1;
  double alpha = 8, rank_dropout = 0, module_dropout = 0;
  bool use_effective_conv2d = false, decompose_both = false, rank_dropout_scale = false;
  Json init_weights = true, alpha_pattern = Json::object();
  void visit(Fields& f) override {
    f("r", r, "rank of the factors that are products", at_least(1));
    f("alpha", alpha, "the update is scaled by alpha / r", above(0));
    f("rank_dropout", rank_dropout, "the share of the update's rows that a step leaves out", between(0, 0.999));
    f("rank_dropout_scale", rank_dropout_scale, "divide the rows that stay by their share");
    f("module_dropout", module_dropout, "how often a step leaves out a module's update", between(0, 0.999));
    f("decompose_both", decompose_both, "the small factor is of low rank too");
    f("decompose_factor", decompose_factor, "the size of the small factor; -1: as square as possible", at_least(-1));
    f("use_effective_conv2d", use_effective_conv2d, "for convolutions, which these models have not");
    f("init_weights", init_weights, "true: the small factor starts at 0; \"lycoris\": the large one; false: none");
    f("alpha_pattern", alpha_pattern, "other alpha for modules whose path a key matches: {regex: alpha}");
    visit_rank_pattern(f);
    visit_common(f);
  }
};

std::pair<int64_t, int64_t> split_dimension(int64_t dimension, int64_t factor) {
  if (factor > 0 && dimension % factor == 0) return {factor, dimension / factor};
  int64_t small = 1;
  for (int64_t m = 2; m * m <= dimension && (factor < 0 || m <= factor); ++m)
    if (dimension % m == 0) small = m;
  return {small, dimension / small};
}

struct LokrEdit : UpdateEdit {
  struct Factor {
    Tensor left, right;  // right is undefined where the factor is not a product
    Tensor value() const { return right.defined() ? at::mm(left, right) : left; }
  };
  Factor w1, w2;
  double scale = 1;
  Tensor update(const Tensor& x) const override {
    const Tensor small = w1.value(), large = w2.value();                                             // [l, m], [k, n]
    const Tensor pieces = at::matmul(x.view({x.size(0), small.size(1), large.size(1)}), large.t());  // [tokens, m, k]
    return (at::matmul(small, pieces) * scale).flatten(1);
  }
};

class Lokr : public WeightMethod {
 public:
  Lokr() : WeightMethod("lokr", config_) {}

 private:
  void prepare(AttachContext&) override {
    if (!config_.init_weights.is_boolean() && config_.init_weights != "lycoris")
      usage_error("lokr",
                  fmt::format("init_weights must be true, false or \"lycoris\" but is {}", json_line(config_.init_weights)));
    if (config_.decompose_factor == 0) usage_error("lokr", "decompose_factor must be -1 or at least 1 but is 0");
  }
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    const auto options = adapter_options(context.model);
    const int64_t r = rank_of(linear, config_.r);
    const auto [l, k] = split_dimension(linear.out(), config_.decompose_factor);
    const auto [m, n] = split_dimension(linear.in(), config_.decompose_factor);
    auto edit = std::make_shared<LokrEdit>();
    edit->scale = patterned("alpha_pattern", config_.alpha_pattern, linear, config_.alpha) / static_cast<double>(r);
    edit->drops = {.rows = config_.rank_dropout, .whole = config_.module_dropout, .rows_scaled = config_.rank_dropout_scale};
    const auto value = [&](const std::string& suffix, std::vector<int64_t> shape, bool zero) {
      const Tensor made =
          param(linear, suffix, zero ? zeros(shape, options) : kaiming_uniform(shape, options, context.generator));
      edit->trained.push_back(made);
      return made;
    };
    // The zeros stand in the first factor of w1 or in the last of w2.
    const bool first = config_.init_weights == true, last = config_.init_weights == "lycoris";
    if (config_.decompose_both && 2 * r < std::max(l, m))
      edit->w1 = {value("lokr_w1_a", {l, r}, first), value("lokr_w1_b", {r, m}, false)};
    else
      edit->w1 = {value("lokr_w1", {l, m}, first), Tensor()};
    if (2 * r < std::max(k, n))
      edit->w2 = {value("lokr_w2_a", {k, r}, false), value("lokr_w2_b", {r, n}, last)};
    else
      edit->w2 = {value("lokr_w2", {k, n}, last), Tensor()};
    return edit;
  }
  LokrConfig config_;
};

}  // namespace

extern const MethodRow kLokr;
const MethodRow kLokr{.name = "lokr",
                      .peft_type = "LOKR",
                      .title = "LoKr",
                      .paper = "arXiv 2309.14859",
                      .trains = "a Kronecker product of a small and a low-rank matrix",
                      .idea = Idea::LowRank,
                      .formula = "y = W x + b + α/r · (w1 ⊗ w2) x",
                      .size = "l m + r (k + n) a linear, out = l k, in = m n, about √in √out + r (√in + √out)",
                      .cost = "about 2 (in √out + out √in) operations a token and pass; none after merging",
                      .format = Format::Peft,
                      .mergeable = true,
                      .identity = true,
                      .learning_rate = 1e-3,
                      .make = []() -> std::unique_ptr<Method> { return std::make_unique<Lokr>(); }};

}  // namespace graft
