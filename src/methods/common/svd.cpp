#include "methods/common/svd.h"

#include "core/torch.h"
#include "methods/common/init.h"

namespace graft {

Svd exact_svd(const Tensor& weight) {
  auto [u, s, vh] = at::linalg_svd(weight, false);
  return {u, s, vh};
}

Svd randomised_svd(const Tensor& weight, int64_t r, int64_t iterations, at::Generator& generator) {
  if (weight.size(0) < weight.size(1)) {
    const Svd t = randomised_svd(weight.t(), r, iterations, generator);
    return {t.vh.t(), t.s, t.u.t()};
  }
  Tensor basis = std::get<0>(at::linalg_qr(at::mm(weight, normal({weight.size(1), r}, 1, weight.options(), generator))));
  for (int64_t i = 0; i < iterations; ++i) {
    basis = std::get<0>(at::linalg_qr(at::mm(weight.t(), basis)));
    basis = std::get<0>(at::linalg_qr(at::mm(weight, basis)));
  }
  auto [u, s, vh] = at::linalg_svd(at::mm(basis.t(), weight), false);
  return {at::mm(basis, u), s, vh};
}

}  // namespace graft
