// PEANuT (arXiv 2410.01870): the update is what a small network makes of the weight itself.
//   ΔW = scaling · B h,  h = f(A W) [r, in], then depth encoders h ← f(E_i h) whose inputs are kept, and as many decoders
//   h ← f(D_i h) + the input of the encoder opposite
// Trained: A [r, out], B [out, r], E_i, D_i [r, r]. Init: all kaiming but B = 0: the identity. Merges. ΔW stays of rank r, so x
// goes through h and B as through LoRA's factors.
#include "core/check.h"
#include "core/torch.h"
#include "kernels/activation.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct PeanutConfig : WeightMethodConfig {
  int64_t r = 32, depth = 0;
  double scaling = 1;
  std::string act_fn = "relu";
  bool init_weights = true;
  void visit(Fields& f) override {
    f("r", r, "width of the network and rank of the update", at_least(1));
    f("depth", depth, "pairs of an encoder and a decoder inside", at_least(0));
    f("act_fn", act_fn, "activation, by transformers' names");
    f("scaling", scaling, "the update is scaled by this");
    f("init_weights", init_weights, "true: B starts at 0; false: kaiming");
    visit_common(f);
  }
};

struct PeanutEdit : FactorsEdit {
  Tensor weight, a, b;  // the base's [out, in], [r, out], [out, r]
  std::vector<Tensor> encoders, decoders;
  std::string activation;
  double scale = 1;
  LowRank factors() const override {
    const auto active = [&](const Tensor& h) { return kernels::activate_composed(h, activation); };
    Tensor h = active(at::mm(a, weight.to(a.scalar_type())));
    std::vector<Tensor> kept;
    for (auto& encoder : encoders) {
      kept.push_back(h);
      h = active(at::mm(encoder, h));
    }
    for (auto& decoder : decoders) {
      h = active(at::mm(decoder, h)) + kept.back();
      kept.pop_back();
    }
    return {h, b, scale};
  }
};

class Peanut : public WeightMethod {
 public:
  Peanut() : WeightMethod("peanut", config_) {}

 private:
  void prepare(AttachContext&) override { kernels::check_activation(config_.act_fn, "peanut"); }
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    const auto options = adapter_options(context.model);
    const int64_t r = config_.r, out = linear.out();
    auto edit = std::make_shared<PeanutEdit>();
    edit->weight = linear.weight.detach();
    edit->activation = config_.act_fn;
    edit->scale = config_.scaling;
    const auto value = [&](const std::string& name, std::vector<int64_t> shape, bool zero) {
      const Tensor made = param(linear, "peanut_" + name + ".weight",
                                zero ? zeros(shape, options) : kaiming_uniform(shape, options, context.generator));
      edit->trained.push_back(made);
      return made;
    };
    edit->a = value("A", {r, out}, false);
    for (int64_t i = 0; i < config_.depth; ++i) edit->encoders.push_back(value(fmt::format("encoders.{}", i), {r, r}, false));
    for (int64_t i = 0; i < config_.depth; ++i) edit->decoders.push_back(value(fmt::format("decoders.{}", i), {r, r}, false));
    edit->b = value("B", {out, r}, config_.init_weights);
    return edit;
  }
  PeanutConfig config_;
};

}  // namespace

extern const MethodRow kPeanut;
const MethodRow kPeanut{.name = "peanut",
                        .peft_type = "PEANUT",
                        .title = "PEANuT",
                        .paper = "arXiv 2410.01870",
                        .trains = "a small network that makes the update from the weight",
                        .idea = Idea::LowRank,
                        .formula = "y = W x + b + s · B f(A W) x",
                        .size = "2 r out + 2 depth r² a linear",
                        .cost = "as LoRA, and 4 r in · out operations a step; none after merging",
                        .format = Format::Peft,
                        .mergeable = true,
                        .identity = true,
                        .learning_rate = 1e-3,
                        .make = []() -> std::unique_ptr<Method> { return std::make_unique<Peanut>(); }};

}  // namespace graft
