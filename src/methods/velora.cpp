// VeLoRA (arXiv 2405.17991): LoRA whose A learns from a compressed input, so that the input is not kept for the backward pass.
//   y = W x + b + s · B A x;  in the gradient of A stands x̂ for x: x is cut into num_groups pieces, each is projected on one unit
//   vector v, x̂ = scale · (v vᵀ piece) of every piece. The gradients of B and x are LoRA's.
// Trained: A [r, in], B [out, r]. Init: A kaiming, B 0: the identity. v [⌈in / num_groups⌉] stands in the file: the mean of all
// pieces of a batch, made anew in every pass (batch_average) or in the first one only (batch_average_once), or random. A last
// piece that is too short is filled up with zeros. Merges as LoRA. Deviations: PEFT averages over its padding too; a loaded v of
// batch_average_once stays, where PEFT makes it anew.
#include "core/autograd.h"
#include "core/check.h"
#include "core/torch.h"
#include "kernels/dropout.h"
#include "kernels/gemm.h"
#include "kernels/linear.h"
#include "kernels/twins.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/lora_method.h"

namespace graft {
namespace {

struct VeLoraOptions : Config {
  int64_t num_groups = 64;
  double scale = 1;
  std::string init_type = "batch_average";
  void visit(Fields& f) override {
    f("num_groups", num_groups, "pieces that an input is cut into; one number of each is kept", at_least(1));
    f("scale", scale, "factor of the input that is made from them", above(0));
    f("init_type", init_type, "the vector that pieces are projected on: the mean of each batch, of the first batch, or random",
      one_of({"batch_average", "batch_average_once", "random"}));
  }
};

struct VeLoraConfig : LoraConfig {
  VeLoraOptions own;
  Json velora_config;
  void visit(Fields& f) override {
    LoraConfig::visit(f);
    own.visit(f);
    f("velora_config", velora_config, "these three as one mapping, as files hold them");
  }
};

int64_t piece_size(int64_t in, int64_t groups) {
  return (in + groups - 1) / groups;
}

// x [rows, in] → [rows, groups, piece]
Tensor in_pieces(const Tensor& x, int64_t groups) {
  const int64_t piece = piece_size(x.size(1), groups), missing = groups * piece - x.size(1);
  return (missing ? at::constant_pad_nd(x, {0, missing}) : x).reshape({x.size(0), groups, piece});
}
Tensor compressed(const Tensor& x, const Tensor& vector, int64_t groups) {
  return at::matmul(in_pieces(x, groups), vector);
}
// kept [rows, groups] → [rows, in]
Tensor restored(const Tensor& kept, const Tensor& vector, int64_t in, double scale) {
  return (kept.unsqueeze(2) * vector).flatten(1).narrow(1, 0, in) * scale;
}

struct CompressedProduct : torch::autograd::Function<CompressedProduct> {
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& x, const Tensor& a, const Tensor& vector,
                        int64_t groups, double scale) {
    at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({compressed(x, vector, groups), a, vector});
    ctx->saved_data["scale"] = scale;
    return kernels::product_t(x, a);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx, torch::autograd::variable_list ds) {
    const auto saved = ctx->get_saved_variables();
    const Tensor dx = ctx->needs_input_grad(0) ? kernels::product(ds[0], saved[1]) : Tensor();
    const Tensor da = restored(at::mm(ds[0].t(), saved[0]), saved[2], saved[1].size(1), ctx->saved_data["scale"].toDouble());
    return {dx, da, Tensor(), Tensor(), Tensor()};
  }
};

struct VeLoraEdit : LoraEdit {
  const VeLoraOptions* options = nullptr;
  Tensor vector;  // [piece], zero until it is made

  Reads reads() const override { return Reads::Batch; }  // the vector is a mean over rows
  std::optional<LowRank> low_rank(bool training) const override {
    return at::GradMode::is_enabled() || held ? std::nullopt : LoraEdit::low_rank(training);
  }
  Tensor linear(const Linear& base, const Tensor& x, bool training) const override {
    if (!at::GradMode::is_enabled() && !held) return LoraEdit::linear(base, x, training);
    Tensor side = at::mm(inner((training && dropout > 0 ? kernels::dropout(x, dropout) : x).to(a.scalar_type())), b.t());
    if (bias.defined()) side = side + bias;
    const Tensor y = kernels::linear(x, base.weight, base.bias);
    return y + (side * scale).to(y.scalar_type());
  }

