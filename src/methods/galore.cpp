// GaLore (arXiv 2403.03507): full fine-tuning whose optimizer sees the weights' gradients in a subspace of low rank.
//   in [out, in] with out < in:  R = Pᵀ G, P = the first r left singular vectors of the gradient G, renewed every update_proj_gap
//   steps; the optimizer turns R into a step N;  W ← W + scale · P N.  Else R = G Pᵀ, with right singular vectors P, and N P.
// Here the optimizer's parameter is D, 0 in every forward pass: y = W x + P D x + b has R as its gradient without ever computing
// G. After each step W takes scale · P D, and D is 0 again. Only in the steps that renew P the whole gradients are there, of all
// modules at once. Trained beside: all else of the base by the optimizer itself (embeddings, norms, biases, head). Own float32
// copies of the weights. Writes a model folder. As in the authors' code moments stay when P changes. Deviations: its AdamW adds
// epsilon before the bias correction; weight decay does not reach the projected weights.
#include <algorithm>
#include <map>
#include <set>

#include "core/check.h"
#include "core/torch.h"
#include "kernels/linear.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/targets.h"

namespace graft {
namespace {

struct GaLoreConfig : Config {
  TargetOptions targets;
  int64_t rank = 128, update_proj_gap = 200;
  double scale = 0.25;
  GaLoreConfig() { targets.target_modules = "all-linear"; }
  void visit(Fields& f) override {
    targets.visit(f);
    f("rank", rank, "rank of the gradients' subspace; at most a weight's smaller side is used", at_least(1));
    f("update_proj_gap", update_proj_gap, "steps until the subspace is renewed", at_least(1));
    f("scale", scale, "factor of the projected weights' steps", above(0));
  }
};

struct GaLoreEdit : WeightEdit {
  Tensor delta, projection;  // left: [r, in] and [out, r]; else [out, r] and [r, in]
  bool left = false;

  LowRank factors() const { return left ? LowRank{delta, projection, 1} : LowRank{projection, delta, 1}; }
  std::optional<LowRank> low_rank(bool) const override { return factors(); }
  Tensor linear(const Linear& base, const Tensor& x, bool) const override {
    const auto [a, b, scale] = factors();
    const Tensor y = kernels::linear(x, base.weight, base.bias);
    return y + at::mm(at::mm(x.to(a.scalar_type()), a.t()), b.t()).to(y.scalar_type());
  }
  std::optional<Linear> merged(const Linear& base) const override {
    at::NoGradGuard no_grad;
    const auto [a, b, scale] = factors();
    Linear result = base;
    result.weight = base.weight.detach() + at::mm(b, a);
    return result;
  }
};

class GaLore : public Method {
 public:
  Config& config() override { return config_; }
  void attach(AttachContext& context) override {
    Model& model = context.model;
    std::set<const Tensor*> projected;
    for (auto& [site, layer, linear] : resolve_targets(model, config_.targets, {}, "galore")) {
      if (site == Site::Head && model.config.tied_head)
        usage_error("galore", "a tied head is trained as the embedding and cannot be projected", "leave it out");
      linear->weight = trained_copy(linear->weight).requires_grad_(false);
      projected.insert(&linear->weight);
      const int64_t in = linear->in(), out = linear->out(), r = std::min({config_.rank, in, out});
      Module m{linear->path, linear->weight, std::make_shared<GaLoreEdit>()};
      m.edit->left = out < in;
      const auto options = adapter_options(model);
      m.edit->delta =
          add(linear->path + ".weight.projected", zeros({m.edit->left ? r : out, m.edit->left ? in : r}, options), false);
      // Before the first gradient any directions do.
      const Tensor any = std::get<0>(at::linalg_qr(normal({std::min(in, out), r}, 1, options, context.generator)));
      const Tensor rows = at::zeros({m.edit->left ? out : in, r}, options);
      rows.narrow(0, 0, any.size(0)).copy_(any);
      m.edit->projection = m.edit->left ? rows : rows.t().contiguous();
      context.sites.put(site, layer, m.edit);
      modules_.push_back(std::move(m));
    }
    visit_base(model, [&](const std::string& name, Tensor& handle, bool decays) {
      if (!projected.count(&handle)) params_.push_back({name, trained_copy(handle), decays});
    });
  }

