#include "sites/sites.h"

#include "core/check.h"
#include "core/torch.h"
#include "kernels/linear.h"

namespace graft {

const char* site_name(Site site) {
  static constexpr const char* names[kSites] = {"q",        "k",          "v",        "qkv",         "o",     "gate",      "up",     "gate_up",
                                                "down",     "project_in", "project_out", "head",     "embed", "kv",        "attn_out", "mlp_out",
                                                "mlp_act",  "block_out",  "embed_norm", "norm1",     "post_norm1", "q_norm", "k_norm", "norm2",
                                                "post_norm2", "final_norm"};
  return names[static_cast<int>(site)];
}

Sites::Sites(int64_t layers)
    : layers_(layers), weight_(static_cast<size_t>(layers + 1) * kSites), hidden_(weight_.size()), kv_(static_cast<size_t>(layers)),
      sides_(static_cast<size_t>(layers)) {}

namespace {
const Documents& documents_of(const At& at) {
  static const Documents none;
  return at.documents ? *at.documents : none;
}
}  // namespace

void Sites::visited(Site site, int64_t layer) const {
  if (observer) observer(site, is_per_layer(site) ? layer : -1);
}

Tensor Sites::linear(Site site, At at, const Linear& base, const Tensor& x, bool values_needed) const {
  const Member member{site, &base};
  return linears(at, {&member, 1}, x, values_needed)[0];
}

std::vector<Tensor> Sites::linears(At at, std::span<const Member> members, const Tensor& x, bool values_needed) const {
  const int64_t layer = at.layer;
  // Without edits one group. All low-rank or empty, nothing of the base trained: one too. Otherwise each site by itself.
  std::vector<kernels::LowRankLinear> group;
  std::vector<Tensor> plain;
  for (auto& [site, base] : members) {
    visited(site, layer);
    const auto& edit = weight_[slot(site, layer)];
    if (!edit) plain.insert(plain.end(), {base->weight, base->bias});
    const bool trained = base->weight.requires_grad() || base->bias.requires_grad();
    const auto low_rank = edit && !trained ? edit->low_rank(training) : std::nullopt;
    if (!trained && (low_rank || !edit))
      group.push_back({base->weight, base->bias, low_rank ? low_rank->a : Tensor(), low_rank ? low_rank->b : Tensor(), low_rank ? low_rank->scale : 1});
  }
  if (plain.size() == 2 * members.size()) return kernels::linears(x, plain, values_needed);
  if (group.size() == members.size()) return kernels::low_rank_linears(x, group, values_needed);
  std::vector<Tensor> outputs;
  for (auto& [site, base] : members) {
    const auto& edit = weight_[slot(site, layer)];
    outputs.push_back(edit ? edit->linear_in(*base, x, documents_of(at), training) : kernels::linear(x, base->weight, base->bias, values_needed));
  }
  return outputs;
}

Tensor Sites::hidden(Site site, At at, const Tensor& h, const Tensor& residual) const {
  visited(site, at.layer);
  const auto& edit = hidden_[slot(site, at.layer)];
  return edit ? edit->hidden(h, residual, documents_of(at), training) : h;
}

KvRows Sites::kv(At at, const Tensor& x) const {
  visited(Site::Kv, at.layer);
  const auto& edit = kv_[static_cast<size_t>(at.layer)];
  if (!edit) return {};
  auto [k, v] = edit->rows();
  return {{k, v}, edit->factors(x, documents_of(at))};
}

Tensor Sites::input_rows() const {
  visited(Site::Embed, -1);
  return input_ ? input_->rows(training) : Tensor();
}

Tensor Sites::embed(const Tensor& weight, const Tensor& ids) const { return embed_ ? embed_->embed(weight, ids) : at::embedding(weight, ids); }

int64_t Sites::input_row_count() const { return input_ ? input_->count() : 0; }
int64_t Sites::kv_row_count() const {
  int64_t most = 0;
  for (auto& edit : kv_)
    if (edit) most = std::max(most, edit->count());
  return most;
}

int64_t Sites::kv_shift() const {
  int64_t most = 0;
  for (auto& edit : kv_)
    if (edit) most = std::max(most, edit->shift());
  return most;
}

std::vector<InputEdit::Learned> Sites::learned_rows() const { return input_ ? input_->learned() : std::vector<InputEdit::Learned>{}; }

bool Sites::has_edit(Site site, int64_t layer) const {
  if (site == Site::Kv) return kv_[static_cast<size_t>(layer)] || !sides(layer).empty();
  if (site == Site::Embed && (input_ || embed_)) return true;
  return weight_[slot(site, layer)] || hidden_[slot(site, layer)];
}

namespace {
template <class T>
void place(std::shared_ptr<T>& where, std::shared_ptr<T> edit, Site site, int64_t layer) {
  if (where) usage_error("sites", fmt::format("two edits on the site {} of layer {}", site_name(site), layer), "attach one method to a place");
  where = std::move(edit);
}
}  // namespace

void Sites::put(Site site, int64_t layer, std::shared_ptr<WeightEdit> edit) {
  reads_ = std::max(reads_, edit->reads());
  place(weight_[slot(site, layer)], std::move(edit), site, layer);
}
void Sites::put(Site site, int64_t layer, std::shared_ptr<HiddenEdit> edit) {
  reads_ = std::max(reads_, edit->reads());
  place(hidden_[slot(site, layer)], std::move(edit), site, layer);
}
void Sites::put(int64_t layer, std::shared_ptr<KvEdit> edit) {
  reads_ = std::max(reads_, edit->reads());
  place(kv_[static_cast<size_t>(layer)], std::move(edit), Site::Kv, layer);
}
void Sites::put(int64_t layer, std::shared_ptr<SideEdit> edit) { sides_[static_cast<size_t>(layer)].push_back(std::move(edit)); }
void Sites::put(std::shared_ptr<InputEdit> edit) { place(input_, std::move(edit), Site::Embed, -1); }
void Sites::put(std::shared_ptr<EmbedEdit> edit) { place(embed_, std::move(edit), Site::Embed, -1); }

}  // namespace graft
