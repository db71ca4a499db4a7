#include "adapter/convert.h"

#include <cmath>

#include "core/check.h"
#include "core/files.h"
#include "core/json.h"
#include "core/torch.h"
#include "methods/common/targets.h"

namespace graft {
namespace {

struct Change {
  FactoredUpdate update;
  Tensor delta;  // [out, in] float32
};

std::vector<Change> changed_linears(const Model& base, const Model& changed) {
  Model before = base, after = changed;
  std::vector<Change> changes;
  std::vector<Linear> originals;
  visit_linears(before, [&](Site site, int64_t, Linear& linear) {
    originals.push_back(site == Site::Head ? before.head_linear() : linear);
  });
  size_t i = 0;
  visit_linears(after, [&](Site site, int64_t layer, Linear& linear) {
    const Linear &original = originals[i++], now = site == Site::Head ? after.head_linear() : linear;
    if (site == Site::Head && after.config.tied_head) return;  // the embedding's business
    const Tensor delta = now.weight.to(at::kFloat) - original.weight.to(at::kFloat);
    if (delta.abs().max().item<double>() == 0) return;
    changes.push_back({{site, layer, linear.path, linear.conv1d, {}, {}, 0}, delta});
  });
  return changes;
}

std::vector<std::string> other_changes(const Model& base, const Model& changed) {
  Model before = base, after = changed;
  std::vector<std::string> linears;
  visit_linears(before, [&](Site, int64_t, Linear& linear) { linears.push_back(linear.path + ".weight"); });
  std::map<std::string, Tensor> originals;
  visit_weights(before,
                [&](const std::string& name, Tensor& handle, const std::vector<int64_t>&, bool) { originals[name] = handle; });
  std::vector<std::string> names;
  visit_weights(after, [&](const std::string& name, Tensor& handle, const std::vector<int64_t>&, bool) {
    if (std::find(linears.begin(), linears.end(), name) != linears.end()) return;
    const auto found = originals.find(name);
    if (found != originals.end() && !at::equal(handle.to(at::kFloat), found->second.to(at::kFloat))) names.push_back(name);
  });
  return names;
}

}  // namespace

LoraConversion factor_updates(const Model& base, const Model& changed, const Adapted* adapted, std::optional<int64_t> rank) {
  at::NoGradGuard no_grad;
  LoraConversion result;
  double squares = 0, error_squares = 0;
  for (auto& [update, delta] : changed_linears(base, changed)) {
    const std::shared_ptr<WeightEdit> edit = adapted ? adapted->sites.weight_edit(update.site, update.layer) : nullptr;
    const auto own = edit ? edit->low_rank(false) : std::nullopt;
    const double norm = delta.norm().item<double>();
    if (own && (!rank || own->a.size(0) <= *rank)) {
      update.a = own->a.detach().to(at::kFloat);
      update.b = own->b.detach().to(at::kFloat) * own->scale;
    } else {
      if (!rank)
        usage_error("convert", fmt::format("the update of '{}' has no factors of its own", update.path),
                    "give --rank N: it is approximated by a truncated singular value decomposition");
      const int64_t r = std::min({*rank, delta.size(0), delta.size(1)});
      auto [u, s, vh] = at::linalg_svd(delta.to(at::kDouble), false);
      const Tensor root = s.narrow(0, 0, r).sqrt();
      update.a = (root.unsqueeze(1) * vh.narrow(0, 0, r)).to(at::kFloat).contiguous();
      update.b = (u.narrow(1, 0, r) * root).to(at::kFloat).contiguous();
      const double left =
          (delta.to(at::kDouble) - at::mm(update.b.to(at::kDouble), update.a.to(at::kDouble))).norm().item<double>();
      update.error = left / norm;
      error_squares += left * left;
    }
    squares += norm * norm;
    result.updates.push_back(update);
  }
  result.lost = other_changes(base, changed);
  result.error = squares > 0 ? std::sqrt(error_squares / squares) : 0;
  return result;
}

void save_lora(const std::vector<FactoredUpdate>& updates, const std::filesystem::path& folder, const std::string& base_model, const NamedTensors& copies) {
  CHECK_THAT(!updates.empty(), "no update to write");
  NamedTensors tensors = copies;
  Json names = Json::array(), ranks = Json::object(), alphas = Json::object();
  int64_t most = 0;
  bool conv1d = false;
  for (auto& u : updates) most = std::max(most, u.a.size(0));
  for (auto& u : updates) {
    const std::string prefix = kPeftPrefix + u.path + ".lora_";
    tensors.emplace_back(prefix + (u.embedding ? "embedding_A" : "A.weight"), u.a);
    tensors.emplace_back(prefix + (u.embedding ? "embedding_B" : "B.weight"), u.b);
    // By its bare name PEFT sees that a whole embedding stands in the file.
    const bool copied = std::any_of(copies.begin(), copies.end(), [&](auto& copy) { return copy.first == kPeftPrefix + u.path + ".base_layer.weight"; });
    names.push_back(copied ? last_part(u.path) : u.path);
    conv1d |= u.conv1d;
    if (u.a.size(0) == most) continue;
    std::string key = "^";  // whole paths, so that no key fits two modules
    for (const char c : u.path) key += c == '.' ? std::string("\\.") : std::string(1, c);
    ranks[key] = alphas[key] = u.a.size(0);
  }
  make_folder(folder);
  save_safetensors(folder / "adapter_model.safetensors", tensors);
  write_json(folder / "adapter_config.json",
             {{"peft_type", "LORA"},
              {"task_type", "CAUSAL_LM"},
              {"peft_version", "0.21.2"},
              {"inference_mode", true},
              {"auto_mapping", nullptr},
              {"revision", nullptr},
              {"base_model_name_or_path", base_model},
              {"r", most},
              {"lora_alpha", most},
              {"lora_dropout", 0.0},
              {"target_modules", names},
              {"rank_pattern", ranks},
              {"alpha_pattern", alphas},
              {"bias", "none"},
              {"use_rslora", false},
              {"use_dora", false},
              {"lora_bias", false},
              {"init_lora_weights", true},
              {"fan_in_fan_out", conv1d},
              {"modules_to_save", nullptr},
              {"exclude_modules", nullptr},
              {"layers_to_transform", nullptr},
              {"layers_pattern", nullptr},
              {"trainable_token_indices", nullptr},
              {"ensure_weight_tying", false}});
}

}  // namespace graft
