// Methods that turn a linear's input instead of its weight: y = W (x R) + b, which merges to W Rᵀ. The weight stays frozen, so
// that its gradient is never computed; turning x costs as many operations a token as R has entries.
#pragma once
#include "sites/edit.h"

namespace graft {

struct TurnedInput : WeightEdit {
  // rows · R, or rows · Rᵀ with `back`, in the dtype of the rows.
  virtual Tensor turned(const Tensor& rows, bool back) const = 0;

  Tensor linear(const Linear& base, const Tensor& x, bool training) const override;
  std::optional<Linear> merged(const Linear& base) const override;

 protected:
  virtual at::ScalarType dtype() const = 0;  // of the trained tensors
};

// Positions in a flattened [n, n] of its strict upper triangle, row by row.
Tensor upper_triangle(int64_t n, const at::Device& device);
// U − Uᵀ [batch, n, n] for strict upper triangles [batch, n (n − 1) / 2] or one of them.
Tensor skew_symmetric(const Tensor& upper, const Tensor& positions, int64_t n);
// B K⁻¹ for symmetric positive definite K. libtorch's general inverses read on the CPU whether they worked, for which a GPU
// waits.
Tensor times_inverse(const Tensor& b, const Tensor& k);
// R − I for skew-symmetric Q [batch, n, n]: small where R is nearly I, so that it keeps its digits in narrow dtypes.
Tensor cayley(const Tensor& q);                        // R = (I + Q)(I − Q)⁻¹, orthogonal
Tensor cayley_series(const Tensor& q, int64_t terms);  // R = I + 2Q + 2Q² + … + Q^(terms − 1), nearly so for small Q
// rows [n, in] · (I + blockdiag(d)) for d [blocks, size, size]; one block alone serves all of them.
Tensor times_blocks(const Tensor& rows, const Tensor& d);

}  // namespace graft
