// LoRA (arXiv 2106.09685), rsLoRA (arXiv 2312.03732) and DoRA (arXiv 2402.09353).
//   LoRA    y = W x + b + s · B A drop(x),  s = α / r;  rsLoRA: s = α / √r
//   DoRA    V = W + s·BA, n = ‖rows of V‖ (a constant in the backward pass), m trained:
//           y = W x + b + (m/n − 1) ⊙ (W x') + (m/n) ⊙ s·B A x',  x' = drop(x)
// Trained: A [r, in], B [out, r] and m [out]; at the token embedding A [r, vocab], B [width, r], m [width]. Init: A kaiming, B 0
// (embedding: A 0, B normal), m = ‖rows of W‖: the identity; others in common/lora_start.h. Merges: W + s·BA, or (m/n) ⊙ V.
// Beside them: biases, whole modules, single token rows (common/companions.h).
// An adapter that starts from PiSSA or OLoRA is written as the plain LoRA that it is against the untouched base:
// A* = [A; A0], B* = [B, −B0], r* = 2r, α* = 2α (rsLoRA: √2 α).
// Deviations: a name in target_modules or a pattern's key that matches nothing is an error; so are two keys of a pattern that
// give one module different values; tied embeddings that are adapted as one are one pair of factors, which merge once.
#include <algorithm>
#include <cmath>
#include <map>

#include "core/check.h"
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/companions.h"
#include "methods/common/init.h"
#include "methods/common/lora_edits.h"
#include "methods/common/lora_start.h"
#include "methods/common/targets.h"
#include "model/family.h"

namespace graft {
namespace {

struct LoraConfig : Config {
  int64_t r = 8;
  double lora_alpha = 8, lora_dropout = 0;
  TargetOptions targets;
  std::string bias = "none";
  bool use_rslora = false, use_dora = false, lora_bias = false, fan_in_fan_out = false, ensure_weight_tying = false;
  Json init_lora_weights = true, rank_pattern = Json::object(), alpha_pattern = Json::object(), modules_to_save,
       trainable_token_indices;
  void visit(Fields& f) override {
    f("r", r, "rank of the update", at_least(1));
    f("lora_alpha", lora_alpha, "the update is scaled by lora_alpha / r", above(0));
    f("lora_dropout", lora_dropout, "dropout on the update's input", between(0, 0.999));
    targets.visit(f);
    f("bias", bias, "train biases of the base too: none, all, or those of the adapted modules",
      one_of({"none", "all", "lora_only"}));
    f("use_rslora", use_rslora, "scale by lora_alpha / sqrt(r)");
    f("use_dora", use_dora, "weight-decomposed: train the rows' magnitudes too");
    f("lora_bias", lora_bias, "a trained bias behind B");
    f("init_lora_weights", init_lora_weights,
      "true: A kaiming, B 0; false: both random; \"gaussian\", \"orthogonal\", \"pissa\", \"pissa_niter_4\" (any number), "
      "\"olora\"");
    f("rank_pattern", rank_pattern, "other ranks for modules whose path a key matches: {regex: r}");
    f("alpha_pattern", alpha_pattern, "other lora_alpha for modules whose path a key matches: {regex: alpha}");
    f("modules_to_save", modules_to_save, "modules that are trained as a whole: path endings");
    f("trainable_token_indices", trainable_token_indices,
      "token ids whose embedding rows are trained: a list, or {module: list}");
    f("ensure_weight_tying", ensure_weight_tying, "keep a tied head and embedding tied when one of them is adapted or saved");
    f("fan_in_fan_out", fan_in_fan_out, "the base stores [in, out]; known from the model, accepted for files of other programs");
  }
};

class Lora : public Method {
 public:
  explicit Lora(bool rslora = false, bool dora = false) { config_.use_rslora = rslora, config_.use_dora = dora; }
  Config& config() override { return config_; }

  void attach(AttachContext& context) override {
    config_.modules_to_save = as_name_list(config_.modules_to_save);
    config_.trainable_token_indices = as_index_list(config_.trainable_token_indices);
    check_lora_start(config_.init_lora_weights, context.loading, "lora");
    if (config_.lora_bias && (config_.use_dora || !config_.init_lora_weights.is_boolean()))
      usage_error("lora", "lora_bias cannot be combined with use_dora or with an init_lora_weights other than true and false");
    Model& model = context.model;
    targets_ = resolve_targets(model, config_.targets, model.family->targets.low_rank, "lora",
                               {config_.modules_to_save, /*embeddings=*/true});
    tie_targets(model);
    ModulePattern ranks(config_.rank_pattern, "rank_pattern", "lora", true),
        alphas(config_.alpha_pattern, "alpha_pattern", "lora", false);
    for (auto& target : targets_) {
      const std::string& path = target_path(model, target);
      const int64_t r = static_cast<int64_t>(ranks.value(path, static_cast<double>(config_.r)));
      const double alpha = alphas.value(path, config_.lora_alpha);
      const double scale = config_.use_rslora ? alpha / std::sqrt(static_cast<double>(r)) : alpha / static_cast<double>(r);
      if (target.site == Site::Embed)
        adapt_embedding(context, r, scale);
      else
        adapt_linear(context, target, r, scale);
    }
    ranks.check_all_used();
    alphas.check_all_used();
    const CompanionLists lists{params_, kept_};
    keep_embeddings(model, targets_, saved_targets(model), lists);
    train_saved_modules(model, config_.modules_to_save, config_.ensure_weight_tying, kPeftPrefix, target_paths(model, targets_),
                        "lora", lists);
    train_token_rows(context, config_.trainable_token_indices, config_.ensure_weight_tying, "lora", lists);
    train_biases(model, config_.bias, targets_, lists);
  }