 private:
  // A x whose gradient for A is that of x̂: exactly the gradient of A₀ x + (A − A₀) x̂ where A₀ = A and x̂ are constants, which
  // difference quotients can check while they are held.
  Tensor inner(const Tensor& x) const {
    const auto with_constants = [&] {
      return at::mm(x, constants_.first.t()) + at::mm(constants_.second, (a - constants_.first).t());
    };
    if (!at::GradMode::is_enabled()) return with_constants();
    const Tensor v = updated_vector(x.detach());
    if (held || kernels::composed_only())
      constants_ = {a.detach().clone(), restored(compressed(x.detach(), v, options->num_groups), v, x.size(1), options->scale)};
    if (!kernels::composed_only()) return CompressedProduct::apply(x, a, v, options->num_groups, options->scale);
    return with_constants();
  }
  Tensor updated_vector(const Tensor& x) const {
    at::NoGradGuard no_grad;
    if (!made_ && options->init_type != "batch_average") made_ = vector.any().item<bool>();
    if (!made_) {
      const Tensor mean = in_pieces(x.mean(0, true), options->num_groups).mean(1).flatten(), norm = mean.norm();
      vector.copy_(at::where(norm > 0, mean / norm, at::ones_like(mean) / std::sqrt(static_cast<double>(mean.size(0)))));
      made_ = options->init_type != "batch_average";
    }
    return vector.clone();  // later passes change it
  }

  mutable bool made_ = false;  // for good
  mutable std::pair<Tensor, Tensor> constants_;
};

class VeLora : public LoraWith<VeLoraConfig> {
 public:
  VeLora() : LoraWith("velora") {}
  void attach(AttachContext& context) override {
    if (options_.use_dora) usage_error("velora", "use_dora cannot be combined with a compressed input");
    if (options_.velora_config.is_object()) from_json(options_.own, options_.velora_config, "velora");
    LoraMethod::attach(context);
  }
  Json file_config(const Model& model) override {
    Json json = LoraMethod::file_config(model);
    json["velora_config"] = to_json(options_.own);
    return json;
  }

 protected:
  bool adapts_embeddings() const override { return false; }
  LoraStart start(AttachContext& context, const Linear& linear, int64_t r, double scale) override {
    LoraStart begin = LoraMethod::start(context, linear, r, scale);
    const std::vector<int64_t> shape{piece_size(linear.in(), options_.own.num_groups)};
    const auto tensors = adapter_options(context.model);
    vector_ = zeros(shape, tensors);
    if (options_.own.init_type == "random")
      vector_ = normal(shape, 1, tensors, context.generator), vector_ = vector_ / vector_.norm();
    return begin;
  }
  std::shared_ptr<LoraEdit> make_edit(const Linear& linear) override {
    auto edit = std::make_shared<VeLoraEdit>();
    edit->options = &options_.own;
    edit->vector = vector_;
    kept_.push_back({.name = kPeftPrefix + linear.path + ".lora_velora_embed", .value = vector_, .own = true});
    return edit;
  }

 private:
  Tensor vector_;  // of the module that is being made
};

}  // namespace

extern const MethodRow kVeLora;
const MethodRow kVeLora{.name = "velora",
                        .peft_type = "LORA",
                        .title = "VeLoRA",
                        .paper = "arXiv 2405.17991",
                        .trains = "a low-rank update whose A learns from compressed inputs",
                        .idea = Idea::LowRank,
                        .formula = "y = W x + b + α/r · B A x,  dA from x̂ = (v vᵀ x_g) of every piece x_g of x",
                        .size = "r (in + out) a linear",
                        .cost = "as LoRA; keeps num_groups numbers of an input in place of all",
                        .format = Format::Peft,
                        .mergeable = true,
                        .identity = true,
                        .learning_rate = 5e-4,
                        .make = []() -> std::unique_ptr<Method> { return std::make_unique<VeLora>(); },
                        .peft_key = "velora_config"};

}  // namespace graft
