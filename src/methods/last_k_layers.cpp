// The last k blocks are trained as in full fine-tuning, optionally with the final norm and the output head; all below is
// frozen, and no gradient is computed for it. Writes a model folder.
#include "core/check.h"
#include "methods/common/base_params.h"

namespace graft {
namespace {

struct LastKConfig : Config {
  int64_t k = 1;
  bool train_norm = false, train_head = false;
  void visit(Fields& f) override {
    f("k", k, "how many of the last blocks are trained", at_least(1));
    f("train_norm", train_norm, "train the final norm too");
    f("train_head", train_head, "train the output head too (with a tied head: the embedding as well)");
  }
};

class LastKLayers : public Method {
 public:
  Config& config() override { return config_; }
  void attach(AttachContext& context) override {
    Model& model = context.model;
    if (config_.k > model.layers())
      usage_error("last_k_layers", fmt::format("k must be in 1..{} (the model's layers) but is {}", model.layers(), config_.k));
    std::vector<std::string> prefixes;
    for (int64_t i = model.layers() - config_.k; i < model.layers(); ++i) prefixes.push_back(model.blocks[i].path + ".");
    if (config_.train_norm && !model.final_norm.path.empty()) prefixes.push_back(model.final_norm.path + ".");
    const Tensor* const head[] = {model.config.tied_head ? &model.tokens.weight : &model.head.weight, &model.head.bias};
    visit_base(model, [&](const std::string& name, Tensor& handle, bool decays) {
      bool wanted = config_.train_head && (&handle == head[0] || &handle == head[1]);  // by handle: files may name it otherwise
      for (auto& prefix : prefixes) wanted |= name.starts_with(prefix);
      if (wanted) params_.push_back({name, trained_copy(handle), decays});
    });
  }

 private:
  LastKConfig config_;
};

}  // namespace

extern const MethodRow kLastKLayers;
const MethodRow kLastKLayers{.name = "last_k_layers",
                             .peft_type = nullptr,
                             .title = "Last k layers",
                             .paper = "",
                             .trains = "all tensors of the last k blocks",
                             .idea = Idea::Selective,
                             .formula = "W of the last k blocks trained",
                             .size = "all weights of k blocks",
                             .cost = "backward pass and optimizer state of k blocks only; none at inference",
                             .format = Format::ModelFolder,
                             .mergeable = true,
                             .identity = true,
                             .learning_rate = 1e-4,
                             .make = []() -> std::unique_ptr<Method> { return std::make_unique<LastKLayers>(); }};

}  // namespace graft
