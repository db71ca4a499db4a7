#include "kernels/gemm.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <optional>

#include "core/mapped_file.h"
#include "core/torch.h"
#include "kernels/cpu.h"
#include "kernels/packed.h"
#include "kernels/thin.h"
#include "kernels/twins.h"
#include "kernels/views.h"

// The entry of libtorch's BLAS: c = alpha · op(a) · op(b) + beta · c, matrices stored by column. Not every libtorch lets it be seen.
extern "C" __attribute__((weak)) void sgemm_(const char* turn_a, const char* turn_b, const int* m, const int* n, const int* k, const float* alpha, const float* a,
                                             const int* a_distance, const float* b, const int* b_distance, const float* beta, float* c, const int* c_distance);

namespace graft::kernels {
namespace {

// Below this many multiplications oneDNN gains too little for the code that it keeps for each shape.
constexpr int64_t kLargeProduct = int64_t{1} << 25;

bool for_onednn(const Tensor& a, const Tensor& b) {
  return a.is_cpu() && a.scalar_type() == at::kFloat && a.size(0) >= 64 && a.size(0) * a.size(1) * b.size(0) >= kLargeProduct && !mkl_at_full_rate() &&
         !packed_here(a, b) && !composed_only();
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

// x.to(dtype), asked for only where it does something.
Tensor in_dtype(const Tensor& x, at::ScalarType dtype) { return x.scalar_type() == dtype ? x : x.to(dtype); }

// What becomes of a product: y = scale · a · bᵀ + bias, or y += scale · a · bᵀ.
struct Into {
  bool add = false;
  double scale = 1;
  Tensor bias = {};  // undefined with add or a scale
  LaidOutRows* rows = nullptr;  // of a
};

// How BLAS is told of a matrix.
struct Stored {
  bool by_column;
  int distance;  // of its rows, or columns
};

std::optional<Stored> stored(const Tensor& x) {
  const int64_t rows = x.size(0), columns = x.size(1);
  if (!x.is_cpu() || x.scalar_type() != at::kFloat || x.numel() == 0 || std::max({rows, columns, x.stride(0), x.stride(1)}) > std::numeric_limits<int>::max()) return std::nullopt;
  if (x.stride(1) == 1 && (x.stride(0) >= columns || rows == 1)) return Stored{false, static_cast<int>(std::max(x.stride(0), columns))};
  if (x.stride(0) == 1 && (x.stride(1) >= rows || columns == 1)) return Stored{true, static_cast<int>(std::max(x.stride(1), rows))};
  return std::nullopt;
}

// Without what at::addmm does in front of the same call, which takes as long as a small product. False, and nothing done, where BLAS cannot
// read the matrices as they are.
bool blas_product_into(Tensor& y, const Tensor& a, const Tensor& b, const Into& into) {
  if (!sgemm_ || composed_only() || (into.bias.defined() && (into.bias.scalar_type() != at::kFloat || into.bias.stride(0) != 1))) return false;
  const auto of_y = stored(y), of_a = stored(a), of_b = stored(b);
  if (!of_y || of_y->by_column || !of_a || !of_b) return false;
  const int rows = static_cast<int>(a.size(0)), out = static_cast<int>(b.size(0)), in = static_cast<int>(a.size(1));
  float* const to = y.mutable_data_ptr<float>();
  if (into.bias.defined())
    for (int64_t r = 0; r < rows; ++r) std::copy_n(into.bias.const_data_ptr<float>(), out, to + r * of_y->distance);
  const float scale = static_cast<float>(into.scale), kept = into.add || into.bias.defined() ? 1 : 0;
  // By columns it is yᵀ = b · aᵀ.
  sgemm_(of_b->by_column ? "N" : "T", of_a->by_column ? "T" : "N", &out, &rows, &in, &scale, b.const_data_ptr<float>(), &of_b->distance, a.const_data_ptr<float>(),
         &of_a->distance, &kept, to, &of_y->distance);
  return true;
}

// Straight to y, whatever its rows' distance: by libtorch's own library, MKL or a GPU's, or by own code where that is faster.
void direct_product_into(Tensor& y, const Tensor& a, const Tensor& b, const Into& into) {
  if (packed_here(a, b) && y.stride(1) == 1) return packed_product_t_into(y, a, b, into.scale, into.add, into.bias, into.rows);
  if (blas_product_into(y, a, b, into)) return;
  if (into.bias.defined()) at::addmm_out(y, into.bias, a, b.t());
  else at::addmm_out(y, y, a, b.t(), into.add ? 1 : 0, into.scale);
}

Tensor direct_product(const Tensor& a, const Tensor& b, const Tensor& bias, LaidOutRows* rows = nullptr) {
  Tensor y = at::empty({a.size(0), b.size(0)}, a.options());
  direct_product_into(y, a, b, {.bias = bias, .rows = rows});
  return y;
}

Tensor one_product(const Tensor& a, const Tensor& b, const Tensor& bias, LaidOutRows* rows = nullptr) {
  if (thin_here(a, b, bias.defined())) return thin_product_t(a, b, bias);
  if (for_onednn(a, b)) return onednn_linear(a, b, bias);  // 64 rows or more: never another dtype
  return direct_product(a, b, bias, rows);
}

void one_product_into(Tensor& y, const Tensor& a, const Tensor& b, const Into& into) {
  const bool thin = thin_here(a, b), onednn = !thin && for_onednn(a, b);
  if (thin && into.add) {
    add_thin_product_t(y, a, b, into.scale);
  } else if (onednn || thin) {
    Tensor product = one_product(a, b, into.bias);
    if (into.add) y.add_(product, into.scale);
    else y.copy_(into.scale == 1 ? product : product.mul_(into.scale));
  } else {
    direct_product_into(y, a, b, into);
  }
}

// Some bodies convert as they read.
bool read_as_stored(const Tensor& a, const Tensor& b) { return b.scalar_type() == a.scalar_type() || packed_here(a, b) || thin_here(a, b); }

// A stored weight, or a piece of one, in the dtype of the calculation where it cannot be read otherwise.
Tensor readable(const Tensor& a, const Tensor& b) { return read_as_stored(a, b) ? b : b.to(a.scalar_type()); }

// Pieces bound what is converted, and what of a mapped file is resident, at one time.
bool in_pieces(const Tensor& a, const Tensor& b) { return b.is_cpu() && b.numel() > kPiece && (packed_here(a, b) || !read_as_stored(a, b)); }

void product_t_into(Tensor& y, const Tensor& a, const Tensor& b, const Into& into) {
  const auto one_piece = [&](Tensor& part, const Tensor& x, const Tensor& w, const Into& of_piece) {
    one_product_into(part, x, readable(x, w), of_piece);
    let_go(w);
  };
  if (!in_pieces(a, b)) return one_piece(y, a, b, into);
  const int64_t n = b.size(0), k = b.size(1);
  if (n >= k) {  // columns of the result by themselves
    const int64_t rows = std::max<int64_t>(64, kPiece / k / 64 * 64);
    for (int64_t begin = 0; begin < n; begin += rows) {
      const int64_t count = std::min(rows, n - begin);
      Tensor columns = y.narrow(1, begin, count);
      one_piece(columns, a, b.narrow(0, begin, count), {into.add, into.scale, into.bias.defined() ? into.bias.narrow(0, begin, count) : Tensor(), into.rows});
    }
    return;
  }
  const int64_t columns = std::max<int64_t>(64, kPiece / n / 64 * 64);  // a sum over pieces of the inner size
  for (int64_t begin = 0; begin < k; begin += columns) {
    const int64_t count = std::min(columns, k - begin);
    const bool first = begin == 0;
    one_piece(y, a.narrow(1, begin, count), b.narrow(1, begin, count), {into.add || !first, into.scale, first ? into.bias : Tensor()});
  }
}

}  // namespace

Tensor product_t(const Tensor& a, const Tensor& b, const Tensor& given_bias, LaidOutRows* rows) {
  const Tensor bias = given_bias.defined() ? in_dtype(given_bias, a.scalar_type()) : given_bias;
  if (!in_pieces(a, b)) {
    const Tensor y = one_product(a, readable(a, b), bias, rows);
    let_go(b);
    return y;
  }
  Tensor y = at::empty({a.size(0), b.size(0)}, a.options());
  product_t_into(y, a, b, {.bias = bias, .rows = rows});
  return y;
}

Tensor product(const Tensor& a, const Tensor& b) { return product_t(a, transposed(b)); }

bool adds_for_nothing(const Tensor& a, const Tensor& b) {
  if (a.is_cuda()) return b.scalar_type() == a.scalar_type();
  return a.is_cpu() && a.scalar_type() == at::kFloat && (mkl_at_full_rate() || packed_here(a, b)) && !thin_here(a, b) && !composed_only();
}

void add_product(Tensor& y, const Tensor& a, const Tensor& b) { product_t_into(y, a, transposed(b), {.add = true}); }

void add_product_t(Tensor& y, const Tensor& a, const Tensor& b, double scale, LaidOutRows* rows) {
  product_t_into(y, a, b, {.add = true, .scale = scale, .rows = rows});
}

void product_into(Tensor& y, const Tensor& a, const Tensor& b, double scale) { product_t_into(y, a, transposed(b), {.scale = scale}); }

Tensor product_over_rows(const Tensor& a, const Tensor& b, at::ScalarType dtype) {
  if (a.is_cuda() && dtype == at::kFloat && a.scalar_type() != at::kFloat && a.scalar_type() != at::kDouble) return at::mm(a.t(), b, dtype);
  const Tensor columns_of_a = transposed(a), columns_of_b = transposed(b);
  const bool thin = !packed_here(columns_of_a, columns_of_b) && thin_over_rows_here(a, b);
  return in_dtype(thin ? thin_product_over_rows(a, b) : direct_product(columns_of_a, columns_of_b, {}), dtype);
}

}  // namespace graft::kernels
