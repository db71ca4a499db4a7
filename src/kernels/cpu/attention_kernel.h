// Causal attention of one head over one document, as blocks that stay in the cache (arXiv 2205.14135): the bodies behind
// kernels/flash_attention.h. Compiled once for each instruction set; no libtorch in here.
#pragma once
#include <cstdint>

namespace graft::kernels::cpu {

// One head of one document. Rows lie `stride` floats apart; query r sees the keys 0 .. prefix + r, with a window only the
// last `window` of them. keys = prefix + queries.
struct HeadShape {
  int64_t queries, prefix, dim;
  int64_t window;  // 0: none
  float scale;
};
struct Rows {
  const float* data;
  int64_t stride;
};
struct MutableRows {
  float* data;
  int64_t stride;
};

// Keys and values come in two pieces: prefix rows, then the document's own.
struct HeadInput {
  Rows q, k, v, prefix_k, prefix_v;
};

// Floats of scratch that a call needs.
int64_t forward_scratch(const HeadShape& shape);
int64_t backward_scratch(const HeadShape& shape);

struct AttentionKernels {
  // out: [queries, dim]; lse[queries]: log of the sum of the exponentials of each query's scores.
  void (*forward)(const HeadShape& shape, const HeadInput& in, MutableRows out, float* lse, float* scratch);
  // Gradients are written, not added; dk and dv have prefix + queries rows.
  void (*backward)(const HeadShape& shape, const HeadInput& in, Rows out, const float* lse, Rows dout, MutableRows dq, MutableRows dk, MutableRows dv,
                   float* scratch);
};

// The best set for this machine.
const AttentionKernels& attention_kernels();

extern const AttentionKernels kAttentionPlain, kAttentionAvx2, kAttentionAvx512;

}  // namespace graft::kernels::cpu
