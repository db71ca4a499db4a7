#include "kernels/cross_entropy.h"

#include <ATen/Parallel.h>

#include "core/autograd.h"
#include "kernels/cpu/elementwise_kernel.h"
#include "kernels/cuda/fused.h"
#include "kernels/gemm.h"
#include "kernels/twins.h"

namespace graft::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Rows of each chunk: as many as the bytes allow, in chunks of about the same size, which large products fill up to 64 rows.
int64_t rows_per_chunk(int64_t rows, const Tensor& h, int64_t vocab, int64_t bytes) {
  if (bytes <= 0) bytes = h.is_cpu() ? int64_t{64} << 20 : int64_t{512} << 20;
  const int64_t most = std::max<int64_t>(1, bytes / std::max<int64_t>(1, vocab * std::max<int64_t>(4, h.element_size())));
  if (most < 64) return most;
  const int64_t whole = most / 64 * 64, chunks = std::max<int64_t>(1, (rows + whole - 1) / whole);
  return ((rows + chunks - 1) / chunks + 63) / 64 * 64;
}

bool is_half(const Tensor& t) { return t.scalar_type() == at::kHalf || t.scalar_type() == at::kBFloat16; }
// Losses and softmax are computed in float32 at least.
at::ScalarType wide_type(const Tensor& t) { return is_half(t) ? at::kFloat : t.scalar_type(); }
Tensor widened(const Tensor& t) { return t.to(wide_type(t)); }

Tensor logits_of(const Tensor& h, const Tensor& weight, const Tensor& bias) {
  return product_t(h, weight, bias.defined() ? bias.to(h.scalar_type()) : bias);
}

bool loss_in_float(const Tensor& logits) { return logits.is_cpu() && logits.scalar_type() == at::kFloat && logits.is_contiguous(); }

// Losses [rows] float64 of shaped logits [rows, vocab], which become their slopes where `slope` is set.
Tensor row_losses(Tensor& logits, const Tensor& targets, double smoothing, bool slope) {
  const int64_t rows = logits.size(0), vocab = logits.size(1);
  if (loss_in_float(logits)) {
    Tensor losses = at::empty({rows}, logits.options().dtype(at::kDouble));
    const Tensor wanted = targets.contiguous();
    const int64_t* tp = wanted.const_data_ptr<int64_t>();
    double* lp = losses.mutable_data_ptr<double>();
    float* zp = logits.mutable_data_ptr<float>();
    const auto& kernels = cpu::elementwise_kernels();
    at::parallel_for(0, rows, 1, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) lp[r] = kernels.cross_entropy(vocab, zp + r * vocab, tp[r], smoothing, slope);
    });
    return losses;
  }
  const Tensor target = targets.unsqueeze(1);
  Tensor picked = logits.gather(1, target).to(at::kDouble);
  if (smoothing > 0) picked = (1 - smoothing) * picked + smoothing * logits.mean(1, /*keepdim=*/true, at::kDouble);
  const Tensor peak = std::get<0>(logits.max(1, /*keepdim=*/true));
  logits.sub_(peak).exp_();
  const Tensor total = logits.sum(1, /*keepdim=*/true);
  if (slope) {  // the probabilities, less one at the target
    logits.div_(total);
    if (smoothing > 0) logits.sub_(smoothing / static_cast<double>(vocab));
    logits.scatter_add_(1, target, at::full({1, 1}, smoothing - 1, logits.options()).expand({rows, 1}));
  }
  return (total.to(at::kDouble).log() + peak - picked).squeeze(1);
}

// Losses [rows] float64 of logits [rows, vocab] as they come from the head; with `slope` the logits become the losses' gradient.
Tensor losses_of(Tensor& logits, const Tensor& targets, const LogitShape& shape, double smoothing, bool slope) {
  if (cuda::has_kernels(logits) && shape.softcap == 0) return cuda::row_losses(logits, targets, shape.scale, smoothing, slope);
  logits = widened(logits);
  Tensor cap_slope;
  if (shape.scale != 1) logits.mul_(shape.scale);
  if (shape.softcap > 0) {
    logits.div_(shape.softcap).tanh_();
    if (slope) cap_slope = logits.square().neg_().add_(1);
    logits.mul_(shape.softcap);
  }
  const Tensor losses = row_losses(logits, targets, smoothing, slope);
  if (cap_slope.defined()) logits.mul_(cap_slope);
  if (slope && shape.scale != 1) logits.mul_(shape.scale);
  return losses;
}

// The same with nothing to learn where a target is below 0.
Tensor losses_beside_gaps(Tensor& logits, const Tensor& targets, const LogitShape& shape, double smoothing, bool slope) {
  const Tensor gaps = targets.lt(0);
  Tensor losses = losses_of(logits, targets.clamp_min(0), shape, smoothing, slope);
  if (slope) logits.masked_fill_(gaps.unsqueeze(1), 0);
  return losses.masked_fill_(gaps, 0);
}

