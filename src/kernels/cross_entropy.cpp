#include "kernels/cross_entropy.h"

#include "core/autograd.h"
#include "kernels/gemm.h"
#include "kernels/twins.h"

namespace graft::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// About 64 MiB of logits at a time: enough rows for each pass over the head's weight, few enough to stay out of the way.
int64_t rows_per_chunk(int64_t vocab) { return std::max<int64_t>(64, (int64_t{16} << 20) / std::max<int64_t>(vocab, 1)); }

Tensor logits_of(const Tensor& h, const Tensor& weight, const Tensor& bias) {
  const Tensor w = weight.scalar_type() == h.scalar_type() ? weight : weight.to(h.scalar_type());
  return product_t(h, w, bias.defined() ? bias.to(h.scalar_type()) : bias);
}

struct LinearCrossEntropy : torch::autograd::Function<LinearCrossEntropy> {
  static Tensor forward(AutogradContext* ctx, const Tensor& h, const Tensor& weight, const std::optional<Tensor>& optional_bias,
                        const Tensor& targets, double scale, double softcap) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const Tensor bias = optional_bias.value_or(Tensor());
    const int64_t rows = h.size(0), chunk = rows_per_chunk(weight.size(0));
    const bool need_h = h.requires_grad(), need_w = weight.requires_grad(), need_b = bias.defined() && bias.requires_grad();
    const Tensor w = weight.scalar_type() == h.scalar_type() ? weight : weight.to(h.scalar_type());
    Tensor dh = need_h ? at::empty_like(h) : Tensor(), dw = need_w ? at::zeros(weight.sizes(), h.options()) : Tensor();
    Tensor db = need_b ? at::zeros(bias.sizes(), h.options()) : Tensor();
    Tensor loss = at::zeros({}, h.options().dtype(at::kDouble));
    for (int64_t begin = 0; begin < rows; begin += chunk) {
      const int64_t n = std::min(chunk, rows - begin);
      const Tensor x = h.narrow(0, begin, n), target = targets.narrow(0, begin, n).unsqueeze(1);
      Tensor logits = logits_of(x, weight, bias), slope;
      if (scale != 1) logits.mul_(scale);
      if (softcap > 0) {
        logits.div_(softcap).tanh_();
        slope = logits.square().neg_().add_(1);  // of the cap
        logits.mul_(softcap);
      }
      const Tensor picked = logits.gather(1, target);
      const Tensor peak = std::get<0>(logits.max(1, /*keepdim=*/true));
      logits.sub_(peak).exp_();
      const Tensor total = logits.sum(1, /*keepdim=*/true);
      loss += (total.log() + peak - picked).sum(at::kDouble);
      if (!(need_h || need_w || need_b)) continue;
      logits.div_(total);  // now the probabilities; minus one at the target gives the gradient
      logits.scatter_add_(1, target, at::full({1, 1}, -1.0, logits.options()).expand({n, 1}));
      if (slope.defined()) logits.mul_(slope);
      if (scale != 1) logits.mul_(scale);
      if (need_h) dh.narrow(0, begin, n).copy_(product(logits, w));
      if (need_w) dw.addmm_(logits.t(), x);
      if (need_b) db.add_(logits.sum(0));
    }
    ctx->save_for_backward({dh, dw, db});
    return loss.to(h.scalar_type());
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto times = [&](const Tensor& g) { return g.defined() ? g * grads[0] : Tensor(); };
    return {times(saved[0]), times(saved[1]), times(saved[2]), Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor shaped_logits(const Tensor& logits, const LogitShape& shape) {
  const Tensor scaled = shape.scale == 1 ? logits : logits * shape.scale;
  return shape.softcap > 0 ? at::tanh(scaled / shape.softcap) * shape.softcap : scaled;
}

Tensor linear_cross_entropy_composed(const Tensor& h, const Tensor& weight, const Tensor& bias, const Tensor& targets, const LogitShape& shape) {
  const Tensor logits = at::matmul(h, weight.to(h.scalar_type()).t());
  return at::nll_loss(at::log_softmax(shaped_logits(bias.defined() ? logits + bias : logits, shape), 1), targets, {}, at::Reduction::Sum);
}

Tensor linear_cross_entropy(const Tensor& h, const Tensor& weight, const Tensor& bias, const Tensor& targets, const LogitShape& shape) {
  if (composed_only()) return linear_cross_entropy_composed(h, weight, bias, targets, shape);
  return LinearCrossEntropy::apply(h, weight, bias.defined() ? std::optional<Tensor>(bias) : std::nullopt, targets, shape.scale, shape.softcap);
}

int64_t linear_cross_entropy_bytes(int64_t supervised, int64_t vocab) {
  return 2 * std::min(supervised, rows_per_chunk(vocab)) * vocab * static_cast<int64_t>(sizeof(float));
}

Tensor token_losses(const Tensor& h, const Tensor& weight, const Tensor& bias, const Tensor& targets, const LogitShape& shape) {
  at::NoGradGuard no_grad;
  Tensor losses = at::empty({h.size(0)}, h.options().dtype(at::kDouble));
  const int64_t chunk = rows_per_chunk(weight.size(0));
  for (int64_t begin = 0; begin < h.size(0); begin += chunk) {
    const int64_t n = std::min(chunk, h.size(0) - begin);
    const Tensor scores = shaped_logits(logits_of(h.narrow(0, begin, n), weight, bias), shape);
    const Tensor picked = scores.gather(1, targets.narrow(0, begin, n).unsqueeze(1)).squeeze(1);
    losses.narrow(0, begin, n).copy_(scores.logsumexp(1) - picked);
  }
  return losses;
}

}  // namespace graft::kernels
