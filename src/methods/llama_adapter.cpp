// LLaMA-Adapter (arXiv 2303.16199): in the last adapter_layers layers every token also attends to trained rows, with a softmax of their own and a gate
// that starts at 0:
//   a ← a + g · softmax(q K_pᵀ · scale) V_p,   K_p, V_p = W_k P + b_k, W_v P + b_v without rotary positions (through the keys' norm where the family has
//   one), a = the attention's output before W_o, scale the layer's own.
// Trained: P [1, adapter_len, width], g [1]. Init P normal(0, 1), g 0: the identity. Not mergeable.
// As PEFT has it, with two differences: P and g are float32 whatever the base's dtype (PEFT trains them in the base's, where small steps vanish), and W_o's
// bias is added once (PEFT passes the term through W_o with its bias again, so that its models with such a bias do not start as the base). In GPT-2 the
// term joins behind W_o, as PEFT's does. PEFT reads files for llama, mistral and gpt2.
#include "core/check.h"
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/targets.h"
#include "model/family.h"

namespace graft {
namespace {

struct LlamaAdapterConfig : Config {
  std::optional<std::string> target_modules;
  int64_t adapter_len = 10;
  std::optional<int64_t> adapter_layers;
  void visit(Fields& f) override {
    f("adapter_len", adapter_len, "rows that every token attends to in a layer", between(1, 4096));
    f("adapter_layers", adapter_layers, "layers that have them, from the last; null: all but the lowest two", at_least(1));
    f("target_modules", target_modules, "the attention's name inside a block, as PEFT writes it; null: the family's");
  }
};

struct LlamaAdapterEdit : SideEdit {
  Tensor prompt, factor;
  bool behind = false;
  Tensor rows() const override { return prompt.squeeze(0); }
  Tensor gate() const override { return factor; }
  bool behind_output() const override { return behind; }
};

class LlamaAdapter : public Method {
 public:
  Config& config() override { return config_; }
  void attach(AttachContext& context) override {
    const Model& model = context.model;
    const int64_t layers = model.layers(), adapted = config_.adapter_layers.value_or(std::max<int64_t>(1, layers - 2));
    if (adapted > layers) usage_error("llama_adapter", fmt::format("adapter_layers must be at most the model's {} layers but is {}", layers, adapted));
    const auto options = adapter_options(model);
    for (int64_t layer = layers - adapted; layer < layers; ++layer) {
      const Linear& output = model.blocks[layer].o;
      const std::string attention = output.path.substr(0, output.path.rfind('.')), name = last_part(attention);
      if (config_.target_modules && *config_.target_modules != name)
        usage_error("llama_adapter", fmt::format("target_modules is '{}', but the attention of this model is called '{}'", *config_.target_modules, name));
      auto edit = std::make_shared<LlamaAdapterEdit>();
      edit->prompt = add(kPeftPrefix + attention + ".adaption_prompt", normal({1, config_.adapter_len, model.config.width}, 1, options, context.generator));
      edit->factor = add(kPeftPrefix + attention + ".adaption_gate", zeros({1}, options), false);
      edit->behind = output.conv1d;
      context.sites.put(layer, edit);
      attention_ = name;
    }
    adapted_ = adapted;
  }
  Json file_config(const Model&) override {
    Json json = to_json(config_);
    json["target_modules"] = attention_;
    json["adapter_layers"] = adapted_;
    return json;
  }

 private:
  LlamaAdapterConfig config_;
  std::string attention_;
  int64_t adapted_ = 0;
};

}  // namespace

extern const MethodRow kLlamaAdapter;
const MethodRow kLlamaAdapter{.name = "llama_adapter",
                              .peft_type = "ADAPTION_PROMPT",
                              .title = "LLaMA-Adapter",
                              .paper = "arXiv 2303.16199",
                              .trains = "rows that the upper layers attend to beside their keys, behind a gate",
                              .idea = Idea::Prompt,
                              .formula = "softmax(Q Kᵀ/√d_h) V + g · softmax(Q (W_k P)ᵀ/√d_h) W_v P",
                              .size = "n d + 1 a layer",
                              .cost = "2 n d operations a token and layer; stays at inference",
                              .format = Format::Peft,
                              .mergeable = false,
                              .identity = true,
                              .learning_rate = 9e-3,
                              .make = []() -> std::unique_ptr<Method> { return std::make_unique<LlamaAdapter>(); },
                              .aliases = "adaption_prompt"};

}  // namespace graft