  NamedTensors file_tensors() const override {
    NamedTensors tensors = Method::file_tensors();
    if (starts_.empty()) return tensors;
    for (auto& [name, value] : tensors)
      if (const auto start = starts_.find(name); start != starts_.end())
        value = at::cat({value, start->second.first}, start->second.second);
    return tensors;
  }
  Json file_config(const Model& model) override {
    Json json = to_json(config_);
    json["target_modules"] = saved_targets(model);
    json["modules_to_save"] = saved_modules_for_file(model, config_.modules_to_save, config_.ensure_weight_tying);
    json["fan_in_fan_out"] = any_conv1d(targets_);
    if (starts_.empty()) return json;
    const double factor = config_.use_rslora ? std::sqrt(2.0) : 2;
    json["init_lora_weights"] = true;
    json["r"] = 2 * config_.r;
    json["lora_alpha"] = factor * config_.lora_alpha;
    if (json["rank_pattern"].is_object())
      for (auto& rank : json["rank_pattern"]) rank = 2 * rank.get<int64_t>();
    if (json["alpha_pattern"].is_object())
      for (auto& alpha : json["alpha_pattern"]) alpha = factor * alpha.get<double>();
    return json;
  }
  void hold_constants(bool held) override {
    for (auto& edit : edits_) edit->held = held;
    if (embedding_) embedding_->held = held;
  }
  // Read only where use_qalora is on, or at the start of training.
  std::vector<std::string> ignored_keys() const override { return {"qalora_group_size", "eva_config"}; }

 private:
  // A tied head or embedding that is to stay tied: the embedding is adapted and the head follows.
  void tie_targets(const Model& model) {
    if (!config_.ensure_weight_tying || !model.config.tied_head) return;
    const auto is_outer = [](const Target& t) { return t.site == Site::Embed || t.site == Site::Head; };
    head_follows_ = std::erase_if(targets_, is_outer) > 0;
    if (!head_follows_) return;
    if (config_.use_dora)
      usage_error("lora", "use_dora cannot be combined with ensure_weight_tying for a tied embedding or head",
                  "leave the embedding and the head out");
    targets_.insert(targets_.begin(), {Site::Embed, -1, nullptr});
  }

  void adapt_linear(AttachContext& context, const Target& target, int64_t r, double scale) {
    Linear& linear = *target.linear;
    const int64_t most = std::min(linear.in(), linear.out());
    if (r > most && !context.loading)
      usage_error("lora", fmt::format("r must be in 1..min(in, out) = {} but is {} ({})", most, r, linear.path),
                  "choose a smaller r or other target_modules");
    const auto options = adapter_options(context.model);
    LoraStart start = lora_start(config_.init_lora_weights, r, scale, linear, options, context.generator);
    auto edit = std::make_shared<LoraEdit>();
    edit->scale = scale;
    edit->dropout = config_.lora_dropout;
    const std::string name = kPeftPrefix + linear.path + ".lora_";
    edit->a = add(name + "A.weight", start.a);
    edit->b = add(name + "B.weight", start.b);
    if (config_.lora_bias) edit->bias = add(name + "B.bias", zeros({linear.out()}, options), false);
    if (start.residual.defined()) {
      if (target.site == Site::Head && context.model.config.tied_head)
        usage_error("lora",
                    fmt::format("init_lora_weights = {} would change the tied head '{}' and with it the embedding",
                                json_line(config_.init_lora_weights), linear.path),
                    "leave the head out");
      linear.weight = start.residual.to(context.model.dtype());
      remember_start(name, start.a, start.b);
    }
    if (config_.use_dora) edit->magnitude = add(name + "magnitude_vector", edit->row_norms(linear).clone(), false);
    context.sites.put(target.site, target.layer, edit);
    edits_.push_back(edit);
  }

