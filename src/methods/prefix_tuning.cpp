// Prefix tuning (arXiv 2101.00190): trained keys and values in front of every document, in every layer. Keys are used as
// they are, without rotary positions; real tokens start at position num_virtual_tokens.
// Trained: a table [num_virtual_tokens, 2 · layers · kv_heads · head_dim], slot 2i = keys of layer i, slot 2i + 1 = values;
// with prefix_projection E [num_virtual_tokens, d] and table = W2 tanh(W1 E + b1) + b2, d = kv_heads · head_dim.
// Init normal(0, 1), or zeros; neither is the identity. Not mergeable. Files hold the table only, as the reference's do; an
// adapter with projection that is read from a file trains on from the table.
#include "core/check.h"
#include "core/torch.h"
#include "kernels/linear.h"
#include "methods/common/base_params.h"
#include "methods/common/companions.h"
#include "methods/common/init.h"
#include "methods/common/virtual_tokens.h"

namespace graft {
namespace {

struct PrefixConfig : Config {
  Json modules_to_save;
  int64_t num_virtual_tokens = 20;
  bool prefix_projection = false;
  std::optional<int64_t> encoder_hidden_size;
  std::optional<std::string> init_weights;
  void visit(Fields& f) override {
    f("num_virtual_tokens", num_virtual_tokens, "rows in front of every document in every layer", between(1, 4096));
    f("prefix_projection", prefix_projection, "compute the rows by a small network while training");
    f("encoder_hidden_size", encoder_hidden_size, "width of that network; null: kv_heads x head_dim", at_least(1));
    f("init_weights", init_weights, "null: normal(0, 1); \"zero\": zeros", one_of({"zero"}));
    f("modules_to_save", modules_to_save, "modules that are trained as a whole: path endings");
  }
};

// The parameters behind the rows; a layer computes only its own two slots.
struct PrefixTable {
  Tensor flat;                    // [n, 2 · layers · d], or undefined with a projection
  Tensor embedding, w1, b1, w2, b2;

  Tensor slots(int64_t begin, int64_t width) const {  // columns begin .. begin + width
    if (flat.defined()) return flat.narrow(1, begin, width);
    const Tensor inner = at::tanh(kernels::linear(embedding, w1, b1));
    return kernels::linear(inner, w2.narrow(0, begin, width), b2.narrow(0, begin, width));
  }
};

struct PrefixEdit : KvEdit {
  std::shared_ptr<PrefixTable> table;
  int64_t layer = 0, rows_in_table = 0, kv_heads = 0, head_dim = 0;
  at::ScalarType dtype = at::kFloat;

  Rows rows() const override {
    const int64_t d = kv_heads * head_dim;
    const Tensor both = table->slots(2 * layer * d, 2 * d).to(dtype).view({rows_in_table, 2, kv_heads, head_dim});
    return {both.select(1, 0), both.select(1, 1)};
  }
  int64_t count() const override { return rows_in_table; }
};

class PrefixTuning : public Method {
 public:
  Config& config() override { return config_; }
  void attach(AttachContext& context) override {
    config_.modules_to_save = as_name_list(config_.modules_to_save);
    const Model& model = context.model;
    const int64_t n = config_.num_virtual_tokens, d = model.config.kv_heads * model.config.head_dim, all = 2 * model.layers() * d;
    const int64_t h = config_.encoder_hidden_size.value_or(d);
    const auto options = adapter_options(model);
    width_ = all;
    table_ = std::make_shared<PrefixTable>();
    if (config_.prefix_projection) {
      table_->embedding = add("prompt_encoder.embedding.weight", normal({n, d}, 1, options, context.generator));
      table_->w1 = add("prompt_encoder.transform.0.weight", kaiming_uniform({h, d}, options, context.generator));
      table_->b1 = add("prompt_encoder.transform.0.bias", uniform({h}, 1 / std::sqrt(static_cast<double>(d)), options, context.generator), false);
      table_->w2 = add("prompt_encoder.transform.2.weight", kaiming_uniform({all, h}, options, context.generator));
      table_->b2 = add("prompt_encoder.transform.2.bias", uniform({all}, 1 / std::sqrt(static_cast<double>(h)), options, context.generator), false);
    } else {
      table_->flat = add("prompt_embeddings", config_.init_weights == "zero" ? zeros({n, all}, options) : normal({n, all}, 1, options, context.generator));
    }
    for (int64_t layer = 0; layer < model.layers(); ++layer) {
      auto edit = std::make_shared<PrefixEdit>();
      edit->table = table_;
      edit->layer = layer;
      edit->rows_in_table = n;
      edit->kv_heads = model.config.kv_heads;
      edit->head_dim = model.config.head_dim;
      edit->dtype = model.dtype();
      context.sites.put(layer, edit);
    }
    own_ = params_.size();
    train_saved_modules(context.model, config_.modules_to_save, /*tie=*/false, kPromptPrefix, {}, "prefix_tuning", {params_, kept_});
  }
  NamedTensors file_tensors() const override {
    at::NoGradGuard no_grad;
    NamedTensors tensors = named_tensors(own_);
    tensors.emplace_back("prompt_embeddings", table_->slots(0, width_));
    return tensors;
  }
  void load_file_tensors(const NamedTensors& tensors, const std::string& source) override {
    if (!table_->flat.defined()) {
      table_->flat = only_rows(params_, own_, at::empty({config_.num_virtual_tokens, width_}, params_.front().value.options().requires_grad(false)));
    }
    Method::load_file_tensors(tensors, source);
  }
  Json file_config(const Model& model) override {
    Json json = to_json(config_);
    const int64_t d = model.config.kv_heads * model.config.head_dim;
    json["encoder_hidden_size"] = config_.encoder_hidden_size.value_or(d);
    json.update(virtual_token_structure(model, d, model.config.kv_heads));
    return json;
  }
  std::vector<std::string> ignored_keys() const override { return virtual_token_structure_keys(); }

 private:
  PrefixConfig config_;
  std::shared_ptr<PrefixTable> table_;
  int64_t width_ = 0;
  size_t own_ = 0;  // parameters of the table; saved modules follow
};

}  // namespace

extern const MethodRow kPrefixTuning;
const MethodRow kPrefixTuning{.name = "prefix_tuning",
                              .peft_type = "PREFIX_TUNING",
                              .title = "Prefix tuning",
                              .paper = "arXiv 2101.00190",
                              .trains = "keys and values in front of the input, in every layer",
                              .idea = Idea::Prompt,
                              .formula = "softmax(Q [P_k; K]ᵀ/√d_h) [P_v; V]",
                              .size = "2 n kv_width a block",
                              .cost = "n more keys and values for every query; stays at inference",
                              .format = Format::Peft,
                              .mergeable = false,
                              .identity = false,
                              .learning_rate = 1e-2,
                              .make = []() -> std::unique_ptr<Method> { return std::make_unique<PrefixTuning>(); }};

}  // namespace graft
