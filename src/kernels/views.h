// Views of matrices in one call into libtorch, where x.t() and x.narrow() take three and two.
#pragma once
#include "core/tensor.h"

namespace graft::kernels {

// x [m, n] → [n, m].
Tensor transposed(const Tensor& x);
// `count` rows, or columns, of x [m, n] from `begin` on.
Tensor some_rows(const Tensor& x, int64_t begin, int64_t count);
Tensor some_columns(const Tensor& x, int64_t begin, int64_t count);

}  // namespace graft::kernels
