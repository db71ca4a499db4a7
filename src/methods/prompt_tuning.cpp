// Prompt tuning (arXiv 2104.08691): trained embedding rows in front of every document. E ← [P; E].
// Trained: P [num_virtual_tokens, width]. Init RANDOM: normal(0, 1), much larger than real embeddings; SAMPLE_VOCAB: rows of
// the embedding table; TEXT: rows of a text's tokens, repeated or cut. Not the identity, not mergeable.
#include "core/check.h"
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/companions.h"
#include "methods/common/init.h"
#include "methods/common/virtual_tokens.h"

namespace graft {
namespace {

struct PromptTuningConfig : Config {
  Json modules_to_save;
  int64_t num_virtual_tokens = 20;
  std::string prompt_tuning_init = "RANDOM";
  std::optional<std::string> prompt_tuning_init_text;
  void visit(Fields& f) override {
    f("num_virtual_tokens", num_virtual_tokens, "rows in front of every document", between(1, 4096));
    f("prompt_tuning_init", prompt_tuning_init, "where the rows start", one_of({"RANDOM", "SAMPLE_VOCAB", "TEXT"}));
    f("prompt_tuning_init_text", prompt_tuning_init_text, "the text for TEXT");
    f("modules_to_save", modules_to_save, "modules that are trained as a whole: path endings");
  }
};

class PromptTuning : public Method {
 public:
  Config& config() override { return config_; }
  void attach(AttachContext& context) override {
    config_.modules_to_save = as_name_list(config_.modules_to_save);
    const int64_t n = config_.num_virtual_tokens;
    const Tensor rows = add("prompt_embeddings", initial_rows(context));
    auto edit = std::make_shared<InputRows>();
    edit->compute = [rows](bool) { return rows; };
    edit->number = n;
    context.sites.put(edit);
    train_saved_modules(context.model, config_.modules_to_save, /*tie=*/false, kPromptPrefix, {}, "prompt_tuning", {params_, kept_});
  }
  Json file_config(const Model& model) override {
    Json json = to_json(config_);
    json.update(virtual_token_structure(model, model.config.embedding_width, model.config.heads));
    return json;
  }
  std::vector<std::string> ignored_keys() const override { return virtual_token_structure_keys(); }

 private:
  Tensor initial_rows(AttachContext& context) {
    const Model& model = context.model;
    const int64_t n = config_.num_virtual_tokens;
    const auto options = adapter_options(model);
    if (config_.prompt_tuning_init == "RANDOM") return normal({n, model.config.embedding_width}, 1, options, context.generator);
    std::vector<int64_t> ids;
    if (config_.prompt_tuning_init == "TEXT") {
      if (!config_.prompt_tuning_init_text) usage_error("prompt_tuning", "prompt_tuning_init = TEXT needs prompt_tuning_init_text");
      if (!context.tokenize) return zeros({n, model.config.embedding_width}, options);  // the rows come from a file
      ids = context.tokenize(*config_.prompt_tuning_init_text);
      if (ids.empty()) usage_error("prompt_tuning", "prompt_tuning_init_text holds no token");
      for (size_t i = 0; static_cast<int64_t>(ids.size()) < n; ++i) ids.push_back(ids[i]);
      ids.resize(static_cast<size_t>(n));
    } else {
      const Tensor drawn = at::randint(0, model.config.vocab_size, {n}, context.generator, at::TensorOptions().dtype(at::kLong));
      ids.assign(drawn.const_data_ptr<int64_t>(), drawn.const_data_ptr<int64_t>() + n);
    }
    return model.tokens.weight.detach().index_select(0, at::tensor(ids, at::kLong).to(model.device())).to(options);
  }
  PromptTuningConfig config_;
};

}  // namespace

extern const MethodRow kPromptTuning;
const MethodRow kPromptTuning{.name = "prompt_tuning",
                              .peft_type = "PROMPT_TUNING",
                              .title = "Prompt tuning",
                              .paper = "arXiv 2104.08691",
                              .trains = "embedding rows in front of the input",
                              .idea = Idea::Prompt,
                              .formula = "E ← [P; E]",
                              .size = "n d",
                              .cost = "every document is n tokens longer; stays at inference",
                              .format = Format::Peft,
                              .mergeable = false,
                              .identity = false,
                              .learning_rate = 3e-2,
                              .make = []() -> std::unique_ptr<Method> { return std::make_unique<PromptTuning>(); }};

}  // namespace graft
