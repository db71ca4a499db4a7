// VB-LoRA (arXiv 2405.15179): LoRA's factors in pieces of length v, each a mixture of a few vectors of a bank that all linears
// share.
//   y = W x + b + B A drop(x);  a piece = Σ over its topk largest logits of softmax(these) · bank's vector
// Trained: the bank [h, v], logits [r, in/v, h] of A's pieces (joined along the input) and [out/v, r, h] of B's. Init: logits
// normal (0, 0.1), bank uniform ±0.02: close to the identity but not equal. No scale. Merges. The bank learns at a tenth of the
// logits' rate, as in the paper (1e-3 and 1e-2). With save_only_topk_weights the file holds the chosen vectors' numbers and
// weights; such an adapter cannot be trained on.
#include "core/check.h"
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct VbloraConfig : WeightMethodConfig {
  int64_t r = 4, num_vectors = 256, vector_length = 256, topk = 2;
  bool save_only_topk_weights = false;
  double vblora_dropout = 0, init_vector_bank_bound = 0.02, init_logits_std = 0.1;
  void visit(Fields& f) override {
    f("r", r, "rank of the update", at_least(1));
    f("num_vectors", num_vectors, "vectors in the bank", at_least(2));
    f("vector_length", vector_length, "length of a vector; it must divide both sides of each weight", at_least(1));
    f("topk", topk, "vectors that a piece mixes", at_least(1));
    f("save_only_topk_weights", save_only_topk_weights,
      "write the chosen vectors' numbers and weights instead of all logits: small, and final");
    f("vblora_dropout", vblora_dropout, "dropout on the update's input", between(0, 0.999));
    f("init_vector_bank_bound", init_vector_bank_bound, "the bank starts uniform in +- this", above(0));
    f("init_logits_std", init_logits_std, "the logits start normal with this deviation", at_least(0));
    visit_common(f, "vblora_only", true);
  }
};

struct VbloraEdit : FactorsEdit {
  Tensor bank, logits_a, logits_b;  // [h, v], [r, in / v, h], [out / v, r, h]
  int64_t topk = 2;
  Tensor pieces(const Tensor& logits) const {  // [.., h] → [.., v]
    const auto [largest, indices] = logits.topk(topk, -1);
    return (largest.softmax(-1).unsqueeze(-1) * at::embedding(bank, indices)).sum(-2);
  }
  LowRank factors() const override { return {pieces(logits_a).flatten(1), pieces(logits_b).transpose(1, 2).flatten(0, 1), 1}; }
};

class Vblora : public WeightMethod {
 public:
  Vblora() : WeightMethod("vblora", config_) {}

  NamedTensors file_tensors() const override {
    NamedTensors tensors;
    for (auto& [name, value] : WeightMethod::file_tensors()) {
      if (!config_.save_only_topk_weights || !is_logits(name)) {
        tensors.emplace_back(name, value);
        continue;
      }
      const auto [largest, indices] = value.topk(config_.topk, -1);
      tensors.emplace_back(name + "_topk_indices", indices.to(index_type()));
      tensors.emplace_back(name + "_topk_weights", largest.softmax(-1).narrow(-1, 0, config_.topk - 1).contiguous());
    }
    return tensors;
  }
  void load_file_tensors(const NamedTensors& tensors, const std::string& source) override {
    if (!config_.save_only_topk_weights) return WeightMethod::load_file_tensors(tensors, source);
    NamedTensors whole;
    for (auto& [name, value] : tensors) {
      const std::string indices = "_topk_indices", weights = "_topk_weights";
      if (name.ends_with(weights)) continue;
      if (!name.ends_with(indices)) {
        whole.emplace_back(name, value);
        continue;
      }
      const std::string logits = name.substr(0, name.size() - indices.size());
      const auto found =
          std::find_if(tensors.begin(), tensors.end(), [&](const auto& entry) { return entry.first == logits + weights; });
      if (found == tensors.end()) input_error("adapter", fmt::format("{}: the tensor '{}' is missing", source, logits + weights));
      whole.emplace_back(logits, logits_of(value.to(at::kLong), found->second, source, name));
    }
    WeightMethod::load_file_tensors(whole, source);
    final_ = true;
  }
  void start_training(int64_t) override {
    if (final_)
      usage_error("vblora",
                  "an adapter that was saved with save_only_topk_weights cannot be trained on: its other logits are lost",
                  "start a new one, or save all logits");
  }

