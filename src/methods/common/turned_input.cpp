#include "methods/common/turned_input.h"

#include "core/torch.h"
#include "kernels/linear.h"

namespace graft {

Tensor TurnedInput::linear(const Linear& base, const Tensor& x, bool) const {
  return kernels::linear(turned(x, false), base.weight, base.bias);
}

std::optional<Linear> TurnedInput::merged(const Linear& base) const {
  at::NoGradGuard no_grad;
  Linear result = base;
  result.weight = turned(base.weight.to(dtype()), true);
  return result;
}

Tensor upper_triangle(int64_t n, const at::Device& device) {
  const Tensor index = at::triu_indices(n, n, 1);
  return (index[0] * n + index[1]).to(device);
}

Tensor skew_symmetric(const Tensor& upper, const Tensor& positions, int64_t n) {
  const Tensor flat = upper.view({-1, positions.size(0)});
  const Tensor u = at::zeros({flat.size(0), n * n}, flat.options()).index_copy(1, positions, flat).view({-1, n, n});
  return u - u.transpose(1, 2);
}

Tensor times_inverse(const Tensor& b, const Tensor& k) {
  const Tensor lower = std::get<0>(at::linalg_cholesky_ex(k));
  const Tensor half = at::linalg_solve_triangular(lower.mT(), b, /*upper=*/true, /*left=*/false);
  return at::linalg_solve_triangular(lower, half, /*upper=*/false, /*left=*/false);
}

Tensor cayley(const Tensor& q) {
  const Tensor square = at::matmul(q, q);  // (I − Q)⁻¹ = (I + Q)(I − Q²)⁻¹
  return times_inverse(2 * (q + square), at::eye(q.size(-1), q.options()) - square);
}

Tensor cayley_series(const Tensor& q, int64_t terms) {
  Tensor sum = 2 * q;
  if (terms <= 2) return sum;
  Tensor power = at::bmm(q, q);
  sum = sum + 2 * power;
  for (int64_t k = 3; k < terms - 1; ++k) {
    power = at::bmm(power, q);
    sum = sum + 2 * power;
  }
  return sum + at::bmm(power, q);
}

Tensor times_blocks(const Tensor& rows, const Tensor& d) {
  const Tensor factor = d.to(rows.scalar_type());
  const int64_t size = d.size(-1);
  if (d.size(0) == 1) {
    const Tensor parts = rows.reshape({-1, size});
    return at::addmm(parts, parts, factor[0]).view(rows.sizes());
  }
  const Tensor parts = rows.reshape({rows.size(0), -1, size}).transpose(0, 1);
  return at::baddbmm(parts, parts, factor).transpose(0, 1).reshape(rows.sizes());
}

}  // namespace graft
