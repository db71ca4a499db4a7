#include "methods/common/lora_edits.h"

#include "core/check.h"
#include "core/torch.h"
#include "kernels/dropout.h"
#include "kernels/linear.h"
#include "kernels/scale.h"

namespace graft {

Tensor LoraEdit::row_norms(const Linear& base) const {
  if (held && held_norms_.defined()) return held_norms_;
  return held_norms_ = kernels::row_norms({base.weight, {}, a, b, scale});
}

std::optional<LowRank> LoraEdit::low_rank(bool training) const {
  if (magnitude.defined() || bias.defined() || (training && dropout > 0)) return std::nullopt;
  return LowRank{a, b, scale};
}

Tensor LoraEdit::linear(const Linear& base, const Tensor& x, bool training) const {
  const bool drops = training && dropout > 0;
  const Tensor factor = magnitude.defined() ? magnitude / row_norms(base) : Tensor();
  const bool frozen = !base.weight.requires_grad();
  if (factor.defined() && frozen && !drops) {  // x' = x: (m/n) ⊙ (W x + s·B A x) + b
    const Tensor y = kernels::scaled(kernels::low_rank_linears(x, {{base.weight, {}, a, b, scale}})[0], factor);
    return (base.bias.defined() ? y + base.bias : y).to(x.scalar_type());
  }
  const Tensor dropped = drops ? kernels::dropout(x, dropout) : x;
  Tensor side = at::mm(at::mm(dropped.to(a.scalar_type()), a.t()), b.t());
  if (bias.defined()) side = side + bias;
  side = side * scale;
  const Tensor y = kernels::linear(x, base.weight, base.bias);
  if (!factor.defined()) return y + side.to(y.scalar_type());
  return y + ((factor - 1) * kernels::linear(dropped, base.weight, {}) + factor * side).to(y.scalar_type());
}

std::optional<Linear> LoraEdit::merged(const Linear& base) const {
  at::NoGradGuard no_grad;
  Linear result = base;
  const Tensor sum = base.weight.to(a.scalar_type()) + at::mm(b, a) * scale;
  result.weight = magnitude.defined() ? sum * (magnitude / sum.norm(2, 1)).unsqueeze(1) : sum;
  if (bias.defined()) {
    if (!base.bias.defined())
      usage_error("merge", fmt::format("lora_bias adds a bias to '{}', which has none in the base", base.path),
                  "keep the adapter beside the base");
    result.bias = base.bias.to(a.scalar_type()) + bias * scale;
  }
  return result;
}

Tensor LoraEmbedEdit::column_norms(const Tensor& weight) const {
  if (held && held_norms_.defined()) return held_norms_;
  at::NoGradGuard no_grad;
  return held_norms_ = (weight.detach().to(a.scalar_type()) + at::mm(b, a).t() * scale).norm(2, 0);
}

Tensor LoraEmbedEdit::embed(const Tensor& weight, const Tensor& ids) const {
  const Tensor rows = at::embedding(weight, ids);
  const Tensor side = at::mm(at::embedding(a.t(), ids), b.t()) * scale;
  const Tensor sum = rows.to(a.scalar_type()) + side;
  return magnitude.defined() ? magnitude / column_norms(weight) * sum : sum;
}

Tensor LoraEmbedEdit::merged(const Tensor& weight) const {
  at::NoGradGuard no_grad;
  const Tensor sum = weight.to(a.scalar_type()) + at::mm(b, a).t() * scale;
  return magnitude.defined() ? sum * (magnitude / sum.norm(2, 0)) : sum;
}

Tensor LoraTiedHeadEdit::linear(const Linear& base, const Tensor& x, bool) const {
  const Tensor y = kernels::linear(x, base.weight, base.bias);
  return y +
         (at::mm(at::mm(x.to(embedding->a.scalar_type()), embedding->b), embedding->a) * embedding->scale).to(y.scalar_type());
}

std::optional<Linear> LoraTiedHeadEdit::merged(const Linear& base) const {
  Linear result = base;
  result.weight = embedding->merged(base.weight);
  return result;
}

}  // namespace graft
