#include "sites/composed.h"

#include <algorithm>

#include "core/torch.h"
#include "kernels/linear.h"

namespace graft {
namespace {

template <class Parts>
Reads most_read(const Parts& parts) {
  Reads most = Reads::Row;
  for (auto& part : parts) most = std::max(most, part.edit->reads());
  return most;
}

Tensor scaled_difference(const Tensor& changed, const Tensor& plain, double weight) {
  const Tensor difference = changed - plain;
  return weight == 1 ? difference : difference * weight;
}

}  // namespace

Tensor ComposedWeight::linear_in(const Linear& base, const Tensor& x, const Documents& documents, bool training) const {
  const Tensor plain = kernels::linear(x, base.weight, base.bias);
  Tensor y = plain;
  for (auto& [edit, own, weight] : parts) {
    if (const auto side = edit->low_rank(training)) {
      y = y + (at::mm(at::mm(x.to(side->a.scalar_type()), side->a.t()), side->b.t()) * (side->scale * weight)).to(y.scalar_type());
      continue;
    }
    const bool same = own.weight.is_same(base.weight) && own.bias.is_same(base.bias);
    y = y + scaled_difference(edit->linear_in(own, x, documents, training), same ? plain : kernels::linear(x, own.weight, own.bias), weight);
  }
  return y;
}

Reads ComposedWeight::reads() const { return most_read(parts); }

std::optional<Linear> ComposedWeight::merged(const Linear& base) const {
  at::NoGradGuard no_grad;
  Linear result = base;
  for (auto& [edit, own, weight] : parts) {
    const auto folded = edit->merged(own);
    if (!folded) return std::nullopt;
    result.weight = result.weight + scaled_difference(folded->weight, own.weight, weight);
    if (!folded->bias.defined() || folded->bias.is_same(own.bias)) continue;
    const Tensor change = own.bias.defined() ? scaled_difference(folded->bias, own.bias, weight) : folded->bias * weight;
    result.bias = result.bias.defined() ? result.bias + change : change;
  }
  return result;
}

std::optional<LowRank> ComposedWeight::low_rank(bool training) const {
  std::vector<Tensor> a, b;
  for (auto& [edit, own, weight] : parts) {
    const auto side = edit->low_rank(training);
    if (!side) return std::nullopt;
    a.push_back(side->a);
    b.push_back(side->b * (side->scale * weight));
  }
  return LowRank{at::cat(a), at::cat(b, 1), 1};
}

Tensor ComposedEmbed::embed(const Tensor& weight, const Tensor& ids) const {
  Tensor rows = at::embedding(weight, ids);
  for (auto& [edit, own, factor] : parts) rows = rows + scaled_difference(edit->embed(own, ids), at::embedding(own, ids), factor);
  return rows;
}

Tensor ComposedEmbed::merged(const Tensor& weight) const {
  at::NoGradGuard no_grad;
  Tensor result = weight;
  for (auto& [edit, own, factor] : parts) result = result + scaled_difference(edit->merged(own), own, factor);
  return result;
}

Tensor ComposedHidden::hidden(const Tensor& h, const Tensor& residual, const Documents& documents, bool training) const {
  Tensor result = h;
  for (auto& [edit, weight] : parts) {
    const Tensor from = stacked ? result : h, changed = edit->hidden(from, residual, documents, training);
    result = weight == 1 && result.is_same(from) ? changed : result + scaled_difference(changed, from, weight);
  }
  return result;
}

Reads ComposedHidden::reads() const { return most_read(parts); }

KvEdit::Rows ComposedKv::rows() const {
  std::vector<Tensor> keys, values;
  for (auto& part : parts) {
    const auto [k, v] = part->rows();
    keys.push_back(k);
    values.push_back(v);
  }
  return {at::cat(keys), at::cat(values)};
}

int64_t ComposedKv::count() const {
  int64_t sum = 0;
  for (auto& part : parts) sum += part->count();
  return sum;
}

int64_t ComposedKv::shift() const {
  int64_t sum = 0;
  for (auto& part : parts) sum += part->shift();
  return sum;
}

Tensor ComposedKv::factors(const Tensor& x, const Documents& documents) const {
  std::vector<Tensor> factors;
  bool any = false;
  for (auto& part : parts) {
    const Tensor own = part->factors(x, documents);
    any |= own.defined();
    const Tensor of_document = own.defined() ? own.view({documents.count(), 2, 1, 1, 1}) : at::ones({documents.count(), 2, 1, 1, 1}, x.options().dtype(at::kFloat));
    factors.push_back(of_document.expand({-1, -1, part->count(), 1, 1}));
  }
  return any ? at::cat(factors, 2) : Tensor();
}

Reads ComposedKv::reads() const {
  Reads most = Reads::Row;
  for (auto& part : parts) most = std::max(most, part->reads());
  return most;
}

Tensor ComposedInput::rows(bool training) const {
  std::vector<Tensor> rows;
  for (auto& part : parts) rows.push_back(part->rows(training));
  return at::cat(rows);
}

int64_t ComposedInput::count() const {
  int64_t sum = 0;
  for (auto& part : parts) sum += part->count();
  return sum;
}

std::vector<InputEdit::Learned> ComposedInput::learned() const {
  std::vector<Learned> all;
  int64_t first = 0;
  for (auto& part : parts) {
    for (auto learned : part->learned()) {
      learned.row += first;
      all.push_back(learned);
    }
    first += part->count();
  }
  return all;
}

Tensor WeightedSide::gate() const { return edit->gate() * weight; }

}  // namespace graft
