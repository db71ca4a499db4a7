#include "methods/common/companions.h"

#include <algorithm>
#include <set>

#include "core/check.h"
#include "core/regex.h"
#include "core/torch.h"
#include "kernels/linear.h"
#include "methods/common/base_params.h"

namespace graft {
namespace {

bool named_by(const Json& modules, const std::string& path, std::set<std::string>* used = nullptr) {
  bool found = false;
  for (std::string parent = path;;) {  // the module itself or any module around it
    for (auto& entry : modules)
      if (parent.ends_with(entry.get<std::string>())) {
        found = true;
        if (used) used->insert(entry.get<std::string>());
      }
    const size_t dot = parent.rfind('.');
    if (dot == std::string::npos) return found;
    parent.resize(dot);
  }
}

std::string module_of(const std::string& tensor) {
  return tensor.substr(0, tensor.rfind('.'));
}

// The name by module path, as PEFT has it; a model's own file may call the head otherwise.
std::string weight_name(const Model& model, const std::string& in_file, const Tensor& handle) {
  const bool head = &handle == &model.head.weight || &handle == &model.head.bias;
  return head ? model.head.path + "." + last_part(in_file) : in_file;
}

}  // namespace

Json as_name_list(const Json& names) {
  return names.is_string() ? Json::array({names}) : names;
}

Json as_index_list(const Json& indices) {
  if (indices.is_number_integer()) return Json::array({indices});
  if (!indices.is_array()) return indices;
  Json list = Json::array();
  for (auto& item : indices) {
    const std::string text = item.is_string() ? item.get<std::string>() : "";
    if (!text.empty() && text.size() < 10 && text.find_first_not_of("0123456789") == std::string::npos)
      list.push_back(std::stoll(text));
    else
      list.push_back(item);
  }
  return list;
}

void train_saved_modules(Model& model, const Json& modules, bool tie, const std::string& prefix,
                         const std::vector<std::string>& adapted, const std::string& tag, CompanionLists lists) {
  if (modules.is_null()) return;
  if (!modules.is_array() || std::any_of(modules.begin(), modules.end(), [](const Json& m) { return !m.is_string() || m == ""; }))
    usage_error(tag, fmt::format("modules_to_save must be null or a list of module names but is {}", json_line(modules)));
  std::set<std::string> used;
  const std::vector<std::string> paths = module_paths(model);
  for (auto& path : paths) named_by(modules, path, &used);
  for (auto& entry : modules)
    if (!used.count(entry.get<std::string>()))
      usage_error(tag,
                  fmt::format("modules_to_save: '{}' matches no module of this {} model", entry.get<std::string>(),
                              model.config.model_type),
                  suggest(entry.get<std::string>(), paths));
  for (auto& path : adapted)
    if (named_by(modules, path))
      usage_error(tag,
                  fmt::format("'{}' is in target_modules and, by its ending, in modules_to_save = {}", path, json_line(modules)),
                  "give it to one of them");
  const bool head = named_by(modules, model.head.path), tokens = named_by(modules, model.tokens.path);
  const bool tied_copy = model.config.tied_head && tie && (head || tokens);
  if (!tied_copy && (head || tokens)) model.untie_head();
  visit_weights(model, [&](const std::string& in_file, Tensor& handle, const std::vector<int64_t>& shape, bool conv1d) {
    const std::string name = weight_name(model, in_file, handle);
    if (!named_by(modules, module_of(name)) && !(tied_copy && module_of(name) == model.tokens.path)) return;
    lists.params.push_back({prefix + name, trained_copy(handle), shape.size() > 1 && name.find("norm") == std::string::npos, conv1d});
  });
  if (tied_copy) {
    model.head.weight = Tensor();
    lists.kept.push_back({prefix + model.head.path + ".weight", model.tokens.weight, true, false});
  }
}

std::vector<std::string> target_paths(const Model& model, const std::vector<Target>& targets) {
  std::vector<std::string> paths;
  for (auto& target : targets) paths.push_back(target_path(model, target));
  return paths;
}

Json saved_modules_for_file(const Model& model, const Json& modules, bool tie) {
  if (!modules.is_array() || !tie || !model.config.tied_head || !named_by(modules, model.tokens.path) ||
      named_by(modules, model.head.path))
    return modules;
  Json list = modules;
  list.push_back(model.head.path);
  return list;
}

void train_biases(Model& model, const std::string& bias, const std::vector<Target>& targets, CompanionLists lists) {
  if (bias == "none") return;
  const std::vector<std::string> paths = target_paths(model, targets);
  const std::set<std::string> adapted(paths.begin(), paths.end());
  std::set<std::string> trained;
  for (auto& p : lists.params) trained.insert(p.name);
  visit_base(model, [&](const std::string& in_file, Tensor& handle, bool) {
    const std::string name = weight_name(model, in_file, handle);
    if (!name.ends_with(".bias")) return;
    const std::string module = module_of(name);
    if (!adapted.count(module) && bias != "all") return;
    if (trained.count(kPeftPrefix + name))
      usage_error("bias", fmt::format("bias = {} and modules_to_save both train '{}'", bias, name), "leave one of them out");
    lists.params.push_back(
        {kPeftPrefix + module + (adapted.count(module) ? ".base_layer.bias" : ".bias"), trained_copy(handle), false});
  });
}

void keep_embeddings(Model& model, const std::vector<Target>& targets, const Json& saved_targets, CompanionLists lists) {
  const auto names_embedding = [&](const std::string& path) {
    for (const char* name : {"embed_tokens", "lm_head"}) {
      const bool is_name = path == name || path.ends_with(std::string(".") + name);
      if (saved_targets.is_string() ? is_name && full_match(saved_targets.get<std::string>(), path)
                                    : std::find(saved_targets.begin(), saved_targets.end(), Json(name)) != saved_targets.end())
        return true;
    }
    return false;
  };
  if (!names_embedding(model.tokens.path) && !names_embedding(model.head.path)) return;
  for (auto& target : targets)
    if (target.site == Site::Embed)
      lists.kept.push_back({kPeftPrefix + model.tokens.path + ".base_layer.weight", model.tokens.weight});
    else if (target.site == Site::Head) {
      lists.kept.push_back({kPeftPrefix + model.head.path + ".base_layer.weight", model.head_linear().weight});
      if (model.head.bias.defined()) lists.kept.push_back({kPeftPrefix + model.head.path + ".base_layer.bias", model.head.bias});
    }
}

namespace {

struct TokenRows : EmbedEdit {
  Tensor rows, index, slot;  // [n, width], [n] token ids, [vocab] position in `rows` or -1

