// Products of large matrices in the order of Goto and van de Geijn (2008, "Anatomy of High-Performance Matrix Multiplication"): pieces of both
// factors are laid out anew so that tiles of registers read them one number behind the other, weights widened on the way from the type in
// which they are stored. For AVX2; no libtorch in here.
#pragma once
#include <cstdint>

namespace graft::kernels::cpu {

// y [rows, columns] = scale · x [rows, depth] · w [depth, columns] + bias, or added to what y holds. Steps are counted in entries.
struct PackedProduct {
  int64_t rows, columns, depth;
  const float* x;
  int64_t x_row, x_depth;     // steps from row to row and along the depth
  const void* w;
  int64_t w_depth, w_column;  // one of both is 1
  float* y;
  int64_t y_row;
  const float* bias;  // [columns] or null
  float scale;
  bool add;
};

inline constexpr int64_t kPackedRows = 6, kPackedColumns = 16;  // of a tile
inline constexpr int64_t kPackedDepth = 320;                    // of a piece: a tile's columns of it stay in the nearest cache
inline constexpr int64_t kPackedTogether = 8 * kPackedColumns;  // columns that stay in the next one
inline constexpr int64_t kPackedScratch = kPackedTogether * kPackedDepth;

// Lays out the tiles begin .. end of x's rows: each piece of the depth by itself, in it tile after tile as [depth, kPackedRows].
// `x`: tiles of all rows times depth.
void pack_rows_avx2(const PackedProduct& p, int64_t begin, int64_t end, float* x);
// Computes the columns begin .. end of y from x as laid out, or as it lies if null. `scratch`: kPackedScratch numbers, aligned to 64 bytes.
using PackedBody = void (*)(const PackedProduct& p, const float* x, int64_t begin, int64_t end, float* scratch);

// By the type in which w is stored.
extern const PackedBody kPackedF32, kPackedBf16, kPackedF16;

}  // namespace graft::kernels::cpu
