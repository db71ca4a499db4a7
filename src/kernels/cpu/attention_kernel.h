// Causal attention over one document of one key head and the query heads that share it, as blocks that stay in the cache
// (arXiv 2205.14135): the bodies behind kernels/flash_attention.h. Compiled once for each instruction set; no libtorch in here.
#pragma once
#include <cstdint>

namespace graft::kernels::cpu {

// One key head of one document and `heads` query heads. Rows lie `stride` floats apart, heads `dim` floats; query r sees the keys
// 0 .. prefix + r, with a window only the last `window` of them. keys = prefix + queries.
struct HeadShape {
  int64_t queries, prefix, heads, dim;
  int64_t window;  // 0: none
  float scale;
  int64_t front;  // the first so many keys lie apart from the document's own
};
struct Rows {
  const float* data;
  int64_t stride;
};
struct MutableRows {
  float* data;
  int64_t stride;
};

// Keys and values come in two pieces: what stands in front of the document, then its own.
struct HeadInput {
  Rows q, k, v, front_k, front_v;
};

// Floats of scratch that a call needs.
int64_t forward_scratch(const HeadShape& shape);
int64_t backward_scratch(const HeadShape& shape);

struct AttentionKernels {
  // out: [queries, heads, dim]; lse: log of the sum of the exponentials of each query's scores, [heads, queries], heads `stride` floats apart.
  void (*forward)(const HeadShape& shape, const HeadInput& in, MutableRows out, MutableRows lse, float* scratch);
  // Gradients are written, not added; dk and dv have prefix + queries rows, sums over the query heads.
  void (*backward)(const HeadShape& shape, const HeadInput& in, Rows out, Rows lse, Rows dout, MutableRows dq, MutableRows dk, MutableRows dv, float* scratch);
};

// The best set for this machine.
const AttentionKernels& attention_kernels();

extern const AttentionKernels kAttentionPlain, kAttentionAvx2, kAttentionAvx512;

}  // namespace graft::kernels::cpu
