#include "methods/common/lora_method.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/companions.h"
#include "methods/common/init.h"
#include "model/family.h"

namespace graft {

void LoraConfig::visit(Fields& f) {
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
  f("trainable_token_indices", trainable_token_indices, "token ids whose embedding rows are trained: a list, or {module: list}");
  f("ensure_weight_tying", ensure_weight_tying, "keep a tied head and embedding tied when one of them is adapted or saved");
  f("fan_in_fan_out", fan_in_fan_out, "the base stores [in, out]; known from the model, accepted for files of other programs");
}

std::vector<Target> LoraMethod::targets(AttachContext& context) {
  return resolve_targets(context.model, options().targets, context.model.family->targets.low_rank, name_,
                         {as_name_list(options().modules_to_save), adapts_embeddings()});
}

LoraStart LoraMethod::start(AttachContext& context, const Linear& linear, int64_t r, double scale) {
  return lora_start(options().init_lora_weights, r, scale, linear, adapter_options(context.model), context.generator);
}

LoraStart LoraMethod::embedding_start(AttachContext& context, const Tensor& weight, int64_t r) {
  const auto tensors = adapter_options(context.model);
  const std::vector<int64_t> a_shape{r, weight.size(0)}, b_shape{weight.size(1), r};
  const bool random = options().init_lora_weights == false;
  const Tensor a = random ? normal(a_shape, 1, tensors, context.generator) : zeros(a_shape, tensors);
  return {a, normal(b_shape, 1, tensors, context.generator), {}};
}

void LoraMethod::attach(AttachContext& context) {
  LoraConfig& o = options();
  o.modules_to_save = as_name_list(o.modules_to_save);
  o.trainable_token_indices = as_index_list(o.trainable_token_indices);
  check_lora_start(o.init_lora_weights, context.loading, name_);
  if (o.lora_bias && (o.use_dora || !o.init_lora_weights.is_boolean()))
    usage_error(name_, "lora_bias cannot be combined with use_dora or with an init_lora_weights other than true and false");
  Model& model = context.model;
  targets_ = targets(context);
  tie_targets(model);
  ModulePattern ranks(o.rank_pattern, "rank_pattern", name_, true), alphas(o.alpha_pattern, "alpha_pattern", name_, false);
  for (auto& target : targets_) {
    const std::string& path = target_path(model, target);
    const int64_t r = static_cast<int64_t>(ranks.value(path, static_cast<double>(o.r)));
    const double alpha = alphas.value(path, o.lora_alpha);
    const double scale = o.use_rslora ? alpha / std::sqrt(static_cast<double>(r)) : alpha / static_cast<double>(r);
    if (target.site == Site::Embed)
      adapt_embedding(context, r, scale);
    else
      adapt_linear(context, target, r, scale);
  }
  ranks.check_all_used();
  alphas.check_all_used();
  const CompanionLists lists{params_, kept_};
  keep_embeddings(model, targets_, saved_targets(model), lists);
  train_saved_modules(model, o.modules_to_save, o.ensure_weight_tying, kPeftPrefix, target_paths(model, targets_), name_, lists);
  train_token_rows(context, o.trainable_token_indices, o.ensure_weight_tying, name_, lists);
  train_biases(model, o.bias, targets_, lists);
}

NamedTensors LoraMethod::file_tensors() const {
  NamedTensors tensors = Method::file_tensors();
  if (starts_.empty()) return tensors;
  for (auto& [name, value] : tensors)
    if (const auto start = starts_.find(name); start != starts_.end())
      value = at::cat({value, start->second.first}, start->second.second);
  return tensors;
}

Json LoraMethod::file_config(const Model& model) {
  LoraConfig plain = options();
  Json json = to_json(plain);
  json["target_modules"] = saved_targets(model);
  json["modules_to_save"] = saved_modules_for_file(model, plain.modules_to_save, plain.ensure_weight_tying);
  json["fan_in_fan_out"] = any_conv1d(targets_);
  if (starts_.empty()) return json;
  const double factor = plain.use_rslora ? std::sqrt(2.0) : 2;
  json["init_lora_weights"] = true;
  json["r"] = 2 * plain.r;
  json["lora_alpha"] = factor * plain.lora_alpha;
  if (json["rank_pattern"].is_object())
    for (auto& rank : json["rank_pattern"]) rank = 2 * rank.get<int64_t>();
  if (json["alpha_pattern"].is_object())
    for (auto& alpha : json["alpha_pattern"]) alpha = factor * alpha.get<double>();
  return json;
}

void LoraMethod::hold_constants(bool held) {
  for (auto& edit : edits_) edit->held = held;
  if (embedding_) embedding_->held = held;
}

// Read only where use_qalora is on, or at the start of training.
std::vector<std::string> LoraMethod::ignored_keys() const {
  return {"qalora_group_size", "eva_config", "corda_config", "lora_ga_config"};
}

// A tied head or embedding that is to stay tied: the embedding is adapted and the head follows.
void LoraMethod::tie_targets(const Model& model) {
  if (!options().ensure_weight_tying || !model.config.tied_head) return;
  const auto is_outer = [](const Target& t) { return t.site == Site::Embed || t.site == Site::Head; };
  head_follows_ = std::erase_if(targets_, is_outer) > 0;
  if (!head_follows_) return;
  if (options().use_dora)
    usage_error(name_, "use_dora cannot be combined with ensure_weight_tying for a tied embedding or head",
                "leave the embedding and the head out");
  targets_.insert(targets_.begin(), {Site::Embed, -1, nullptr});
}

// A frozen factor stands in the file all the same.
Tensor LoraMethod::add_factor(const std::string& name, const Tensor& value, bool trained) {
  if (trained) return add(name, value);
  kept_.push_back({.name = name, .value = value.detach(), .own = true});
  return kept_.back().value;
}

void LoraMethod::adapt_linear(AttachContext& context, const Target& target, int64_t r, double scale) {
  Linear& linear = *target.linear;
  const int64_t most = std::min(linear.in(), linear.out());
  if (r > most && !context.loading)
    usage_error(name_, fmt::format("r must be in 1..min(in, out) = {} but is {} ({})", most, r, linear.path),
                "choose a smaller r or other target_modules");
  const LoraConfig& o = options();
  const LoraStart begin = start(context, linear, r, scale);
  auto edit = make_edit(linear);
  edit->scale = scale;
  edit->dropout = o.lora_dropout;
  const std::string name = kPeftPrefix + linear.path + ".lora_";
  edit->a = add_factor(name + "A.weight", begin.a, trains_a());
  edit->b = add_factor(name + "B.weight", begin.b, trains_b());
  if (o.lora_bias) edit->bias = add(name + "B.bias", zeros({linear.out()}, adapter_options(context.model)), false);
  if (begin.residual.defined()) {
    if (target.site == Site::Head && context.model.config.tied_head)
      usage_error(name_, fmt::format("this start would change the tied head '{}' and with it the embedding", linear.path),
                  "leave the head out");
    linear.weight = begin.residual.to(context.model.dtype());
    remember(name + "A.weight", begin.a.detach().clone(), 0);
    remember(name + "B.weight", -begin.b.detach(), 1);
  }
  if (o.use_dora) edit->magnitude = add(name + "magnitude_vector", edit->row_norms(linear).clone(), false);
  context.sites.put(target.site, target.layer, edit);
  edits_.push_back(edit);
}

void LoraMethod::adapt_embedding(AttachContext& context, int64_t r, double scale) {
  Model& model = context.model;
  if (options().lora_bias)
    usage_error(name_, fmt::format("lora_bias cannot be combined with the embedding '{}' as a target", model.tokens.path));
  const LoraStart begin = embedding_start(context, model.tokens.weight, r);
  embedding_ = std::make_shared<LoraEmbedEdit>();
  embedding_->scale = scale;
  const std::string name = kPeftPrefix + model.tokens.path + ".lora_";
  embedding_->a = add_factor(name + "embedding_A", begin.a, trains_a());
  embedding_->b = add_factor(name + "embedding_B", begin.b, trains_b());
  if (moves_base()) {  // only ranks grow in the file: nothing to take away here
    remember(name + "embedding_A", at::zeros_like(begin.a), 0);
    remember(name + "embedding_B", at::zeros_like(begin.b), 1);
  }
  if (options().use_dora)
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

Json LoraMethod::saved_targets(const Model& model) {
  Json saved = saved_selection(targets_, options().targets.target_modules, model.family->targets.low_rank);
  if (head_follows_ && saved.is_array())  // by these names PEFT sees that both are meant
    for (const std::string& path : {model.tokens.path, model.head.path}) {
      const std::string name = path.substr(path.rfind('.') + 1);
      if (std::find(saved.begin(), saved.end(), Json(name)) == saved.end()) saved.push_back(name);
    }
  return saved;
}

}  // namespace graft
