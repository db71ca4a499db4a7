#include "adapter/compose.h"

#include <algorithm>

#include "core/check.h"
#include "core/torch.h"
#include "sites/composed.h"

namespace graft {
namespace {

bool same_values(const Tensor& a, const Tensor& b) {
  return a.is_same(b) || (a.defined() && b.defined() && a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() && at::equal(a, b));
}

// The change from one tensor to another on top of a third.
Tensor moved_by(const Tensor& from, const Tensor& original, const Tensor& changed, double weight) {
  if (same_values(original, changed)) return from;
  if (weight == 1 && from.is_same(original)) return changed;  // alone, to the bit
  return from + (changed - original) * weight;
}

Linear moved_by(const Linear& from, const Linear& original, const Linear& changed, double weight) {
  Linear result = from;
  result.weight = moved_by(from.weight, original.weight, changed.weight, weight);
  if (from.bias.defined()) result.bias = moved_by(from.bias, original.bias, changed.bias, weight);
  return result;
}

std::vector<Tensor*> handles_of(Model& model) {
  std::vector<Tensor*> handles;
  visit_weights(model, [&](const std::string&, Tensor& handle, const std::vector<int64_t>&, bool) { handles.push_back(&handle); });
  return handles;
}

std::vector<std::tuple<Site, int64_t, Linear>> linears_of(Model model) {
  std::vector<std::tuple<Site, int64_t, Linear>> linears;
  visit_linears(model, [&](Site site, int64_t layer, Linear& linear) { linears.emplace_back(site, layer, site == Site::Head ? model.head_linear() : linear); });
  return linears;
}

class Composer {
 public:
  Composer(const Model& base, const std::vector<Part>& parts, Compose how) : parts_(parts), stacked_(how == Compose::Stack), base_(base), result_(bare(base)) {
    for (auto& part : parts) models_.push_back(part.adapted->model);
    if (std::any_of(models_.begin(), models_.end(), [](const Model& model) { return !model.config.tied_head; })) {
      base_.untie_head();
      result_.model.untie_head();
      for (auto& model : models_) model.untie_head();
    }
    for (auto& model : models_)
      for (Tensor* handle : handles_of(model))
        if (handle->defined() && handle->requires_grad()) *handle = handle->detach();
  }

  Adapted run() {
    add_up_weights();
    std::vector<std::vector<std::tuple<Site, int64_t, Linear>>> linears;
    for (auto& model : models_) linears.push_back(linears_of(model));
    const auto before = linears_of(base_), after = linears_of(result_.model);
    for (size_t i = 0; i < before.size(); ++i) {
      const auto& [site, layer, linear] = before[i];
      std::vector<Linear> own;
      for (auto& of_part : linears) own.push_back(std::get<Linear>(of_part[i]));
      compose_linear(site, layer, linear, own, std::get<Linear>(after[i]));
    }
    compose_embedding();
    for (int site = 0; site < kSites; ++site)
      for (int64_t layer = 0; layer < (is_per_layer(static_cast<Site>(site)) ? base_.layers() : 1); ++layer) compose_hidden(static_cast<Site>(site), layer);
    for (int64_t layer = 0; layer < base_.layers(); ++layer) compose_attention(layer);
    compose_input();
    for (auto& part : parts_) result_.parts.push_back(part.adapted);
    return std::move(result_);
  }

 private:
  const Sites& sites(size_t part) const { return parts_[part].adapted->sites; }

  void add_up_weights() {
    at::NoGradGuard no_grad;
    const auto before = handles_of(base_), after = handles_of(result_.model);
    for (size_t part = 0; part < parts_.size(); ++part) {
      const auto own = handles_of(models_[part]);
      CHECK_THAT(own.size() == before.size(), "{} has {} tensors, its base {}", parts_[part].name, own.size(), before.size());
      for (size_t i = 0; i < before.size(); ++i) *after[i] = moved_by(*after[i], *before[i], *own[i], parts_[part].weight);
    }
    if (result_.model.config.tied_head) result_.model.head.weight = Tensor();
  }

  // `own`: the linear as each part has it; `joined`: as the result has it.
  void compose_linear(Site site, int64_t layer, const Linear& linear, const std::vector<Linear>& own, const Linear& joined) {
    at::NoGradGuard no_grad;
    auto edit = std::make_shared<ComposedWeight>();
    std::optional<Linear> made = linear;  // what the edits so far make of it, where that is known
    size_t last = 0;
    for (size_t part = 0; part < parts_.size(); ++part) {
      const auto& here = sites(part).weight_edit(site, layer);
      const double weight = parts_[part].weight;
      Linear base = own[part];
      if (here && stacked_ && !edit->parts.empty() && !here->low_rank(false)) {  // a low-rank edit does the same to any weight
        if (!made)
          usage_error("compose", fmt::format("'{}' cannot be stacked on '{}' at {}: what stands below cannot be folded into a weight", parts_[part].name, parts_[last].name, linear.path),
                      "--compose sum adds them up; or turn their order");
        base = moved_by(*made, linear, own[part], 1);
      }
      if (here) edit->parts.push_back({here, base, weight});
      if (here) last = part;
      if (stacked_) made = step(part, site, layer, made, linear, own);
    }
    put_weight(site, layer, edit, joined);
  }