  void adapt_embedding(AttachContext& context, int64_t r, double scale) {
    Model& model = context.model;
    const auto options = adapter_options(model);
    if (config_.lora_bias)
      usage_error("lora", fmt::format("lora_bias cannot be combined with the embedding '{}' as a target", model.tokens.path));
    const bool random = config_.init_lora_weights == false;
    embedding_ = std::make_shared<LoraEmbedEdit>();
    embedding_->scale = scale;
    const std::string name = kPeftPrefix + model.tokens.path + ".lora_";
    const std::vector<int64_t> a_shape{r, model.config.vocab_size}, b_shape{model.tokens.weight.size(1), r};
    embedding_->a = add(name + "embedding_A", random ? normal(a_shape, 1, options, context.generator) : zeros(a_shape, options));
    embedding_->b = add(name + "embedding_B", normal(b_shape, 1, options, context.generator));
    if (changes_base(config_.init_lora_weights)) {  // only ranks grow in the file: nothing to take away here
      remember(name + "embedding_A", at::zeros_like(embedding_->a.detach()), 0);
      remember(name + "embedding_B", at::zeros_like(embedding_->b.detach()), 1);
    }
    if (config_.use_dora)
      embedding_->magnitude = add(name + "magnitude_vector", embedding_->column_norms(model.tokens.weight).clone(), false);
    context.sites.put(embedding_);
    if (!head_follows_) return;
    auto head = std::make_shared<LoraTiedHeadEdit>();
    head->embedding = embedding_;
    context.sites.put(Site::Head, -1, head);
    const std::string head_name = kPeftPrefix + model.head.path + ".";
    kept_.push_back({head_name + "lora_A.weight", embedding_->b.detach().t()});
    kept_.push_back({head_name + "lora_B.weight", embedding_->a.detach().t()});
    kept_.push_back({head_name + "base_layer.weight", model.tokens.weight});
  }

  void remember(const std::string& name, Tensor value, int64_t dim) { starts_[name] = {std::move(value), dim}; }
  void remember_start(const std::string& name, const Tensor& a, const Tensor& b) {
    remember(name + "A.weight", a.detach().clone(), 0);
    remember(name + "B.weight", -b.detach(), 1);
  }

  Json saved_targets(const Model& model) const {
    Json saved = saved_selection(targets_, config_.targets.target_modules, model.family->targets.low_rank);
    if (head_follows_ && saved.is_array())  // by these names PEFT sees that both are meant
      for (const std::string& path : {model.tokens.path, model.head.path}) {
        const std::string name = path.substr(path.rfind('.') + 1);
        if (std::find(saved.begin(), saved.end(), Json(name)) == saved.end()) saved.push_back(name);
      }
    return saved;
  }

  LoraConfig config_;
  std::vector<Target> targets_;
  std::vector<std::shared_ptr<LoraEdit>> edits_;
  std::shared_ptr<LoraEmbedEdit> embedding_;
  bool head_follows_ = false;
  std::map<std::string, std::pair<Tensor, int64_t>>
      starts_;  // what is appended to a factor in the file, and along which dimension
};

}  // namespace

extern const MethodRow kLora, kRsLora, kDora;
const MethodRow kLora{.name = "lora",
                      .peft_type = "LORA",
                      .title = "LoRA",
                      .paper = "arXiv 2106.09685",
                      .trains = "a low-rank update of the weights",
                      .idea = Idea::LowRank,
                      .formula = "y = W x + b + α/r · B A x",
                      .size = "r (in + out) a linear",
                      .cost = "2 r (in + out) operations a token and pass beside the base's 2 in · out; none after merging",
                      .format = Format::Peft,
                      .mergeable = true,
                      .identity = true,
                      .learning_rate = 5e-4,
                      .make = []() -> std::unique_ptr<Method> { return std::make_unique<Lora>(); }};
const MethodRow kRsLora{.name = "rslora",
                        .peft_type = "LORA",
                        .title = "rsLoRA",
                        .paper = "arXiv 2312.03732",
                        .trains = "a low-rank update of the weights, scaled by alpha / sqrt(r)",
                        .idea = Idea::LowRank,
                        .formula = "y = W x + b + α/√r · B A x",
                        .size = "r (in + out) a linear",
                        .cost = "as LoRA",
                        .format = Format::Peft,
                        .mergeable = true,
                        .identity = true,
                        .learning_rate = 5e-4,
                        .make = []() -> std::unique_ptr<Method> { return std::make_unique<Lora>(true, false); }};
const MethodRow kDora{.name = "dora",
                      .peft_type = "LORA",
                      .title = "DoRA",
                      .paper = "arXiv 2402.09353",
                      .trains = "a low-rank update of the weights and the rows' magnitudes",
                      .idea = Idea::LowRank,
                      .formula = "y = W x + b + (m/n − 1) ⊙ W x + m/n ⊙ s · B A x,  n = ‖rows of W + s · B A‖",
                      .size = "r (in + out) + out a linear",
                      .cost = "LoRA and the norms of the rows: r in · out operations a step, not a token",
                      .format = Format::Peft,
                      .mergeable = true,
                      .identity = true,
                      .learning_rate = 5e-4,
                      .make = []() -> std::unique_ptr<Method> { return std::make_unique<Lora>(false, true); }};

}  // namespace graft
