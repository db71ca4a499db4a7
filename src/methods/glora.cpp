// GLoRA (arXiv 2306.07967): weight and bias scaled and shifted, each by a path of its own.
//   W' = W + W ⊙ A + B,  b' = b + b ⊙ D + E + W C;  C, D and E exist where the linear has a bias
// Trained: A, B: "lora" X_d [out, r] X_u [r, in], "vector" X [out, 1], "constant" X [1] or "none"; C alike over [in, 1]; D, E
// vectors [out], constants or none. Init: X_u kaiming, all else 0: the identity. Merges.
// Paths that are absent stand as zeros in PEFT's files. PEFT has no exclude_modules and layers_to_transform here: files of ours
// name each module then. The paper's search over configurations for each layer is not part of PEFT, nor of this.
#include "core/torch.h"
#include "kernels/linear.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct GloraConfig : WeightMethodConfig {
  int64_t r = 8;
  std::string config_A_B = "lora", config_C = "lora", config_D_E = "constant";
  bool init_weights = true;
  void visit(Fields& f) override {
    f("r", r, "rank of the lora paths", at_least(1));
    f("config_A_B", config_A_B, "what scales and shifts the weight", one_of({"lora", "vector", "constant", "none"}));
    f("config_C", config_C, "what the bias takes from the weight", one_of({"lora", "vector", "none"}));
    f("config_D_E", config_D_E, "what scales and shifts the bias", one_of({"constant", "none", "vector"}));
    f("init_weights", init_weights, "true: start at 0; false: random");
    visit_common(f, "glora_only");
  }
};

struct GloraPath {
  Tensor left, right;  // a product, or left alone; undefined: absent
  bool present() const { return left.defined(); }
  Tensor value() const { return right.defined() ? at::mm(left, right) : left; }
};

struct GloraEdit : DeltaEdit {
  GloraPath a, b, c, d, e;
  Tensor delta(const Tensor& weight) const override {
    return a.present() ? weight * a.value() + b.value() : at::zeros_like(weight);
  }
  Tensor bias(const Linear& base) const {
    const auto dtype = trained.front().scalar_type();
    const Tensor old = base.bias.to(dtype);
    Tensor sum = old;
    if (d.present()) sum = sum + old * d.value() + e.value();
    if (c.present()) sum = sum + at::mm(base.weight.detach().to(dtype), c.value()).squeeze(1);
    return sum;
  }
  Tensor linear(const Linear& base, const Tensor& x, bool training) const override {
    Linear plain = base;
    plain.bias = Tensor();
    const Tensor y = a.present() ? DeltaEdit::linear(plain, x, training) : kernels::linear(x, base.weight, {});
    return base.bias.defined() ? y + bias(base).to(y.scalar_type()) : y;
  }
  std::optional<Linear> merged(const Linear& base) const override {
    at::NoGradGuard no_grad;
    Linear result = DeltaEdit::merged(base).value();
    if (base.bias.defined()) result.bias = bias(base);
    return result;
  }
};

class Glora : public WeightMethod {
 public:
  Glora() : WeightMethod("glora", config_, /*excludes=*/false, /*by_layer=*/false) {}

 private:
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    const auto options = adapter_options(context.model);
    const int64_t in = linear.in(), out = linear.out();
    const bool random = !config_.init_weights;
    auto edit = std::make_shared<GloraEdit>();
    const auto value = [&](const std::string& name, std::vector<int64_t> shape, bool zero) {
      Tensor made = zero                               ? zeros(shape, options)
                    : shape == std::vector<int64_t>{1} ? normal(shape, 0.02, options, context.generator)
                                                       : kaiming_uniform(shape, options, context.generator);
      made = param(linear, name, made, shape.size() > 1);
      edit->trained.push_back(made);
      return made;
    };
    const auto path = [&](const char* name, const std::string& kind, bool wanted, int64_t rows, int64_t columns,
                          std::vector<int64_t> vector, std::vector<int64_t> absent) {
      const std::string suffix = std::string("glora_") + name + ".";
      if (!wanted || kind == "none") {
        kept_.push_back({kPeftPrefix + linear.path + "." + suffix + "zeros", zeros(absent, options)});
        return GloraPath();
      }
      if (kind == "vector") return GloraPath{value(suffix + "X", vector, !random), Tensor()};
      if (kind == "constant") return GloraPath{value(suffix + "X", {1}, !random), Tensor()};
      const Tensor left = value(suffix + "Xd", {rows, config_.r}, !random);
      return GloraPath{left, value(suffix + "Xu", {config_.r, columns}, false)};
    };
    const bool has_bias = linear.bias.defined();
    edit->a = path("A", config_.config_A_B, true, out, in, {out, 1}, {out, in});
    edit->b = path("B", config_.config_A_B, true, out, in, {out, 1}, {out, in});
    edit->c = path("C", config_.config_C, has_bias, in, 1, {in, 1}, {in, 1});
    edit->d = path("D", config_.config_D_E, has_bias, out, 1, {out}, {out});
    edit->e = path("E", config_.config_D_E, has_bias, out, 1, {out}, {out});
    if (edit->trained.empty())
      does_not_fit(linear,
                   "there is nothing to train: config_A_B is none and the linear has no bias or config_C and config_D_E are none",
                   "choose a path");
    return edit;
  }
  GloraConfig config_;
};

}  // namespace

extern const MethodRow kGlora;
const MethodRow kGlora{
    .name = "glora",
    .peft_type = "GLORA",
    .title = "GLoRA",
    .paper = "arXiv 2306.07967",
    .trains = "what scales and shifts weights and biases",
    .idea = Idea::LowRank,
    .formula = "y = (W + W ⊙ A + B) x + b + b ⊙ D + E + W C",
    .size = "2 r (in + out) a linear, r (in + 1) + 2 more with a bias",
    .cost = "ΔW is made from 4 r in · out operations a step, and its gradient costs 2 in · out a token; none after merging",
    .format = Format::Peft,
    .mergeable = true,
    .identity = true,
    .learning_rate = 5e-4,
    .make = []() -> std::unique_ptr<Method> { return std::make_unique<Glora>(); }};

}  // namespace graft
