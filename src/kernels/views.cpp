#include "kernels/views.h"

#include "core/torch.h"

namespace graft::kernels {

Tensor transposed(const Tensor& x) { return at::as_strided(x, {x.size(1), x.size(0)}, {x.stride(1), x.stride(0)}); }

Tensor some_rows(const Tensor& x, int64_t begin, int64_t count) {
  return at::as_strided(x, {count, x.size(1)}, x.strides(), x.storage_offset() + begin * x.stride(0));
}

Tensor some_columns(const Tensor& x, int64_t begin, int64_t count) {
  return at::as_strided(x, {x.size(0), count}, x.strides(), x.storage_offset() + begin * x.stride(1));
}

}  // namespace graft::kernels
