#include "kernels/cpu/packed_kernel.h"

#if defined(__AVX2__)
#include <immintrin.h>

#define GRAFT_LANES 8

namespace graft::kernels::cpu {
namespace {

#include "kernels/cpu/vectors.inc"
#include "kernels/cpu/halves.inc"

constexpr int64_t kRows = kPackedRows, kColumns = kPackedColumns;
constexpr int kVectors = kColumns / GRAFT_LANES;
constexpr int64_t kBlock = 24 * kRows;  // rows that stay in a cache beside the columns

// Pieces of about the same depth.
inline int64_t piece_of(int64_t depth) {
  const int64_t pieces = (depth + kPackedDepth - 1) / kPackedDepth;
  return (depth + pieces - 1) / pieces;
}

// Columns of w whose numbers lie one behind the other, `step` from column to column: panel [depth, kColumns].
template <class W>
inline void turn_panel(const W* w, int64_t step, int64_t width, int64_t depth, float* panel) {
  int64_t j = 0;
  for (; j + 4 <= width; j += 4) {
    const W* const from = w + j * step;
    int64_t k = 0;
    for (; k + GRAFT_LANES <= depth; k += GRAFT_LANES) {
      Lanes rows[4];
      for (int i = 0; i < 4; ++i) rows[i] = load(from + i * step + k);
      for (int part = 0; part < GRAFT_LANES; part += 4) {
        Four piece[4], columns[4];
        for (int i = 0; i < 4; ++i) piece[i] = part ? __builtin_shufflevector(rows[i], rows[i], 4, 5, 6, 7) : __builtin_shufflevector(rows[i], rows[i], 0, 1, 2, 3);
        turn_four(piece, columns);
        for (int i = 0; i < 4; ++i) *reinterpret_cast<Four*>(panel + (k + part + i) * kColumns + j) = columns[i];
      }
    }
    for (; k < depth; ++k)
      for (int i = 0; i < 4; ++i) panel[k * kColumns + j + i] = number(from[i * step + k]);
  }
  for (; j < width; ++j)
    for (int64_t k = 0; k < depth; ++k) panel[k * kColumns + j] = number(w[j * step + k]);
}

// The rows from .. from + depth of the columns first .. first + count of w as panels [depth, kColumns], with zeros behind the last column.
template <class W>
inline void pack_weight(const PackedProduct& p, int64_t first, int64_t count, int64_t from, int64_t depth, float* panels) {
  const W* const w = static_cast<const W*>(p.w) + first * p.w_column + from * p.w_depth;
  const int64_t whole = count / kColumns * kColumns;
  float* const rest = panels + whole * depth;
  if (whole < count) fill(rest, kColumns * depth, 0);
  if (p.w_column != 1) {
    for (int64_t j = 0; j < count; j += kColumns) turn_panel(w + j * p.w_column, p.w_column, lower(kColumns, count - j), depth, panels + j * depth);
    return;
  }
  for (int64_t k = 0; k < depth; ++k) {
    const W* const row = w + k * p.w_depth;
    for (int64_t j = 0; j < whole; j += kColumns)
      for (int64_t v = 0; v < kColumns; v += GRAFT_LANES) store(panels + j * depth + k * kColumns + v, load(row + j + v));
    for (int64_t j = whole; j < count; ++j) rest[k * kColumns + j - whole] = number(row[j]);
  }
}

// x [count, depth] as [depth, kRows].
inline void pack_tile_rows(const float* x, int64_t x_row, int64_t x_depth, int64_t count, int64_t depth, float* block) {
  int64_t k = 0;
  if (x_depth == 1 && count == kRows)
    for (; k + GRAFT_LANES <= depth; k += GRAFT_LANES) {
      Lanes low[3], high[3];  // of each four columns the first two and the last two, of rows two by two
      for (int i = 0; i < 3; ++i) {
        const Lanes a = load(x + 2 * i * x_row + k), b = load(x + (2 * i + 1) * x_row + k);
        low[i] = __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13);
        high[i] = __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
      }
      for (int half = 0; half < 2; ++half) {
        const Lanes* const rows = half ? high : low;
        const Lanes six[3] = {__builtin_shufflevector(rows[0], rows[1], 0, 1, 8, 9, 4, 5, 12, 13), __builtin_shufflevector(rows[2], rows[0], 0, 1, 10, 11, 4, 5, 14, 15),
                              __builtin_shufflevector(rows[1], rows[2], 2, 3, 10, 11, 6, 7, 14, 15)};
        float* const to = block + (k + 2 * half) * kRows;
        for (int i = 0; i < 3; ++i) {
          *reinterpret_cast<Four*>(to + 4 * i) = __builtin_shufflevector(six[i], six[i], 0, 1, 2, 3);
          *reinterpret_cast<Four*>(to + 4 * kRows + 4 * i) = __builtin_shufflevector(six[i], six[i], 4, 5, 6, 7);
        }
      }
    }
  for (; k < depth; ++k)
    for (int64_t r = 0; r < count; ++r) block[k * kRows + r] = x[r * x_row + k * x_depth];
}

// How a tile's rows lie: laid out by pack_tile_rows, or as the caller has them.
struct LaidOut {
  static constexpr int64_t row = 1, depth = kRows;
};
struct AsTheyLie {
  int64_t row, depth;
};

// What becomes of the sums of products in a tile: y = scale · sum + bias, or y += scale · sum.
struct TileResult {
  float scale;
  bool add;
  const float* bias;  // of the tile's columns, or null
};

// y [M, kColumns] from x · panel.
template <int M, class Steps>
inline void packed_tile(int64_t depth, const float* x, const Steps& steps, const float* panel, float* y, int64_t y_row, const TileResult& result) {
  Lanes sum[M][kVectors];
  for (int i = 0; i < M; ++i) {
    __builtin_prefetch(y + i * y_row, 1);
    for (int j = 0; j < kVectors; ++j) sum[i][j] = Lanes{};
  }
  for (int64_t k = 0; k < depth; ++k, x += steps.depth, panel += kColumns) {
    Lanes row[kVectors];
    for (int j = 0; j < kVectors; ++j) row[j] = load(panel + j * GRAFT_LANES);
    for (int i = 0; i < M; ++i) {
      const Lanes a = all(x[i * steps.row]);
      for (int j = 0; j < kVectors; ++j) sum[i][j] += a * row[j];
    }
  }
  const auto [scale, add, bias] = result;
  for (int j = 0; j < kVectors; ++j) {
    float* to = y + j * GRAFT_LANES;
    if (add) {
      for (int i = 0; i < M; ++i, to += y_row) store(to, load(to) + sum[i][j] * scale);
    } else {
      const Lanes offset = bias ? load(bias + j * GRAFT_LANES) : Lanes{};
      for (int i = 0; i < M; ++i, to += y_row) store(to, offset + sum[i][j] * scale);
    }
  }
}

// The same for the first `width` columns, which are all there are of y and the bias.
template <int M, class Steps>
void edge_tile(int64_t depth, const float* x, const Steps& steps, const float* panel, float* y, int64_t y_row, int64_t width, const TileResult& result) {
  float whole[M * kColumns], bias[kColumns];
  for (int64_t j = 0; j < width; ++j) {
    if (result.bias) bias[j] = result.bias[j];
    if (result.add)
      for (int i = 0; i < M; ++i) whole[i * kColumns + j] = y[i * y_row + j];
  }
  packed_tile<M>(depth, x, steps, panel, whole, kColumns, {result.scale, result.add, result.bias ? bias : nullptr});
  for (int i = 0; i < M; ++i)
    for (int64_t j = 0; j < width; ++j) y[i * y_row + j] = whole[i * kColumns + j];
}

// y [rows, width] from x · panel. A tile's rows of x end kRows · next behind its first number.
template <class Steps>
inline void packed_tiles(int64_t rows, int64_t depth, const float* x, const Steps& steps, int64_t next, const float* panel, float* y, int64_t y_row, int64_t width,
                         const TileResult& result) {
  const auto tile = [&]<int M>() {
    if (width == kColumns) packed_tile<M>(depth, x, steps, panel, y, y_row, result);
    else edge_tile<M>(depth, x, steps, panel, y, y_row, width, result);
  };
  for (; rows >= kRows; rows -= kRows, x += kRows * next, y += kRows * y_row) tile.template operator()<kRows>();
  switch (rows) {
    case 5: return tile.template operator()<5>();
    case 4: return tile.template operator()<4>();
    case 3: return tile.template operator()<3>();
    case 2: return tile.template operator()<2>();
    case 1: return tile.template operator()<1>();
  }
}

template <class W>
void multiply_packed(const PackedProduct& p, const float* packed_x, int64_t begin, int64_t end, float* panels) {
  const int64_t piece = piece_of(p.depth), tiles = (p.rows + kRows - 1) / kRows;
  for (int64_t left = begin; left < end; left += kPackedTogether) {
    const int64_t count = lower(kPackedTogether, end - left);
    for (int64_t from = 0; from < p.depth; from += piece) {
      const int64_t depth = lower(piece, p.depth - from);
      pack_weight<W>(p, left, count, from, depth, panels);
      for (int64_t row = 0; row < p.rows; row += kBlock) {
        const int64_t rows = lower(kBlock, p.rows - row);
        for (int64_t j = 0; j < count; j += kColumns) {
          const float* const panel = panels + j * depth;
          const int64_t width = lower(kColumns, count - j);
          const TileResult result{p.scale, p.add || from > 0, p.bias && from == 0 ? p.bias + left + j : nullptr};
          float* const y = p.y + row * p.y_row + left + j;
          if (packed_x) packed_tiles(rows, depth, packed_x + from * tiles * kRows + row * depth, LaidOut{}, depth, panel, y, p.y_row, width, result);
          else packed_tiles(rows, depth, p.x + from * p.x_depth + row * p.x_row, AsTheyLie{p.x_row, p.x_depth}, p.x_row, panel, y, p.y_row, width, result);
        }
      }
    }
  }
}

}  // namespace

void pack_rows_avx2(const PackedProduct& p, int64_t begin, int64_t end, float* x) {
  const int64_t piece = piece_of(p.depth), tiles = (p.rows + kRows - 1) / kRows;
  for (int64_t tile = begin; tile < end; ++tile)
    for (int64_t from = 0; from < p.depth; from += piece) {
      const int64_t depth = lower(piece, p.depth - from), row = tile * kRows;
      pack_tile_rows(p.x + row * p.x_row + from * p.x_depth, p.x_row, p.x_depth, lower(kRows, p.rows - row), depth, x + (from * tiles + tile * depth) * kRows);
    }
}

const PackedBody kPackedF32 = multiply_packed<float>, kPackedBf16 = multiply_packed<Bf16>, kPackedF16 = multiply_packed<F16>;

}  // namespace graft::kernels::cpu
#else
namespace graft::kernels::cpu {
void pack_rows_avx2(const PackedProduct&, int64_t, int64_t, float*) {}
const PackedBody kPackedF32 = nullptr, kPackedBf16 = nullptr, kPackedF16 = nullptr;  // never chosen
}
#endif