  void start_training(int64_t) override { want_gradients(true); }
  bool passes_repeat() const override { return false; }  // some give gradients of whole weights

  void adjust_gradients() override {
    if (!renews_) return;
    at::NoGradGuard no_grad;
    for (auto& m : modules_) {
      Tensor& g = m.weight.mutable_grad();
      if (!g.defined()) continue;
      const auto [u, s, vh] = at::linalg_svd(g, false);
      GaLoreEdit& edit = *m.edit;
      const int64_t r = edit.projection.size(edit.left ? 1 : 0);
      edit.projection.copy_(edit.left ? u.narrow(1, 0, r) : vh.narrow(0, 0, r));
      edit.delta.mutable_grad() = edit.left ? at::mm(edit.projection.t(), g) : at::mm(g, edit.projection.t());
      g.reset();
    }
    want_gradients(false);
  }
  void after_step(int64_t step) override {
    at::NoGradGuard no_grad;
    for (auto& m : modules_) {
      const auto [a, b, scale] = m.edit->factors();
      m.weight.add_(at::mm(b, a), config_.scale);
      m.edit->delta.zero_();
    }
    if (step % config_.update_proj_gap == 0) want_gradients(true);
  }

  NamedTensors state() const override {
    NamedTensors tensors{{"renews", at::tensor({int64_t{renews_}}, at::kLong)}};
    for (auto& m : modules_) {
      tensors.emplace_back("weight." + m.path, m.weight.detach());
      tensors.emplace_back("projection." + m.path, m.edit->projection);
    }
    return tensors;
  }
  void load_state(const NamedTensors& tensors, const std::string& source) override {
    const std::map<std::string, Tensor> given(tensors.begin(), tensors.end());
    want_gradients(false);
    for (auto& [name, value] : state()) {
      const auto found = given.find(name);
      if (found == given.end() || found->second.sizes() != value.sizes())
        input_error("resume", fmt::format("{}: '{}' is missing or has another shape", source, name), "use a fresh --out");
      Tensor own = value;  // a handle of the tensor itself
      own.copy_(found->second);
    }
    if (given.size() != state().size())
      input_error("resume", fmt::format("{}: it holds more than this run's state", source), "use a fresh --out");
    want_gradients(given.at("renews").item<int64_t>() != 0);
  }

 private:
  struct Module {
    std::string path;
    Tensor weight;  // [out, in], this method's own
    std::shared_ptr<GaLoreEdit> edit;
  };

  // Whether the next backward pass takes the whole gradients, of which new directions are made.
  void want_gradients(bool wanted) {
    renews_ = wanted;
    for (auto& m : modules_) m.weight.requires_grad_(wanted);
  }

  GaLoreConfig config_;
  std::vector<Module> modules_;
  bool renews_ = false;
};

}  // namespace

extern const MethodRow kGaLore;
const MethodRow kGaLore{
    .name = "galore",
    .peft_type = nullptr,
    .title = "GaLore",
    .paper = "arXiv 2403.03507",
    .trains = "every tensor of the base, the matrices' gradients projected to a low rank",
    .idea = Idea::Selective,
    .formula = "W ← W + scale · P N,  N = the optimizer's step for Pᵀ ∂loss/∂W",
    .size = "all weights; the optimizer holds r · max(in, out) a linear",
    .cost = "a copy of the weights, LoRA's gradients and moments; one full gradient and SVD every 200 steps; none at inference",
    .format = Format::ModelFolder,
    .mergeable = true,
    .identity = true,
    .learning_rate = 2e-4,
    .make = []() -> std::unique_ptr<Method> { return std::make_unique<GaLore>(); }};

}  // namespace graft
