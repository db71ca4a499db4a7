#include "kernels/thin.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "core/torch.h"
#include "kernels/cpu.h"
#include "kernels/cpu/thin_kernel.h"
#include "kernels/packed.h"
#include "kernels/twins.h"
#include "kernels/views.h"

namespace graft::kernels {
namespace {

constexpr int64_t kThinRows = 64;                  // fewer rows than this are few
constexpr int64_t kSmallWeight = int64_t{1} << 17;  // entries that stay in a core's cache
constexpr int64_t kNarrow = 16;                    // sides up to here are below what MKL computes at its rate
constexpr int64_t kShortRows = 32, kMediumRows = 384;  // shorter rows of a weight than this are better read by column: of narrow weights, of others
constexpr int64_t kLeastWork = int64_t{1} << 15;   // multiplications that are worth a thread

bool is_float_on_cpu(const Tensor& x) { return x.is_cpu() && x.scalar_type() == at::kFloat && x.numel() > 0; }
bool rows_contiguous(const Tensor& x) { return x.stride(1) == 1 || x.size(1) == 1; }
Tensor with_contiguous_rows(const Tensor& x) { return rows_contiguous(x) ? x : x.contiguous(); }
// b [n, k] that lies in memory as [k, n], in whole vectors.
bool stored_transposed(const Tensor& b) { return b.stride(0) == 1 && b.size(0) % 16 == 0 && !rows_contiguous(b); }

// How many pieces of `width` there are in `total`.
int64_t pieces_of(int64_t total, int64_t width) { return (total + width - 1) / width; }

bool stored_in_half(const Tensor& b) { return b.scalar_type() == at::kBFloat16 || b.scalar_type() == at::kHalf; }
template <class Body>
Body body_for(const cpu::ByStorage<Body>& bodies, const Tensor& b) {
  return b.scalar_type() == at::kBFloat16 ? bodies.bf16 : b.scalar_type() == at::kHalf ? bodies.f16 : bodies.f32;
}

// On all threads: pieces of `rows` rows by `columns` columns.
void run_thin(const cpu::ThinProduct& p, int64_t out, cpu::ThinBody body, int64_t rows, int64_t columns, bool x_by_row = true) {
  const int64_t across = pieces_of(out, columns), work = std::min(rows, p.rows) * std::min(columns, out) * p.in;
  at::parallel_for(0, pieces_of(p.rows, rows) * across, std::max<int64_t>(1, kLeastWork / work), [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end;) {
      const int64_t row = piece / across * rows, first = piece % across, count = std::min(end - piece, across - first);
      cpu::ThinProduct part = p;
      part.rows = std::min(rows, p.rows - row);
      part.x += x_by_row ? row * p.x_stride : row;
      part.y += row * p.y_stride;
      body(part, first * columns, std::min(out, (first + count) * columns));
      piece += count;
    }
  });
}

// y = or += scale · x · bᵀ.
void multiply_t(const Tensor& x, const Tensor& b, cpu::ThinProduct p, Tensor& y) {
  const auto& kernels = cpu::thin_kernels();
  p.rows = x.size(0);
  p.in = x.size(1);
  p.x = x.const_data_ptr<float>();
  p.x_stride = x.stride(0);
  p.w = b.const_data_ptr();
  p.y = y.mutable_data_ptr<float>();
  p.y_stride = y.stride(0);
  if (stored_transposed(b)) {
    p.w_stride = b.stride(1);
    run_thin(p, b.size(0), body_for(kernels.product_stored_transposed, b), p.rows < kThinRows ? p.rows : 96, p.rows < kThinRows ? 16 : b.size(0));
  } else {
    p.w_stride = b.stride(0);
    // As many rows as stay in the nearest cache while the weight passes by, a multiple of what a body takes at once.
    run_thin(p, b.size(0), body_for(kernels.product, b), p.rows < kThinRows ? p.rows : std::max<int64_t>(6, 6144 / p.in / 6 * 6), p.rows < kThinRows ? 16 : b.size(0));
  }
}

// [n, k] → [k, n], contiguous. libtorch's copy of a transposed view is slow for small matrices.
Tensor transposed_copy(const Tensor& x) {
  if (!is_float_on_cpu(x) || !rows_contiguous(x)) return x.t().contiguous();
  Tensor columns = at::empty({x.size(1), x.size(0)}, x.options());
  cpu::thin_kernels().turn(x.const_data_ptr<float>(), x.size(0), x.size(1), x.stride(0), columns.mutable_data_ptr<float>());
  return columns;
}

// The layout in which a weight is read fastest. Turning it around costs little where it is small.
Tensor in_good_layout(const Tensor& b, int64_t rows) {
  const bool by_column = b.size(1) < (b.size(0) < 32 ? kShortRows : kMediumRows);
  if (rows >= kThinRows && by_column && b.size(0) % 16 == 0 && !stored_transposed(b)) return transposed(transposed_copy(b));
  return rows_contiguous(b) || stored_transposed(b) ? b : b.contiguous();
}

}  // namespace