  // The stack with one more part, folded; only as long as a later part needs it.
  std::optional<Linear> step(size_t part, Site site, int64_t layer, const std::optional<Linear>& made, const Linear& linear, const std::vector<Linear>& own) const {
    const auto needs_it = [&](size_t later) {
      const auto& edit = sites(later).weight_edit(site, layer);
      return edit && !edit->low_rank(false);
    };
    bool needed = false;
    for (size_t later = part + 1; later < parts_.size(); ++later) needed |= needs_it(later);
    if (!made || !needed) return made;
    const double weight = parts_[part].weight;
    const Linear from = moved_by(*made, linear, own[part], 1);
    Linear next = moved_by(*made, linear, own[part], weight);
    const auto& edit = sites(part).weight_edit(site, layer);
    if (!edit) return next;
    const auto folded = edit->merged(from);
    if (!folded) return std::nullopt;
    next.weight = moved_by(next.weight, from.weight, folded->weight, weight);
    if (next.bias.defined()) next.bias = moved_by(next.bias, from.bias, folded->bias, weight);
    else if (folded->bias.defined()) next.bias = folded->bias * weight;
    return next;
  }

  void put_weight(Site site, int64_t layer, const std::shared_ptr<ComposedWeight>& edit, const Linear& joined) {
    if (edit->parts.empty()) return;
    const auto& [first, base, weight] = edit->parts[0];
    const bool alone = edit->parts.size() == 1 && weight == 1 && base.weight.is_same(joined.weight) && base.bias.is_same(joined.bias);
    result_.sites.put(site, layer, alone ? first : std::static_pointer_cast<WeightEdit>(edit));
  }

  void compose_embedding() {
    at::NoGradGuard no_grad;
    auto edit = std::make_shared<ComposedEmbed>();
    Tensor made = base_.tokens.weight;
    for (size_t part = 0; part < parts_.size(); ++part) {
      const Tensor own = models_[part].tokens.weight;
      const auto& here = sites(part).embed_edit();
      const double weight = parts_[part].weight;
      const Tensor from = stacked_ ? moved_by(made, base_.tokens.weight, own, 1) : own;
      if (here) edit->parts.push_back({here, from, weight});
      if (!stacked_) continue;
      made = moved_by(made, base_.tokens.weight, own, weight);
      if (here) made = moved_by(made, from, here->merged(from), weight);
    }
    if (edit->parts.empty()) return;
    const auto& [first, base, weight] = edit->parts[0];
    const bool alone = edit->parts.size() == 1 && weight == 1 && base.is_same(result_.model.tokens.weight);
    result_.sites.put(alone ? first : std::static_pointer_cast<EmbedEdit>(edit));
  }

  void compose_hidden(Site site, int64_t layer) {
    auto edit = std::make_shared<ComposedHidden>();
    edit->stacked = stacked_;
    for (size_t part = 0; part < parts_.size(); ++part)
      if (const auto& here = sites(part).hidden_edit(site, layer)) edit->parts.push_back({here, parts_[part].weight});
    if (!edit->parts.empty()) result_.sites.put(site, layer, edit);
  }

  void compose_attention(int64_t layer) {
    auto rows = std::make_shared<ComposedKv>();
    for (size_t part = 0; part < parts_.size(); ++part) {
      if (const auto& here = sites(part).kv_edit(layer)) {
        refuse_weight(parts_[part], "keys and values in front of the documents");
        rows->parts.push_back(here);
      }
      for (auto& side : sites(part).sides(layer)) {
        auto edit = std::make_shared<WeightedSide>();
        edit->edit = side;
        edit->weight = parts_[part].weight;
        result_.sites.put(layer, edit);
      }
    }
    if (!rows->parts.empty()) result_.sites.put(layer, rows->parts.size() == 1 ? rows->parts[0] : std::static_pointer_cast<KvEdit>(rows));
  }

  void compose_input() {
    auto rows = std::make_shared<ComposedInput>();
    for (size_t part = 0; part < parts_.size(); ++part)
      if (const auto& here = sites(part).input_edit()) {
        refuse_weight(parts_[part], "embedding rows in front of the documents");
        rows->parts.push_back(here);
      }
    if (!rows->parts.empty()) result_.sites.put(rows->parts.size() == 1 ? rows->parts[0] : std::static_pointer_cast<InputEdit>(rows));
  }

  static void refuse_weight(const Part& part, const char* what) {
    if (part.weight != 1)
      usage_error("compose", fmt::format("'{}' ({}) has the weight {:g}, but it puts {}, which are there or not", part.name, part.adapted->row->title, part.weight, what),
                  "give it the weight 1, or leave it out");
  }

  const std::vector<Part>& parts_;
  const bool stacked_;
  Model base_;
  Adapted result_;
  std::vector<Model> models_;  // of the parts, untied where any of them is
};

}  // namespace

Adapted composed(const Model& base, const std::vector<Part>& parts, Compose how) { return Composer(base, parts, how).run(); }

}  // namespace graft
