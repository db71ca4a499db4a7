// Trainable tokens: single rows of the token embedding, for new or rare tokens.
//   row t of the embedding is δ_t for the chosen tokens; a tied head follows
// Trained: δ [n, width], values and not differences. Init: the base's rows: the identity. Merges: the rows are replaced.
// A tied head's rows stand in the file a second time under the head's name, as PEFT writes them.
#include "core/check.h"
#include "core/torch.h"
#include "methods/common/companions.h"
#include "methods/common/init.h"
#include "methods/common/targets.h"

namespace graft {
namespace {

struct TrainableTokensConfig : Config {
  Json token_indices = Json::array(), target_modules;
  bool init_weights = true;
  void visit(Fields& f) override {
    f("token_indices", token_indices, "ids of the tokens whose rows are trained");
    f("target_modules", target_modules, "where: the token embedding, the head or both; null: the token embedding");
    f("init_weights", init_weights, "true: the base's rows at the start; false: random ones");
  }
};

class TrainableTokens : public Method {
 public:
  Config& config() override { return config_; }
  void attach(AttachContext& context) override {
    const Model& model = context.model;
    const std::string tokens = model.tokens.path, head = model.head.path;
    const Json indices = as_index_list(config_.token_indices),
               chosen = config_.target_modules.is_null() ? Json::array({tokens}) : as_list_if_plain(config_.target_modules);
    if (!chosen.is_string() &&
        !(chosen.is_array() && std::all_of(chosen.begin(), chosen.end(), [](const Json& name) { return name.is_string(); })))
      usage_error("trainable_tokens",
                  fmt::format("target_modules must be null, text or a list of names but is {}", json_line(chosen)));
    Json where = Json::object();
    for (auto& path : {tokens, head})
      if (matches_module(chosen, path)) where[path] = indices;
    if (where.empty())
      usage_error("trainable_tokens", fmt::format("target_modules = {} is neither the token embedding '{}' nor the head '{}'",
                                                  json_line(chosen), tokens, head));
    config_.target_modules = chosen, config_.token_indices = indices;
    train_token_rows(context, where, /*tie=*/false, "trainable_tokens", {params_, kept_}, ".trainable_tokens_delta");
    if (!config_.init_weights)
      for (auto& p : params_)
        p.value.detach().copy_(normal(p.value.sizes(), 1, p.value.options().requires_grad(false), context.generator));
    if (model.config.tied_head && where.contains(tokens))
      kept_.push_back({kPeftPrefix + head + ".trainable_tokens_delta", params_.front().value.detach()});
  }

 private:
  TrainableTokensConfig config_;
};

}  // namespace

extern const MethodRow kTrainableTokens;
const MethodRow kTrainableTokens{.name = "trainable_tokens",
                                 .peft_type = "TRAINABLE_TOKENS",
                                 .title = "Trainable tokens",
                                 .paper = "HF PEFT",
                                 .trains = "rows of the token embedding",
                                 .idea = Idea::Selective,
                                 .formula = "row t of the embedding is δ_t for chosen tokens t",
                                 .size = "n · width",
                                 .cost = "the base's, but for a look-up",
                                 .format = Format::Peft,
                                 .mergeable = true,
                                 .identity = true,
                                 .learning_rate = 1e-3,
                                 .make = []() -> std::unique_ptr<Method> { return std::make_unique<TrainableTokens>(); }};

}  // namespace graft