 private:
  static bool is_logits(const std::string& name) {
    return name.ends_with(".vblora_logits_A") || name.ends_with(".vblora_logits_B");
  }
  at::ScalarType index_type() const {
    return config_.num_vectors < 256                  ? at::kByte
           : config_.num_vectors < 32768              ? at::kShort
           : config_.num_vectors < (int64_t{1} << 31) ? at::kInt
                                                      : at::kLong;
  }
  // All weight on the chosen vectors: the others' logits are −∞. The last weight is what the others leave.
  Tensor logits_of(const Tensor& indices, const Tensor& weights, const std::string& source, const std::string& name) const {
    std::vector<int64_t> most = indices.sizes().vec(), shape = most;
    if (shape.empty() || shape.back() != config_.topk)
      input_error("adapter", fmt::format("{}: the last side of '{}' must be topk = {}", source, name, config_.topk));
    most.back() = config_.topk - 1, shape.back() = config_.num_vectors;
    if (weights.sizes() != at::IntArrayRef(most) || !weights.is_floating_point())
      input_error("adapter", fmt::format("{}: '{}' and its weights do not fit together", source, name));
    if (indices.numel() && (indices.min().item<int64_t>() < 0 || indices.max().item<int64_t>() >= config_.num_vectors))
      input_error("adapter", fmt::format("{}: '{}' must hold numbers from 0 to {}", source, name, config_.num_vectors - 1));
    const Tensor wide = weights.to(at::kFloat), all = at::cat({wide, 1 - wide.sum(-1, true)}, -1);
    return at::full(shape, -std::numeric_limits<double>::infinity(), at::kFloat).scatter(-1, indices, all.log());
  }

  void prepare(AttachContext& context) override {
    if (config_.topk > config_.num_vectors)
      usage_error("vblora", fmt::format("topk must be at most num_vectors = {} but is {}", config_.num_vectors, config_.topk));
    const auto options = adapter_options(context.model);
    bank_ = add("base_model.vblora_vector_bank", uniform({config_.num_vectors, config_.vector_length},
                                                         config_.init_vector_bank_bound, options, context.generator));
    params_.back().lr_factor = 0.1;
  }
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    const auto options = adapter_options(context.model);
    const int64_t v = config_.vector_length, h = config_.num_vectors;
    if (linear.in() % v || linear.out() % v)
      does_not_fit(linear, fmt::format("vector_length must divide both sides of the weight but is {}", v),
                   "choose another vector_length or other target_modules");
    auto edit = std::make_shared<VbloraEdit>();
    edit->drops.input = config_.vblora_dropout;
    edit->topk = config_.topk;
    edit->bank = bank_;
    edit->logits_a = param(linear, "vblora_logits_A",
                           normal({config_.r, linear.in() / v, h}, config_.init_logits_std, options, context.generator));
    edit->logits_b = param(linear, "vblora_logits_B",
                           normal({linear.out() / v, config_.r, h}, config_.init_logits_std, options, context.generator));
    edit->trained = {edit->bank, edit->logits_a, edit->logits_b};
    return edit;
  }
  VbloraConfig config_;
  Tensor bank_;
  bool final_ = false;
};

}  // namespace

extern const MethodRow kVblora;
const MethodRow kVblora{
    .name = "vblora",
    .peft_type = "VBLORA",
    .title = "VB-LoRA",
    .paper = "arXiv 2405.15179",
    .trains = "a bank of vectors that all factors share, and which of them each piece mixes",
    .idea = Idea::LowRank,
    .formula = "y = W x + b + B A x,  pieces of A and B = Σ top-k softmax(logits) · bank",
    .size = "h v once, r (in + out) h / v a linear; stored with save_only_topk_weights: r (in + out) (2 topk − 1) / v",
    .cost = "LoRA, and its factors made from the bank each step; none after merging",
    .format = Format::Peft,
    .mergeable = true,
    .identity = false,
    .learning_rate = 1e-2,
    .make = []() -> std::unique_ptr<Method> { return std::make_unique<Vblora>(); }};

}  // namespace graft
