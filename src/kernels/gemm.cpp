#include "kernels/gemm.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include <cstdlib>

#include "core/mapped_file.h"
#include "core/torch.h"
#include "kernels/thin.h"
#include "kernels/twins.h"

namespace graft::kernels {
namespace {

// Below this many multiplications oneDNN gains too little for the code that it keeps for each shape.
constexpr int64_t kLargeProduct = int64_t{1} << 25;

bool for_onednn(const Tensor& a, const Tensor& b) {
  return a.is_cpu() && a.scalar_type() == at::kFloat && a.size(0) >= 64 && a.size(0) * a.size(1) * b.size(0) >= kLargeProduct && !composed_only();
}

int64_t filled_up(int64_t rows) {
  const int64_t step = rows <= 1024 ? 64 : rows <= 4096 ? 128 : 1024;
  return (rows + step - 1) / step * step;
}

Tensor with_rows(const Tensor& a, int64_t rows) {
  if (a.size(0) == rows) return a;
  Tensor filled = at::empty({rows, a.size(1)}, a.options());
  filled.narrow(0, 0, a.size(0)).copy_(a);
  filled.narrow(0, a.size(0), rows - a.size(0)).zero_();
  return filled;
}

Tensor onednn_linear(const Tensor& a, const Tensor& b, const Tensor& bias) {
  using Signature = Tensor(const Tensor&, const Tensor&, const std::optional<Tensor>&, c10::string_view, c10::List<std::optional<at::Scalar>>,
                           std::optional<c10::string_view>);
  static const auto op = [] {
    ::setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256", /*overwrite=*/0);  // read at its first use; 1024 would hold half a gigabyte
    return c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn::_linear_pointwise", "").typed<Signature>();
  }();
  return op.call(with_rows(a, filled_up(a.size(0))), b, bias.defined() ? std::optional<Tensor>(bias) : std::nullopt, "none",
                 c10::List<std::optional<at::Scalar>>(), std::nullopt)
      .narrow(0, 0, a.size(0));
}

constexpr int64_t kPiece = kPieceBytes / static_cast<int64_t>(sizeof(float));

Tensor same_dtype_product(const Tensor& a, const Tensor& b, const Tensor& bias) {
  if (for_onednn(a, b)) return onednn_linear(a, b, bias);  // 64 rows or more: never another dtype
  if (thin_here(a, b)) return thin_product_t(a, b, bias);
  return bias.defined() ? at::addmm(bias, a, b.t()) : at::mm(a, b.t());
}

// A piece of a stored weight, in the dtype of the calculation.
Tensor fetched(const Tensor& stored, at::ScalarType dtype) {
  const Tensor piece = stored.to(dtype);
  let_go(stored);
  return piece;
}

}  // namespace

Tensor product_t(const Tensor& a, const Tensor& b, const Tensor& given_bias) {
  const at::ScalarType dtype = a.scalar_type();
  const Tensor bias = given_bias.defined() ? given_bias.to(dtype) : given_bias;
  if (b.scalar_type() == dtype || thin_here(a, b)) {  // thin bodies convert as they read
    const Tensor y = same_dtype_product(a, b, bias);
    let_go(b);
    return y;
  }
  const int64_t n = b.size(0), k = b.size(1);
  if (!b.is_cpu() || b.numel() <= kPiece) return same_dtype_product(a, fetched(b, dtype), bias);
  if (n >= k) {  // columns of the result by themselves
    Tensor y = at::empty({a.size(0), n}, a.options());
    const int64_t rows = std::max<int64_t>(64, kPiece / k / 64 * 64);
    for (int64_t begin = 0; begin < n; begin += rows) {
      const int64_t count = std::min(rows, n - begin);
      y.narrow(1, begin, count).copy_(same_dtype_product(a, fetched(b.narrow(0, begin, count), dtype), bias.defined() ? bias.narrow(0, begin, count) : bias));
    }
    return y;
  }
  Tensor y;  // a sum over pieces of the inner size
  const int64_t columns = std::max<int64_t>(64, kPiece / n / 64 * 64);
  for (int64_t begin = 0; begin < k; begin += columns) {
    const int64_t count = std::min(columns, k - begin);
    const Tensor part = same_dtype_product(a.narrow(1, begin, count), fetched(b.narrow(1, begin, count), dtype), begin == 0 ? bias : Tensor());
    if (y.defined()) y.add_(part);
    else y = part;
  }
  return y;
}

Tensor product(const Tensor& a, const Tensor& b) { return product_t(a, b.t()); }

void add_product(Tensor& y, const Tensor& a, const Tensor& b) {
  if (y.is_cuda() && b.scalar_type() == y.scalar_type()) y.addmm_(a, b);
  else y.add_(product(a, b));
}

void add_product_t(Tensor& y, const Tensor& a, const Tensor& b, double scale) {
  if (thin_here(a, b)) add_thin_product_t(y, a, b, scale);
  else y.addmm_(a, b.t(), 1, scale);
}

void product_into(Tensor& y, const Tensor& a, const Tensor& b, double scale) {
  if (y.is_cuda() && b.scalar_type() == y.scalar_type()) at::addmm_out(y, y, a, b, /*beta=*/0, scale);
  else y.copy_(product(a, b).mul_(scale));
}

Tensor product_over_rows(const Tensor& a, const Tensor& b, at::ScalarType dtype) {
  if (a.is_cuda() && dtype == at::kFloat && a.scalar_type() != at::kFloat && a.scalar_type() != at::kDouble) return at::mm(a.t(), b, dtype);
  return (thin_over_rows_here(a, b) ? thin_product_over_rows(a, b) : at::mm(a.t(), b)).to(dtype);
}

}  // namespace graft::kernels
