// Context-aware prompt tuning (arXiv 2410.17222): the embeddings of given tokens, usually worked examples of the task, in front of every document, and
// a trained change of each that must stay small. E ← [P; E], P = embedding(cpt_token_ids) + δ, ‖δ_i‖ ≤ ε_i √(width / 2048).
// cpt_tokens_type_mask says what each token is, by its remainder by 4: 1 the input's template, 2 the input, 3 the answer's template, 0 an answer. ε is
// opt_projection_format_epsilon for 1 and 3, opt_projection_epsilon for 2; answers do not change. Answers in the prompt are learned like those of the
// row; with opt_weighted_loss_type decay the last one counts opt_loss_decay_factor, the one before its square, ... against 1 for the row's own.
// Trained: δ [n, width] from 0. Projected behind each step (PEFT projects in front of each pass: the same). Not the identity, not mergeable.
// The file holds P. The logged loss is the row's own, and a step's gradient is divided by the rows' learned tokens alone; PEFT's mean counts the prompt's
// answers too, a factor that clipping sees and AdamW hardly.
#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/companions.h"
#include "methods/common/init.h"
#include "methods/common/virtual_tokens.h"

namespace graft {
namespace {

struct CptConfig : Config {
  Json cpt_token_ids = Json::array({0}), cpt_mask, cpt_tokens_type_mask, modules_to_save;
  std::string opt_weighted_loss_type = "none";
  double opt_loss_decay_factor = 1, opt_projection_epsilon = 0.1, opt_projection_format_epsilon = 0.1;
  void visit(Fields& f) override {
    f("cpt_token_ids", cpt_token_ids, "the prompt's tokens, as a list of ids (graft tokenize writes them)");
    f("cpt_tokens_type_mask", cpt_tokens_type_mask, "what each token is: 1 input template, 2 input, 3 answer template, 4 answer; the next example goes on with 5; null: all 1");
    f("cpt_mask", cpt_mask, "1 for every token of the prompt; null: that");
    f("opt_weighted_loss_type", opt_weighted_loss_type, "whether answers further in front count less", one_of({"none", "decay"}));
    f("opt_loss_decay_factor", opt_loss_decay_factor, "what an answer counts against the next one", above(0));
    f("opt_projection_epsilon", opt_projection_epsilon, "how far an input's embedding may move, times sqrt(width / 2048)", above(0));
    f("opt_projection_format_epsilon", opt_projection_format_epsilon, "the same for the templates", above(0));
    f("modules_to_save", modules_to_save, "modules that are trained as a whole: path endings");
  }
};

struct CptEdit : InputRows {
  std::vector<Learned> answers;
  const bool* held = nullptr;
  std::vector<Learned> learned() const override { return *held ? std::vector<Learned>{} : answers; }
};

class Cpt : public Method {
 public:
  Config& config() override { return config_; }
  void attach(AttachContext& context) override {
    config_.modules_to_save = as_name_list(config_.modules_to_save);
    for (Json* list : {&config_.cpt_token_ids, &config_.cpt_mask, &config_.cpt_tokens_type_mask}) *list = as_index_list(*list);
    const Model& model = context.model;
    const std::vector<int64_t> ids = integers(config_.cpt_token_ids, "cpt_token_ids");
    n_ = static_cast<int64_t>(ids.size());
    if (ids.empty()) usage_error("cpt", "cpt_token_ids holds no token", "give the prompt's token ids");
    for (const int64_t id : ids)
      if (id < 0 || id >= model.config.vocab_size) usage_error("cpt", fmt::format("cpt_token_ids holds {}, but the vocabulary has {} tokens", id, model.config.vocab_size));
    const std::vector<int64_t> mask = per_token(config_.cpt_mask, "cpt_mask"), types = per_token(config_.cpt_tokens_type_mask, "cpt_tokens_type_mask");
    if (std::any_of(mask.begin(), mask.end(), [](int64_t m) { return m != 1; })) usage_error("cpt", "cpt_mask must be 1 everywhere", "leave tokens out of cpt_token_ids instead");
    const auto options = adapter_options(model);
    base_ = model.tokens.weight.detach().index_select(0, at::tensor(ids, at::kLong).to(model.device())).to(options);
    delta_ = add("delta_embedding.weight", zeros(base_.sizes(), options));
    trained_ = at::zeros({n_, 1}, options);
    radius_ = at::zeros({n_, 1}, options);
    const double unit = std::sqrt(static_cast<double>(model.config.embedding_width) / 2048);
    for (int64_t i = 0; i < n_; ++i) {
      const int64_t kind = types[i] > 0 ? types[i] % 4 : 0;
      if (kind == 0) continue;
      trained_[i].fill_(1);
      radius_[i].fill_(unit * (kind == 2 ? config_.opt_projection_epsilon : config_.opt_projection_format_epsilon));
    }
    if (trained_.sum().item<double>() == 0) usage_error("cpt", "cpt_tokens_type_mask names answers only: no token may change");
    auto edit = std::make_shared<CptEdit>();
    edit->compute = [this](bool) { return base_ + delta_ * trained_; };
    edit->number = n_;
    edit->held = &held_;
    edit->answers = answers(ids, types);
    context.sites.put(edit);
    train_saved_modules(context.model, config_.modules_to_save, /*tie=*/false, kPromptPrefix, {}, "cpt", {params_, kept_});
  }
  void after_step(int64_t) override {
    at::NoGradGuard no_grad;
    delta_.mul_(trained_ * (radius_ / at::maximum(delta_.norm(2, {1}, true), radius_.clamp_min(1e-20))));
  }
  void hold_constants(bool held) override { held_ = held; }  // the prompt's answers are no part of the loss that is shown