  Tensor embed(const Tensor& weight, const Tensor& ids) const override {
    const Tensor where = slot.index_select(0, ids), plain = at::embedding(weight, ids);
    return at::where(where.ge(0).unsqueeze(1), at::embedding(rows, where.clamp_min(0)), plain.to(rows.scalar_type()));
  }
  Tensor merged(const Tensor& weight) const override {
    at::NoGradGuard no_grad;
    return weight.to(rows.scalar_type()).index_copy(0, index, rows);
  }
};

struct TokenHead : WeightEdit {
  Tensor rows, index;

  Tensor linear(const Linear& base, const Tensor& x, bool) const override {
    const Tensor y = kernels::linear(x, base.weight, base.bias);
    const Tensor own =
        kernels::linear(x.to(rows.scalar_type()), rows, base.bias.defined() ? base.bias.index_select(0, index) : Tensor());
    return y.index_copy(1, index, own.to(y.scalar_type()));
  }
  std::optional<Linear> merged(const Linear& base) const override {
    at::NoGradGuard no_grad;
    Linear result = base;
    result.weight = base.weight.to(rows.scalar_type()).index_copy(0, index, rows);
    return result;
  }
};

Tensor token_index(const Json& indices, const Model& model, const std::string& tag) {
  std::vector<int64_t> ids;
  if (indices.is_array())
    for (auto& item : indices)
      if (item.is_number_integer()) ids.push_back(item.get<int64_t>());
  if (ids.empty() || ids.size() != indices.size())
    usage_error(tag, fmt::format("trainable_token_indices must be a list of token ids, or {{module: list}}, but is {}",
                                 json_line(indices)));
  for (const int64_t id : ids)
    if (id < 0 || id >= model.config.vocab_size || std::count(ids.begin(), ids.end(), id) > 1)
      usage_error(tag, fmt::format("trainable_token_indices holds {}, but each must stand once and be in 0..{}", id,
                                   model.config.vocab_size - 1));
  return at::tensor(ids, at::kLong).to(model.device());
}

}  // namespace

void train_token_rows(AttachContext& context, const Json& indices, bool tie, const std::string& tag, CompanionLists lists,
                      const char* suffix) {
  if (indices.is_null()) return;
  Model& model = context.model;
  if (model.tokens.weight.requires_grad())
    usage_error(tag, "trainable_token_indices and modules_to_save both name the token embedding", "give it to one of them");
  Json for_tokens, for_head;
  if (!indices.is_object())
    for_tokens = indices;
  else
    for (auto& [name, list] : indices.items()) {
      if (name.empty()) usage_error(tag, "trainable_token_indices names an empty module");
      if (model.tokens.path.ends_with(name))
        for_tokens = list;
      else if (model.head.path.ends_with(name))
        for_head = list;
      else
        usage_error(tag, fmt::format("trainable_token_indices: '{}' is neither the token embedding '{}' nor the head '{}'", name,
                                     model.tokens.path, model.head.path));
    }
  const auto add_rows = [&](const std::string& path, const Tensor& weight, const Tensor& index) {
    Tensor rows = weight.detach().index_select(0, index).to(adapter_options(model)).requires_grad_();
    lists.params.push_back({kPeftPrefix + path + suffix, rows});
    return rows;
  };
  const bool follows = model.config.tied_head && !for_tokens.is_null() && (for_head.is_null() || for_head == for_tokens);
  if (tie && model.config.tied_head && !follows)
    usage_error(tag,
                fmt::format("ensure_weight_tying needs the same indices for embedding and head but trainable_token_indices = {}",
                            json_line(indices)));
  Tensor rows, index;
  if (!for_tokens.is_null()) {
    index = token_index(for_tokens, model, tag);
    auto edit = std::make_shared<TokenRows>();
    edit->rows = rows = add_rows(model.tokens.path, model.tokens.weight, index);
    edit->index = index;
    edit->slot = at::full({model.config.vocab_size}, -1, index.options());
    edit->slot.index_copy_(0, index, at::arange(index.size(0), index.options()));
    context.sites.put(edit);
  }
  if (follows || !for_head.is_null()) {
    auto edit = std::make_shared<TokenHead>();
    edit->index = follows ? index : token_index(for_head, model, tag);
    edit->rows = follows ? rows : add_rows(model.head.path, model.head_linear().weight, edit->index);
    context.sites.put(Site::Head, -1, edit);
  }
}

}  // namespace graft