struct LinearCrossEntropy : torch::autograd::Function<LinearCrossEntropy> {
  static Tensor forward(AutogradContext* ctx, const Tensor& h, const Tensor& weight, const std::optional<Tensor>& optional_bias, const Tensor& targets,
                        double scale, double softcap, double smoothing, int64_t chunk_bytes, bool gaps) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const Tensor bias = optional_bias.value_or(Tensor());
    const int64_t rows = h.size(0), chunk = rows_per_chunk(rows, h, weight.size(0), chunk_bytes);
    const bool need_h = h.requires_grad(), need_w = weight.requires_grad(), need_b = bias.defined() && bias.requires_grad();
    const bool any = need_h || need_w || need_b;
    const auto sums = h.options().dtype(wide_type(h));
    Tensor dh = need_h ? at::empty_like(h) : Tensor(), dw = need_w ? at::zeros(weight.sizes(), sums) : Tensor();
    Tensor db = need_b ? at::zeros(bias.sizes(), sums) : Tensor();
    Tensor loss = at::zeros({}, h.options().dtype(at::kDouble));
    for (int64_t begin = 0; begin < rows; begin += chunk) {
      const int64_t n = std::min(chunk, rows - begin);
      const Tensor x = h.narrow(0, begin, n);
      Tensor logits = logits_of(x, weight, bias);
      loss += (gaps ? losses_beside_gaps : losses_of)(logits, targets.narrow(0, begin, n), {scale, softcap}, smoothing, any).sum();
      if (!any) continue;
      const Tensor slopes = logits.to(h.scalar_type());
      if (need_h) {
        Tensor part = dh.narrow(0, begin, n);
        product_into(part, slopes, weight, 1);
      }
      if (need_w && is_half(h)) dw.add_(at::mm(slopes.t(), x));
      else if (need_w) dw.addmm_(slopes.t(), x);
      if (need_b) db.add_(logits.sum(0, /*keepdim=*/false, db.scalar_type()));
    }
    ctx->save_for_backward({dh, dw, db});
    return loss.to(wide_type(h));
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto times = [&](const Tensor& g) { return g.defined() ? g * grads[0] : Tensor(); };
    return {times(saved[0]), times(saved[1]), times(saved[2]), Tensor(), Tensor(), Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor shaped_logits(const Tensor& logits, const LogitShape& shape) {
  const Tensor scaled = shape.scale == 1 ? logits : logits * shape.scale;
  return shape.softcap > 0 ? at::tanh(scaled / shape.softcap) * shape.softcap : scaled;
}

Tensor cross_entropy_composed(const Tensor& logits, const Tensor& targets, double label_smoothing) {
  const Tensor log_p = at::log_softmax(widened(logits), 1), likelihood = at::nll_loss(log_p, targets, {}, at::Reduction::Sum, /*ignore_index=*/-1);
  return label_smoothing > 0 ? (1 - label_smoothing) * likelihood - label_smoothing * (log_p.mean(1) * targets.ge(0)).sum() : likelihood;
}

Tensor linear_cross_entropy_composed(const Tensor& h, const Tensor& weight, const Tensor& bias, const Tensor& targets, const LogitShape& shape,
                                     const LossOptions& options) {
  const Tensor plain = at::matmul(h, weight.to(h.scalar_type()).t()), logits = widened(bias.defined() ? plain + bias.to(h.scalar_type()) : plain);
  return cross_entropy_composed(shaped_logits(logits, shape), targets, options.label_smoothing);
}

Tensor linear_cross_entropy(const Tensor& h, const Tensor& weight, const Tensor& bias, const Tensor& targets, const LogitShape& shape,
                            const LossOptions& options) {
  if (composed_only()) return linear_cross_entropy_composed(h, weight, bias, targets, shape, options);
  return LinearCrossEntropy::apply(h, weight, bias.defined() ? std::optional<Tensor>(bias) : std::nullopt, targets, shape.scale, shape.softcap,
                                   options.label_smoothing, options.chunk_bytes, options.gaps);
}

int64_t linear_cross_entropy_bytes(int64_t supervised, const Tensor& weight, int64_t chunk_bytes) {
  constexpr int64_t kFloat = sizeof(float);
  const int64_t vocab = weight.size(0), rows = std::min(supervised, rows_per_chunk(supervised, at::empty({0}), vocab, chunk_bytes));
  return rows * vocab * kFloat + (is_half(weight) ? std::min(kPieceBytes, weight.numel() * kFloat) : 0);
}

Tensor token_losses(const Tensor& h, const Tensor& weight, const Tensor& bias, const Tensor& targets, const LogitShape& shape) {
  at::NoGradGuard no_grad;
  Tensor losses = at::empty({h.size(0)}, h.options().dtype(at::kDouble));
  const int64_t chunk = rows_per_chunk(h.size(0), h, weight.size(0), 0);
  for (int64_t begin = 0; begin < h.size(0); begin += chunk) {
    const int64_t n = std::min(chunk, h.size(0) - begin);
    Tensor scores = logits_of(h.narrow(0, begin, n), weight, bias);
    losses.narrow(0, begin, n).copy_(losses_of(scores, targets.narrow(0, begin, n), shape, 0, false));
  }
  return losses;
}

}  // namespace graft::kernels
