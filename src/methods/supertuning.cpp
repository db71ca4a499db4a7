// Super-Tuning (arXiv 2607.09287): the entries of largest magnitude of a weight are trained, and with r a LoRA beside them
// (Supra).
//   W' = W + S + lora_alpha / r · B A,  S 0 but for the ⌊(1 − sparsity) in · out⌋ largest |W| (select_top false: smallest)
// Trained: the values of S; with r also A [r, in], B [out, r]. Init: values and B 0, A kaiming: the identity. Merges: W'. The
// places stand in the file (save_precomputed_indices) or are chosen again from the base; those of a file win. PEFT refuses
// weights that are stored [in, out] (GPT-2); here they work, places being those of [out, in].
#include "core/check.h"
#include "core/torch.h"
#include "kernels/dropout.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/places.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct SuperTuningConfig : WeightMethodConfig {
  double sparsity = 0.99, lora_dropout = 0;
  bool select_top = true, init_weights = true, save_precomputed_indices = true;
  std::optional<int64_t> r;
  std::optional<double> lora_alpha;
  void visit(Fields& f) override {
    f("sparsity", sparsity, "share of the entries that is not trained", between(0, 0.999999));
    f("select_top", select_top, "true: train the entries of largest magnitude; false: of smallest");
    f("r", r, "rank of a LoRA beside them; null: none", at_least(1));
    f("lora_alpha", lora_alpha, "with r: the LoRA is scaled by lora_alpha / r; null: 2 r", above(0));
    f("lora_dropout", lora_dropout, "dropout on the LoRA's input", between(0, 0.999));
    f("init_weights", init_weights, "true: no update at the start; false: a random one");
    f("save_precomputed_indices", save_precomputed_indices, "write the places into the file too");
    visit_common(f);
  }
};

struct SuperTuningEdit : SparseEdit {
  Tensor values;  // [n]
  Tensor a, b;    // [r, in], [out, r], or undefined
  double scale = 1, dropout = 0;

  Tensor entries() const override { return values; }
  Tensor linear(const Linear& base, const Tensor& x, bool training) const override {
    const Tensor y = SparseEdit::linear(base, x, training);
    if (!a.defined()) return y;
    const Tensor input = (training && dropout > 0 ? kernels::dropout(x, dropout) : x).to(a.scalar_type());
    return y + (at::mm(at::mm(input, a.t()), b.t()) * scale).to(y.scalar_type());
  }
  std::optional<Linear> merged(const Linear& base) const override {
    at::NoGradGuard no_grad;
    Linear result = *SparseEdit::merged(base);
    if (a.defined()) result.weight = result.weight + at::mm(b, a) * scale;
    return result;
  }
};

class SuperTuning : public WeightMethod {
 public:
  SuperTuning() : WeightMethod("supertuning", config_, /*excludes=*/false, /*by_layer=*/false) {}
  void load_file_tensors(const NamedTensors& tensors, const std::string& source) override {
    WeightMethod::load_file_tensors(tensors, source);
    for (auto& [edit, name, places] : chosen_) {
      if (places.lt(0).logical_or(places.ge(edit->in * edit->out)).any().item<bool>())
        input_error("adapter",
                    fmt::format("{}: '{}' names a place outside the {} × {} weight", source, name, edit->out, edit->in));
      edit->places.copy_(places);
    }
  }

 private:
  void prepare(AttachContext&) override {
    if (!config_.r && config_.lora_alpha) usage_error("supertuning", "lora_alpha has no effect without r", "give r too");
    if (config_.r && !config_.lora_alpha) config_.lora_alpha = 2 * static_cast<double>(*config_.r);
  }
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    at::NoGradGuard no_grad;
    const int64_t in = linear.in(), out = linear.out(),
                  n = static_cast<int64_t>(static_cast<double>(in * out) * (1 - config_.sparsity));
    if (n < 1) does_not_fit(linear, fmt::format("sparsity = {} leaves no entry to train", config_.sparsity), "lower it");
    const auto options = adapter_options(context.model);
    auto edit = std::make_shared<SuperTuningEdit>();
    edit->in = in, edit->out = out;
    edit->places = std::get<1>(at::topk(linear.weight.detach().to(options).abs().flatten(), n, 0, config_.select_top));
    const std::string name = kPeftPrefix + linear.path + ".supertuning_indices";
    chosen_.push_back({edit, name, frozen(name, edit->places.to(at::kInt), config_.save_precomputed_indices)});
    const bool usual = config_.init_weights;
    edit->values = param(linear, "supertuning_values", usual ? zeros({n}, options) : normal({n}, 1, options, context.generator));
    edit->trained = {edit->values};
    if (!config_.r) return edit;
    const int64_t r = *config_.r;
    edit->scale = *config_.lora_alpha / static_cast<double>(r);
    edit->dropout = config_.lora_dropout;
    edit->a = param(linear, "supertuning_lora_A.weight", kaiming_uniform({r, in}, options, context.generator));
    edit->b = param(linear, "supertuning_lora_B.weight",
                    usual ? zeros({out, r}, options) : kaiming_uniform({out, r}, options, context.generator));
    return edit;
  }
  struct Chosen {
    std::shared_ptr<SuperTuningEdit> edit;
    std::string name;  // of the places in the file
    Tensor places;     // int32, as the file has them
  };
  SuperTuningConfig config_;
  std::vector<Chosen> chosen_;
};

}  // namespace

extern const MethodRow kSuperTuning;
const MethodRow kSuperTuning{.name = "supertuning",
                             .peft_type = "SUPERTUNING",
                             .title = "Super-Tuning",
                             .paper = "arXiv 2607.09287",
                             .trains = "the entries of the weights that are largest in magnitude",
                             .idea = Idea::Spectral,
                             .formula = "y = (W + S) x + b,  S 0 but for the largest entries of W;  with r: + α/r · B A x",
                             .size = "(1 − sparsity) in · out a linear, with r and r (in + out)",
                             .cost = "a gradient of the whole weight; none after merging",
                             .format = Format::Peft,
                             .mergeable = true,
                             .identity = true,
                             .learning_rate = 1e-3,
                             .make = []() -> std::unique_ptr<Method> { return std::make_unique<SuperTuning>(); }};

}  // namespace graft
