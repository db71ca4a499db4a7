// The output head and its loss in one piece: logits exist only for one chunk of supervised tokens at a time.
#pragma once
#include "core/tensor.h"

namespace graft::kernels {

// What a model does to its logits z = h Wᵀ + b: scale · z, then softcap · tanh(z / softcap) where softcap is above 0.
struct LogitShape {
  double scale = 1, softcap = 0;
  bool plain() const { return scale == 1 && !(softcap > 0); }
};
Tensor shaped_logits(const Tensor& logits, const LogitShape& shape);

struct LossOptions {
  double label_smoothing = 0;  // e: (1 − e) · −log p[target] + e · mean over the vocabulary of −log p (arXiv 1512.00567)
  int64_t chunk_bytes = 0;     // of logits at a time; 0: 64 MiB on a CPU, 512 MiB on a GPU, enough rows for each pass over the head's weight
  bool gaps = false;           // some targets are below 0: nothing is learned there
};

// h [supervised, width], weight [vocab, width], bias [vocab] or undefined, targets [supervised] int64.
// → the sum over tokens of −log softmax(shape(h Wᵀ + b))[target], smoothed, a scalar. The gradients are computed in the forward pass.
Tensor linear_cross_entropy(const Tensor& h, const Tensor& weight, const Tensor& bias, const Tensor& targets, const LogitShape& shape = {},
                            const LossOptions& options = {});
Tensor linear_cross_entropy_composed(const Tensor& h, const Tensor& weight, const Tensor& bias, const Tensor& targets, const LogitShape& shape = {},
                                     const LossOptions& options = {});
// The same loss of logits that exist already, with or without gaps.
Tensor cross_entropy_composed(const Tensor& logits, const Tensor& targets, double label_smoothing = 0);

inline constexpr int64_t kSmallChunk = int64_t{16} << 20;  // of logits, where memory counts more than the last bit of speed
// Bytes that a call in float32 on a CPU holds at once for its logits and pieces of the head's weight.
int64_t linear_cross_entropy_bytes(int64_t supervised, const Tensor& weight, int64_t chunk_bytes = 0);

// Per-token −log softmax(shape(h Wᵀ + b))[target], [supervised] float64, without gradients and in chunks.
Tensor token_losses(const Tensor& h, const Tensor& weight, const Tensor& bias, const Tensor& targets, const LogitShape& shape = {});

}  // namespace graft::kernels