bool thin_here(const Tensor& a, const Tensor& b, bool bias) {
  if (!is_float_on_cpu(a) || composed_only()) return false;
  const bool half = b.is_cpu() && stored_in_half(b) && b.numel() > 0;
  if (!half && !is_float_on_cpu(b)) return false;
  if (a.size(0) < kThinRows) return rows_contiguous(b) || stored_transposed(b) || (!half && b.numel() <= kSmallWeight);
  if (half || b.numel() > kSmallWeight || packed_here(a, b)) return false;
  return !mkl_at_full_rate() || (b.size(0) < kNarrow && rows_contiguous(b)) || (bias && b.size(1) <= kNarrow);
}

Tensor thin_product_t(const Tensor& a, const Tensor& b, const Tensor& bias) {
  const Tensor own_bias = bias.defined() ? bias.contiguous() : bias;
  Tensor y = at::empty({a.size(0), b.size(0)}, a.options());
  cpu::ThinProduct p{};
  p.scale = 1;
  if (bias.defined()) p.bias = own_bias.const_data_ptr<float>();
  multiply_t(with_contiguous_rows(a), in_good_layout(b, a.size(0)), p, y);
  return y;
}

void add_thin_product_t(Tensor& y, const Tensor& a, const Tensor& b, double scale) {
  const Tensor weight = in_good_layout(b, a.size(0));
  cpu::ThinProduct p{};
  p.add = true;
  p.scale = static_cast<float>(scale);
  const bool scaled_before = stored_transposed(weight) && scale != 1;
  multiply_t(scaled_before ? a * scale : with_contiguous_rows(a), weight, p, y);
}

bool thin_over_rows_here(const Tensor& a, const Tensor& b) {
  if (!is_float_on_cpu(a) || !is_float_on_cpu(b) || composed_only() || (a.size(1) % 16 != 0 && b.size(1) % 16 != 0)) return false;
  return a.size(1) * b.size(1) <= kSmallWeight && (!mkl_at_full_rate() || std::min(a.size(1), b.size(1)) <= kNarrow);
}

Tensor thin_product_over_rows(const Tensor& a, const Tensor& b) {
  // The columns of the second factor are whole vectors, and the narrower factor is the one whose entries are read one at a time.
  if (b.size(1) % 16 != 0 || (a.size(1) % 16 == 0 && a.size(1) > b.size(1))) return transposed_copy(thin_product_over_rows(b, a));
  const Tensor x = with_contiguous_rows(a), w = with_contiguous_rows(b);
  Tensor y = at::empty({a.size(1), b.size(1)}, a.options());
  cpu::ThinProduct p{};
  p.rows = a.size(1);
  p.in = a.size(0);
  p.x = x.const_data_ptr<float>();
  p.x_stride = x.stride(0);
  p.w = w.const_data_ptr<float>();
  p.w_stride = w.stride(0);
  p.y = y.mutable_data_ptr<float>();
  p.y_stride = y.stride(0);
  run_thin(p, b.size(1), cpu::thin_kernels().product_over_rows, 48, 64, /*x_by_row=*/false);
  return y;
}

bool low_rank_rows_here(const Tensor& weight, const Tensor& a, const Tensor& b) {
  if (!is_float_on_cpu(a) || !is_float_on_cpu(b) || composed_only() || !rows_contiguous(weight)) return false;
  return is_float_on_cpu(weight) || (weight.is_cpu() && stored_in_half(weight) && weight.numel() > 0);
}

Tensor low_rank_row_norms(const Tensor& weight, const Tensor& a, const Tensor& b, double scale) {
  const Tensor down = with_contiguous_rows(a), up = with_contiguous_rows(b), norms = at::empty({weight.size(0)}, a.options());
  const cpu::LowRankRows rows{weight.size(1),    down.size(0),   weight.const_data_ptr(),   weight.stride(0), up.const_data_ptr<float>(), down.const_data_ptr<float>(),
                              up.stride(0),      down.stride(0), static_cast<float>(scale), norms.mutable_data_ptr<float>()};
  const auto body = body_for(cpu::thin_kernels().row_norms, weight);
  at::parallel_for(0, weight.size(0), std::max<int64_t>(1, kLeastWork / weight.size(1)), [&](int64_t begin, int64_t end) { body(rows, begin, end); });
  return norms;
}

}  // namespace graft::kernels