  NamedTensors file_tensors() const override {
    at::NoGradGuard no_grad;
    NamedTensors tensors = named_tensors(1);
    tensors.emplace_back("prompt_embeddings", base_ + delta_ * trained_);
    return tensors;
  }
  void load_file_tensors(const NamedTensors& tensors, const std::string& source) override {
    NamedTensors own;
    for (auto& [name, value] : tensors) {
      const bool rows = name == "prompt_embeddings" && value.is_floating_point() && value.sizes() == base_.sizes();
      own.emplace_back(rows ? params_[0].name : name, rows ? value.to(base_.options()) - base_ : value);
    }
    Method::load_file_tensors(own, source);
    // Rows that this base or these types would not give stay what the file says.
    at::NoGradGuard no_grad;
    base_ = base_ + delta_ * (1 - trained_);
    delta_.mul_(trained_);
  }
  Json file_config(const Model& model) override {
    Json json = to_json(config_);
    const Json all_one = std::vector<int64_t>(static_cast<size_t>(n_), 1);
    for (const char* mask : {"cpt_mask", "cpt_tokens_type_mask"})
      if (json[mask].is_null()) json[mask] = all_one;
    json["num_virtual_tokens"] = n_;
    json.update(virtual_token_structure(model, model.config.embedding_width, model.config.heads));
    return json;
  }
  std::vector<std::string> ignored_keys() const override {
    auto keys = virtual_token_structure_keys();
    keys.push_back("num_virtual_tokens");
    return keys;
  }

 private:
  static std::vector<int64_t> integers(const Json& list, const char* name) {
    if (!list.is_array() || !std::all_of(list.begin(), list.end(), [](const Json& entry) { return entry.is_number_integer(); }))
      usage_error("cpt", fmt::format("{} must be a list of integers but is {}", name, json_line(list)));
    return list.get<std::vector<int64_t>>();
  }
  std::vector<int64_t> per_token(const Json& list, const char* name) const {
    if (list.is_null()) return std::vector<int64_t>(static_cast<size_t>(n_), 1);
    const auto values = integers(list, name);
    if (static_cast<int64_t>(values.size()) != n_) usage_error("cpt", fmt::format("{} has {} entries for {} tokens", name, values.size(), n_));
    return values;
  }
  // Answers by their example, the last first: each counts the decay's next power.
  std::vector<InputEdit::Learned> answers(const std::vector<int64_t>& ids, const std::vector<int64_t>& types) const {
    std::vector<int64_t> examples;
    for (const int64_t type : types)
      if (type > 0 && type % 4 == 0) examples.push_back(type);
    std::sort(examples.begin(), examples.end(), std::greater<>());
    examples.erase(std::unique(examples.begin(), examples.end()), examples.end());
    std::vector<InputEdit::Learned> learned;
    for (size_t i = 1; i < ids.size(); ++i) {
      const auto example = std::find(examples.begin(), examples.end(), types[i]);
      if (example == examples.end()) continue;
      const double power = static_cast<double>(example - examples.begin() + 1);
      learned.push_back({static_cast<int64_t>(i) - 1, ids[i], config_.opt_weighted_loss_type == "decay" ? std::pow(config_.opt_loss_decay_factor, power) : 1});
    }
    return learned;
  }

  CptConfig config_;
  int64_t n_ = 0;
  Tensor base_, delta_, trained_, radius_;  // [n, width] twice, [n, 1] twice
  bool held_ = false;
};

}  // namespace

extern const MethodRow kCpt;
const MethodRow kCpt{.name = "cpt",
                     .peft_type = "CPT",
                     .title = "Context-aware prompt tuning",
                     .paper = "arXiv 2410.17222",
                     .trains = "small changes of given tokens' embeddings in front of the input",
                     .idea = Idea::Prompt,
                     .formula = "E ← [embedding(prompt) + δ; E],  ‖δ_i‖ ≤ ε √(d/2048)",
                     .size = "n d",
                     .cost = "every document is n tokens longer; stays at inference",
                     .format = Format::Peft,
                     .mergeable = false,
                     .identity = false,
                     .learning_rate = 1e-3,
                     .make = []() -> std::unique_ptr<Method> { return std::make_unique<Cpt>(); }};

}  // namespace graft
