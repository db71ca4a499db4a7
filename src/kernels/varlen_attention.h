// Attention over packed documents by libtorch's own flash attention for rows of different lengths (arXiv 2307.08691): the fast body of
// kernels/attention.h on GPUs, which is what callers use.
#pragma once
#include "kernels/attention.h"

namespace graft::kernels {

// Whether it knows this call: bfloat16 or float16 on a GPU of compute capability 8.0 or newer, plain scores, head dimensions that are
// multiples of 8 up to 256 but for those in 193..224, whose backward pass some GPUs lack.
bool varlen_attention_fits(const Tensor& q, const AttentionShape& shape);

// As packed_attention.
Tensor varlen_attention(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<int64_t>& starts, const AttentionShape& shape,
                        const PrefixRows& prefix);

}  // namespace graft::kernels
