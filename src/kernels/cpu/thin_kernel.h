// Products in which something is small (rows, the weight, the rank of an update), and attention of one new token over its cached rows.
// Compiled once for each instruction set; no libtorch in here.
#pragma once
#include <cstdint>

namespace graft::kernels::cpu {

// y [rows, out] = scale · x [rows, in] · wᵀ + bias, or added to what y holds. Rows lie `stride` entries apart.
struct ThinProduct {
  int64_t rows, in;
  const float* x;
  int64_t x_stride;
  const void* w;     // [out, in]
  int64_t w_stride;
  const float* bias; // [out] or null
  float* y;
  int64_t y_stride;
  float scale;
  bool add;
};

// The query heads that share one key/value head, for one sequence: q, out [heads, dim]; keys, values [length, dim].
struct DecodeHeads {
  int64_t heads, length, dim;
  const float *q, *keys, *values;
  const float* bias;  // [heads, ...] one number a key, or null
  int64_t bias_stride;
  float scale, softcap;
  float* scores;  // scratch, heads · length
  float* out;
};

// The norms of the rows of w + scale · b · a: w [rows, in], b [rows, r], a [r, in]; rows lie `stride` entries apart.
struct LowRankRows {
  int64_t in, r;
  const void* w;
  int64_t w_stride;
  const float *b, *a;
  int64_t b_stride, a_stride;
  float scale;
  float* norms;  // [rows]
};

// Computes the columns begin .. end of y.
using ThinBody = void (*)(const ThinProduct& p, int64_t begin, int64_t end);

// Computes the norms of the rows begin .. end.
using RowNormsBody = void (*)(const LowRankRows& rows, int64_t begin, int64_t end);

// By the type in which the weight is stored.
template <class Body>
struct ByStorage {
  Body f32, bf16, f16;
};

// A weight [out, in], rows `stride` entries apart, becomes turned [in, out].
using TurnBody = void (*)(const float* w, int64_t out, int64_t in, int64_t stride, float* turned);

struct ThinKernels {
  ByStorage<ThinBody> product;
  // y [rows, out] = x [rows, in] · w for a weight stored as [in, out]; begin and end are multiples of 16.
  ByStorage<ThinBody> product_stored_transposed;
  // y [rows, out] = xᵀ · w, summed over the `in` rows of x [in, rows] and w [in, out]; begin and end as above.
  ThinBody product_over_rows;
  TurnBody turn;
  void (*decode)(const DecodeHeads& heads);
  ByStorage<RowNormsBody> row_norms;
};

// The best set for this machine.
const ThinKernels& thin_kernels();

extern const ThinKernels kThinPlain, kThinAvx2, kThinAvx512;

}  // namespace graft::kernels::cpu
