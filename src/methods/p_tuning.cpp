// P-tuning (arXiv 2103.10385): embedding rows in front of every document, computed by a small network from trained rows.
//   MLP   P = Linear(h, width) relu Linear(h, h) relu Linear(width, h) of E,  E [num_virtual_tokens, width]
//   LSTM  P = Linear(2h, width) relu Linear(2h, 2h) of a bidirectional LSTM(width → h) with encoder_num_layers layers over E
// Trained: E normal(0, 1) and the network (kaiming; LSTM uniform ±1/√h). Files hold only P, as the reference's do; an adapter
// read from a file trains on from P itself. Not the identity, not mergeable. encoder_num_layers has no effect on the MLP.
#include <cmath>

#include "core/check.h"
#include "core/torch.h"
#include "kernels/linear.h"
#include "methods/common/base_params.h"
#include "methods/common/companions.h"
#include "methods/common/init.h"
#include "methods/common/virtual_tokens.h"

namespace graft {
namespace {

struct PTuningConfig : Config {
  Json modules_to_save;
  int64_t num_virtual_tokens = 20, encoder_num_layers = 2;
  std::optional<int64_t> encoder_hidden_size;
  double encoder_dropout = 0;
  std::string encoder_reparameterization_type = "MLP";
  void visit(Fields& f) override {
    f("num_virtual_tokens", num_virtual_tokens, "rows in front of every document", between(1, 4096));
    f("encoder_reparameterization_type", encoder_reparameterization_type, "the network that makes the rows", one_of({"MLP", "LSTM"}));
    f("encoder_hidden_size", encoder_hidden_size, "width of the network; null: the model's width", at_least(1));
    f("encoder_num_layers", encoder_num_layers, "layers of the LSTM; the MLP always has three", at_least(1));
    f("encoder_dropout", encoder_dropout, "dropout between the LSTM's layers; the MLP has none", between(0, 0.999));
    f("modules_to_save", modules_to_save, "modules that are trained as a whole: path endings");
  }
};

class PTuning : public Method {
 public:
  Config& config() override { return config_; }
  void attach(AttachContext& context) override {
    config_.modules_to_save = as_name_list(config_.modules_to_save);
    const Model& model = context.model;
    const int64_t n = config_.num_virtual_tokens, d = model.config.embedding_width, h = config_.encoder_hidden_size.value_or(d);
    const auto options = adapter_options(model);
    const Tensor rows = add("prompt_encoder.embedding.weight", normal({n, d}, 1, options, context.generator));
    edit_ = std::make_shared<InputRows>();
    edit_->number = n;
    const bool lstm = config_.encoder_reparameterization_type == "LSTM";
    const std::vector<Tensor> cells = lstm ? add_lstm(d, h, options, context.generator) : std::vector<Tensor>();
    const std::vector<Tensor> head = add_layers(lstm ? std::vector<int64_t>{2 * h, 2 * h, d} : std::vector<int64_t>{d, h, h, d}, options, context.generator);
    edit_->compute = [this, rows, cells, head, h](bool training) {
      Tensor x = rows;
      if (!cells.empty()) {
        // cuDNN's LSTM has a backward pass only where it is told that it trains; without dropout that is all the word means.
        const bool learns = training || at::GradMode::is_enabled();
        const Tensor zero = at::zeros({2 * config_.encoder_num_layers, 1, h}, rows.options().requires_grad(false));
        x = std::get<0>(at::lstm(rows.unsqueeze(0), {zero, zero}, cells, /*has_biases=*/true, config_.encoder_num_layers, training ? config_.encoder_dropout : 0, learns,
                                 /*bidirectional=*/true, /*batch_first=*/true))
                .squeeze(0);
      }
      for (size_t i = 0; i < head.size(); i += 2) x = kernels::linear(i ? at::relu(x) : x, head[i], head[i + 1]);
      return x;
    };
    context.sites.put(edit_);
    own_ = params_.size();
    train_saved_modules(context.model, config_.modules_to_save, /*tie=*/false, kPromptPrefix, {}, "p_tuning", {params_, kept_});
  }
  NamedTensors file_tensors() const override {
    at::NoGradGuard no_grad;
    NamedTensors tensors = named_tensors(own_);
    tensors.emplace_back("prompt_embeddings", edit_->compute(false));
    return tensors;
  }
  void load_file_tensors(const NamedTensors& tensors, const std::string& source) override {
    const Tensor leaf = only_rows(params_, own_, at::empty_like(params_.front().value));
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
  std::vector<Tensor> add_layers(const std::vector<int64_t>& sizes, const at::TensorOptions& options, at::Generator& generator) {
    std::vector<Tensor> layers;
    for (size_t i = 0; i + 1 < sizes.size(); ++i) {
      const std::string name = fmt::format("prompt_encoder.mlp_head.{}.", 2 * i);
      layers.push_back(add(name + "weight", kaiming_uniform({sizes[i + 1], sizes[i]}, options, generator)));
      layers.push_back(add(name + "bias", uniform({sizes[i + 1]}, 1 / std::sqrt(static_cast<double>(sizes[i])), options, generator), false));
    }
    return layers;
  }
  // Weights and biases of each layer and direction, in torch's order.
  std::vector<Tensor> add_lstm(int64_t width, int64_t h, const at::TensorOptions& options, at::Generator& generator) {
    std::vector<Tensor> cells;
    const double bound = 1 / std::sqrt(static_cast<double>(h));
    for (int64_t layer = 0; layer < config_.encoder_num_layers; ++layer)
      for (const char* direction : {"", "_reverse"})
        for (const char* part : {"weight_ih", "weight_hh", "bias_ih", "bias_hh"}) {
          const bool weight = part[0] == 'w';
          const int64_t in = std::string(part) == "weight_hh" ? h : layer ? 2 * h : width;
          const std::vector<int64_t> shape = weight ? std::vector<int64_t>{4 * h, in} : std::vector<int64_t>{4 * h};
          cells.push_back(add(fmt::format("prompt_encoder.lstm_head.{}_l{}{}", part, layer, direction), uniform(shape, bound, options, generator), weight));
        }
    return cells;
  }

  PTuningConfig config_;
  std::shared_ptr<InputRows> edit_;
  size_t own_ = 0;  // parameters of the network; saved modules follow
};

}  // namespace

extern const MethodRow kPTuning;
const MethodRow kPTuning{.name = "p_tuning",
                         .peft_type = "P_TUNING",
                         .title = "P-tuning",
                         .paper = "arXiv 2103.10385",
                         .trains = "a small network that makes embedding rows in front of the input",
                         .idea = Idea::Prompt,
                         .formula = "E ← [MLP(P); E]",
                         .size = "n d + 2 d h + h² + 2 h + d while training, n d in the file",
                         .cost = "every document is n tokens longer; stays at inference",
                         .format = Format::Peft,
                         .mergeable = false,
                         .identity = false,
                         .learning_rate = 3e-3,
                         .make = []() -> std::unique_ptr<Method> { return std::make_unique<PTuning>(); }};

}  // namespace graft
