// P-tuning (arXiv 2103.10385): embedding rows in front of every document, computed by a small network from trained rows.
//   P = Linear(h, width) relu Linear(h, h) relu Linear(width, h) of E,  E [num_virtual_tokens, width]
// Trained: E normal(0, 1) and the three layers (kaiming). Files hold only P, as the reference's do; an adapter read from a
// file trains on from P itself. Not the identity, not mergeable. encoder_num_layers has no effect on the MLP, as in PEFT.
#include "core/check.h"
#include "core/torch.h"
#include "kernels/linear.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/virtual_tokens.h"

namespace graft {
namespace {

struct PTuningConfig : Config {
  int64_t num_virtual_tokens = 20, encoder_num_layers = 2;
  std::optional<int64_t> encoder_hidden_size;
  double encoder_dropout = 0;
  std::string encoder_reparameterization_type = "MLP";
  void visit(Fields& f) override {
    f("num_virtual_tokens", num_virtual_tokens, "rows in front of every document", between(1, 4096));
    f("encoder_reparameterization_type", encoder_reparameterization_type, "the network that makes the rows", one_of({"MLP"}));
    f("encoder_hidden_size", encoder_hidden_size, "width of the network; null: the model's width", at_least(1));
    f("encoder_num_layers", encoder_num_layers, "kept for files; the MLP always has three layers", at_least(1));
    f("encoder_dropout", encoder_dropout, "kept for files; the MLP has no dropout", between(0, 0.999));
  }
};

class PTuning : public Method {
 public:
  Config& config() override { return config_; }
  void attach(AttachContext& context) override {
    const Model& model = context.model;
    const int64_t n = config_.num_virtual_tokens, d = model.config.embedding_width, h = config_.encoder_hidden_size.value_or(d);
    const auto options = adapter_options(model);
    const Tensor rows = add("prompt_encoder.embedding.weight", normal({n, d}, 1, options, context.generator));
    std::vector<Tensor> layers;
    const int64_t sizes[] = {d, h, h, d};
    for (int i = 0; i < 3; ++i) {
      const std::string name = fmt::format("prompt_encoder.mlp_head.{}.", 2 * i);
      layers.push_back(add(name + "weight", kaiming_uniform({sizes[i + 1], sizes[i]}, options, context.generator)));
      layers.push_back(add(name + "bias", uniform({sizes[i + 1]}, 1 / std::sqrt(static_cast<double>(sizes[i])), options, context.generator), false));
    }
    edit_ = std::make_shared<InputRows>();
    edit_->number = n;
    edit_->compute = [rows, layers](bool) {
      const Tensor first = at::relu(kernels::linear(rows, layers[0], layers[1]));
      return kernels::linear(at::relu(kernels::linear(first, layers[2], layers[3])), layers[4], layers[5]);
    };
    context.sites.put(edit_);
  }
  NamedTensors file_tensors() const override {
    at::NoGradGuard no_grad;
    return {{"prompt_embeddings", edit_->compute(false)}};
  }
  void load_file_tensors(const NamedTensors& tensors, const std::string& source) override {
    const Tensor rows = at::empty_like(params_.front().value);
    params_.clear();
    const Tensor leaf = add("prompt_embeddings", rows);
    edit_->compute = [leaf](bool) { return leaf; };
    Method::load_file_tensors(tensors, source);
  }
  Json file_config(const Model& model) override {
    Json json = to_json(config_);
    json["encoder_hidden_size"] = config_.encoder_hidden_size.value_or(model.config.embedding_width);
    json.update(virtual_token_structure(model, model.config.embedding_width, model.config.heads));
    return json;
  }
  std::vector<std::string> ignored_keys() const override { return virtual_token_structure_keys(); }

 private:
  PTuningConfig config_;
  std::shared_ptr<InputRows> edit_;
};

}  // namespace

extern const MethodRow kPTuning;
const MethodRow kPTuning{.name = "p_tuning",
                         .peft_type = "P_TUNING",
                         .title = "P-tuning",
                         .paper = "arXiv 2103.10385",
                         .trains = "a small network that makes embedding rows in front of the input",
                         .format = Format::Peft,
                         .mergeable = false,
                         .identity = false,
                         .learning_rate = 3e-3,
                         .make = []() -> std::unique_ptr<Method> { return std::make_unique<PTuning>(); }};

}  // namespace graft
