// Compacter and Compacter++ (arXiv 2106.04647): bottleneck adapters whose two maps are sums of Kronecker products,
//   x → x · Σ_i rule_i ⊗ (L_i R_i) + b,   rule [n, n, n] shared by all maps of the model, L_i [in/n, rank], R_i [rank, out/n].
// Compacter stands where Houlsby's adapters do and reads h; Compacter++ where Pfeiffer's does and reads h + res.
// Trained: rule, L, R, b. Init rule normal(0, phm_init_range), L and R normal as Glorot has it (what AdapterHub draws whatever
// hypercomplex_nonlinearity says), b 0: the outputs start 1e-8 from the base's. Not mergeable. Files: AdapterHub's folders.
// No map is ever made whole: a block of x goes through all L_i at once, the rules mix n · n numbers a rank, the R_i lead out again.
#include <cmath>

#include "core/check.h"
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/bottleneck.h"
#include "methods/common/init.h"

namespace graft {
namespace {

struct CompacterConfig : BottleneckConfig {
  int64_t phm_dim = 4, phm_rank = 1;
  double phm_init_range = 0.0001;
  explicit CompacterConfig(BottleneckConfig places) : BottleneckConfig(std::move(places)) {
    reduction_factor = 32.0;
    non_linearity = "gelu";
    phm = {{"phm_layer", true}};
  }
  void visit(Fields& f) override {
    BottleneckConfig::visit(f);
    f("phm_dim", phm_dim, "number of Kronecker products in a map", between(1, 64));
    f("phm_rank", phm_rank, "rank of their second factors", at_least(1));
    f("phm_init_range", phm_init_range, "standard deviation of the first factors at the start", above(0));
  }
};

// x [rows, in] · Σ_i rule_i ⊗ (left_i right_i): with x as n blocks, y[q, ·] = Σ_i Σ_p rule_i[p, q] (x[p, ·] left_i) right_i.
Tensor through_kronecker(const Tensor& x, const Tensor& rule, const Tensor& left, const Tensor& right) {
  const int64_t rows = x.size(0), n = rule.size(0), rank = left.size(2);
  const Tensor lefts = left.permute({1, 0, 2}).reshape({left.size(1), n * rank});
  const Tensor inner = at::matmul(x.reshape({rows * n, left.size(1)}), lefts).view({rows, n, n, rank});
  const Tensor mixed = at::einsum("tpir,ipq->tqir", {inner, rule}).reshape({rows * n, n * rank});
  return at::matmul(mixed, right.reshape({n * rank, right.size(2)})).view({rows, n * right.size(2)});
}

class Compacter : public Bottleneck {
 public:
  Compacter(const char* name, BottleneckConfig places) : Compacter(name, std::make_shared<CompacterConfig>(std::move(places))) {}

  void attach(AttachContext& context) override {
    const int64_t n = own_.phm_dim, width = context.model.config.width;
    if (width % n) usage_error(name_, fmt::format("phm_dim must divide the model's width {} but is {}", width, n));
    if (own_.init_weights != "bert") usage_error(name_, fmt::format("init_weights must be bert but is {}", own_.init_weights), "its maps start in a way of their own");
    const std::string& block = context.model.blocks.at(0).path;
    rule_ = add(block.substr(0, block.find('.')) + ".shared_parameters.default.phm_rule",
                normal({n, n, n}, own_.phm_init_range, adapter_options(context.model), context.generator), false);
    Bottleneck::attach(context);
  }

 protected:
  BottleneckMap make_map(AttachContext& context, const std::string& name, int64_t in, int64_t out, bool) override {
    const int64_t n = own_.phm_dim, rank = own_.phm_rank;
    if (in % n || out % n)
      usage_error(name_, fmt::format("phm_dim must divide the bottleneck's width {} but is {}", std::min(in, out), n), "choose another reduction_factor or phm_dim");
    const auto options = adapter_options(context.model);
    const auto glorot = [&](int64_t rows, int64_t columns) {
      return normal({n, rows, columns}, std::sqrt(2.0 / static_cast<double>(rows + columns)), options, context.generator);
    };
    const Tensor left = add(name + ".W_left", glorot(in / n, rank)), right = add(name + ".W_right", glorot(rank, out / n));
    const Tensor bias = add(name + ".b", zeros({out}, options), false);
    return [rule = rule_, left, right, bias](const Tensor& x) { return through_kronecker(x, rule, left, right) + bias; };
  }

 private:
  Compacter(const char* name, std::shared_ptr<CompacterConfig> config) : Bottleneck(name, config), own_(*config) {}
  CompacterConfig& own_;
  Tensor rule_;
};

}  // namespace

extern const MethodRow kCompacter, kCompacterPp;
const MethodRow kCompacter{.name = "compacter",
                           .peft_type = nullptr,
                           .title = "Compacter",
                           .paper = "arXiv 2106.04647",
                           .trains = "bottlenecks of Kronecker products after attention and MLP of each block",
                           .idea = Idea::Adapter,
                           .formula = "h ← h + W_u f(W_d h + b_d) + b_u,  W = Σ_i A_i ⊗ l_i r_iᵀ, A shared by all",
                           .size = "4 (d + d/rf) + 2 (d + d/rf) a block, and n³ once",
                           .cost = "about n/(d/rf) of Houlsby's products; stays at inference",
                           .format = Format::AdapterHub,
                           .mergeable = false,
                           .identity = true,
                           .learning_rate = 3e-3,
                           .make = []() -> std::unique_ptr<Method> { return std::make_unique<Compacter>("compacter", houlsby_options()); }};
const MethodRow kCompacterPp{.name = "compacterpp",
                             .peft_type = nullptr,
                             .title = "Compacter++",
                             .paper = "arXiv 2106.04647",
                             .trains = "a bottleneck of Kronecker products after the MLP of each block",
                             .idea = Idea::Adapter,
                             .formula = "h ← h + W_u f(W_d (h + res) + b_d) + b_u,  W = Σ_i A_i ⊗ l_i r_iᵀ, A shared by all",
                             .size = "2 (d + d/rf) + d + d/rf a block, and n³ once",
                             .cost = "half of Compacter's; stays at inference",
                             .format = Format::AdapterHub,
                             .mergeable = false,
                             .identity = true,
                             .learning_rate = 3e-3,
                             .make = []() -> std::unique_ptr<Method> { return std::make_unique<Compacter>("compacterpp", pfeiffer_options()); },
                             .aliases = "compacter++"};

}  // namespace graft
