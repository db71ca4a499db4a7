// GraLoRA (arXiv 2505.20355): the weight in k × k blocks, each with a low-rank update of its own.
//   block (j of out, i of in) of ΔW = s · B_j[part i] A_i[part j],  the r ranks of A_i, B_j in k parts,  s = α / (r + hybrid_r)
// Trained: A [k, in/k, r], B [k, r, out/k], and with hybrid_r a plain LoRA of that rank beside, with the same scale. Init: A
// kaiming, B 0: the identity. Merges. The rank of ΔW can reach k r with LoRA's number of parameters.
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct GraloraConfig : WeightMethodConfig {
  int64_t r = 32, hybrid_r = 0, gralora_k = 2;
  double alpha = 64, gralora_dropout = 0;
  bool init_weights = true;
  void visit(Fields& f) override {
    f("r", r, "rank, shared out between the blocks of a row", at_least(1));
    f("hybrid_r", hybrid_r, "rank of a plain LoRA beside; 0: none", at_least(0));
    f("gralora_k", gralora_k, "blocks along each side; it must divide r and both sides of each weight", at_least(1));
    f("alpha", alpha, "the update is scaled by alpha / (r + hybrid_r)", above(0));
    f("gralora_dropout", gralora_dropout, "dropout on the update's input", between(0, 0.999));
    f("init_weights", init_weights, "true: A kaiming, B 0; false: both kaiming");
    visit_common(f, "gralora_only", true);
  }
};

struct GraloraEdit : UpdateEdit {
  Tensor a, b, general_a, general_b;  // the last two are undefined without hybrid_r
  double scale = 1;
  Tensor update(const Tensor& x) const override {
    const int64_t tokens = x.size(0), k = a.size(0), r = a.size(2);
    const Tensor inner = at::bmm(x.reshape({tokens, k, -1}).transpose(0, 1), a);  // [k of in, tokens, r]
    const Tensor exchanged =
        inner.view({k, tokens, k, r / k}).permute({2, 1, 0, 3}).reshape({k, tokens, r});  // [k of out, tokens, r]
    Tensor y = at::bmm(exchanged, b).transpose(0, 1).flatten(1);
    if (general_a.defined()) y = y + at::mm(at::mm(x, general_a.t()), general_b.t());
    return y * scale;
  }
};

class Gralora : public WeightMethod {
 public:
  Gralora() : WeightMethod("gralora", config_, /*excludes=*/false) {}

 private:
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    const auto options = adapter_options(context.model);
    const int64_t k = config_.gralora_k, r = config_.r, in = linear.in(), out = linear.out();
    if (r % k || in % k || out % k)
      does_not_fit(linear, fmt::format("gralora_k must divide r = {} and both sides of the weight but is {}", r, k),
                   "choose another gralora_k or other target_modules");
    const auto last = [&](std::vector<int64_t> shape) {
      return config_.init_weights ? zeros(shape, options) : kaiming_uniform(shape, options, context.generator);
    };
    auto edit = std::make_shared<GraloraEdit>();
    edit->drops.input = config_.gralora_dropout;
    edit->scale = config_.alpha / static_cast<double>(r + config_.hybrid_r);
    edit->a =
        param(linear, "gralora_A", kaiming_uniform({k, r, in / k}, options, context.generator).transpose(1, 2).contiguous());
    edit->b = param(linear, "gralora_B", last({k, out / k, r}).transpose(1, 2).contiguous());
    edit->trained = {edit->a, edit->b};
    if (config_.hybrid_r == 0) return edit;
    edit->general_a =
        param(linear, "gralora_A_general.weight", kaiming_uniform({config_.hybrid_r, in}, options, context.generator));
    edit->general_b = param(linear, "gralora_B_general.weight", last({out, config_.hybrid_r}));
    edit->trained.insert(edit->trained.end(), {edit->general_a, edit->general_b});
    return edit;
  }
  GraloraConfig config_;
};

}  // namespace

extern const MethodRow kGralora;
const MethodRow kGralora{.name = "gralora",
                         .peft_type = "GRALORA",
                         .title = "GraLoRA",
                         .paper = "arXiv 2505.20355",
                         .trains = "a low-rank update for each block of the weights",
                         .idea = Idea::LowRank,
                         .formula = "y = W x + b + ΔW x,  block (j, i) of ΔW = α/r · B_j[i] A_i[j],  k × k blocks",
                         .size = "(r + hybrid_r) (in + out) a linear",
                         .cost = "as LoRA, and an exchange of r values a token; none after merging",
                         .format = Format::Peft,
                         .mergeable = true,
                         .identity = true,
                         .learning_rate = 5e-4,
                         .make = []() -> std::unique_ptr<Method> { return std::make_unique<Gralora>(); }};

}  // namespace graft
