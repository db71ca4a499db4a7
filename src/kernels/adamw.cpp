#include "kernels/adamw.h"

#include <ATen/Parallel.h>

#include <cmath>

#include "core/torch.h"
#include "kernels/cpu/elementwise_kernel.h"
#include "kernels/twins.h"

namespace graft::kernels {
namespace {

// A piece of a tensor: threads share pieces, not tensors, and sums are added up piece by piece.
struct Piece {
  size_t tensor;
  int64_t begin, count;
};
constexpr int64_t kPieceSize = 1 << 15;

std::vector<Piece> pieces_of(const std::vector<int64_t>& sizes) {
  std::vector<Piece> pieces;
  for (size_t i = 0; i < sizes.size(); ++i)
    for (int64_t begin = 0; begin < sizes[i]; begin += kPieceSize) pieces.push_back({i, begin, std::min(kPieceSize, sizes[i] - begin)});
  return pieces;
}

// Walks memory in order, so the numbers must lie without gaps.
bool swept(const Tensor& t) { return t.is_cpu() && t.scalar_type() == at::kFloat && t.is_non_overlapping_and_dense(); }

cpu::AdamWStep step_of(const AdamWOptions& o, double step) {
  const auto number = [](double x) { return static_cast<float>(x); };
  return {number(o.gradient_factor), number(1 - o.learning_rate * o.weight_decay), number(1 - o.beta1), number(o.beta2), number(1 - o.beta2),
          number(o.learning_rate / (1 - std::pow(o.beta1, step))), number(std::sqrt(1 - std::pow(o.beta2, step))), number(o.eps)};
}

}  // namespace

void adamw_composed(std::vector<AdamWTensor>& tensors, const AdamWOptions& o) {
  at::NoGradGuard no_grad;
  std::vector<Tensor> params, gradients, first, second, steps;
  for (auto& t : tensors) {
    params.push_back(t.param);
    gradients.push_back(t.gradient);
    first.push_back(t.first);
    second.push_back(t.second);
    steps.push_back(t.steps);
  }
  if (tensors.empty()) return;
  if (o.gradient_factor != 1) at::_foreach_mul_(gradients, o.gradient_factor);
  at::_foreach_add_(steps, 1);
  at::_fused_adamw_(params, gradients, first, second, {}, steps, o.learning_rate, o.beta1, o.beta2, o.weight_decay, o.eps, /*amsgrad=*/false, /*maximize=*/false);
}

void adamw(std::vector<AdamWTensor>& tensors, const AdamWOptions& options) {
  const auto fits = [](const AdamWTensor& t) { return swept(t.param) && swept(t.gradient) && swept(t.first) && swept(t.second); };
  if (composed_only() || !std::all_of(tensors.begin(), tensors.end(), fits)) return adamw_composed(tensors, options);
  at::NoGradGuard no_grad;
  std::vector<int64_t> sizes;
  std::vector<cpu::AdamWStep> steps;
  struct Pointers {
    float *param, *gradient, *first, *second;
  };
  std::vector<Pointers> memory;
  for (auto& t : tensors) {
    sizes.push_back(t.param.numel());
    steps.push_back(step_of(options, *t.steps.mutable_data_ptr<float>() += 1));
    memory.push_back({t.param.mutable_data_ptr<float>(), t.gradient.mutable_data_ptr<float>(), t.first.mutable_data_ptr<float>(), t.second.mutable_data_ptr<float>()});
  }
  const auto pieces = pieces_of(sizes);
  const auto& kernels = cpu::elementwise_kernels();
  at::parallel_for(0, static_cast<int64_t>(pieces.size()), 1, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      const Piece& piece = pieces[static_cast<size_t>(i)];
      const Pointers& m = memory[piece.tensor];
      kernels.adamw(piece.count, m.param + piece.begin, m.gradient + piece.begin, m.first + piece.begin, m.second + piece.begin, steps[piece.tensor]);
    }
  });
}

Tensor total_norm_there(const std::vector<Tensor>& tensors) {
  if (!composed_only() && std::all_of(tensors.begin(), tensors.end(), swept)) return at::full({}, total_norm(tensors), at::kDouble);
  return at::linalg_vector_norm(at::stack(at::_foreach_norm(tensors, 2)), 2);
}

double total_norm_composed(const std::vector<Tensor>& tensors) {
  return tensors.empty() ? 0 : at::linalg_vector_norm(at::stack(at::_foreach_norm(tensors, 2)), 2).item<double>();
}

double total_norm(const std::vector<Tensor>& tensors) {
  if (composed_only() || !std::all_of(tensors.begin(), tensors.end(), swept)) return total_norm_composed(tensors);
  std::vector<int64_t> sizes;
  std::vector<const float*> memory;
  for (auto& t : tensors) {
    sizes.push_back(t.numel());
    memory.push_back(t.const_data_ptr<float>());
  }
  const auto pieces = pieces_of(sizes);
  std::vector<double> sums(pieces.size());
  const auto& kernels = cpu::elementwise_kernels();
  at::parallel_for(0, static_cast<int64_t>(pieces.size()), 1, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      const Piece& piece = pieces[static_cast<size_t>(i)];
      sums[static_cast<size_t>(i)] = kernels.squares(piece.count, memory[piece.tensor] + piece.begin);
    }
  });
  double sum = 0;
  for (const double s : sums) sum += s;
  return std::sqrt(sum);
}

}  // namespace graft::kernels
