// The part of packed_attention that kernels/flash_attention.h does not know (soft caps, biases, other dtypes and devices): see
// kernels/attention.h, which is what callers use.
#pragma once
#include "kernels/attention.h"

namespace graft::kernels {

Tensor block_attention(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<int64_t>& starts, const AttentionShape& shape,
                       const PrefixRows& prefix);

}  // namespace graft::kernels
