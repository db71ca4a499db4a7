// Attention in blocks that never leave the cache (arXiv 2205.14135), float32 on a CPU: the fast body of kernels/attention.h, which is
// what callers use.
#pragma once
#include <vector>

#include "core/tensor.h"
#include "kernels/attention.h"

namespace graft::kernels {

// The documents of a call, what they continue and which of their rows are queries, as packed_attention has them.
struct PackedDocuments {
  const std::vector<int64_t>&starts, &parents, &query_starts;
  int64_t count() const { return static_cast<int64_t>(starts.size()) - 1; }
  int64_t rows(int64_t document) const { return starts[document + 1] - starts[document]; }
  int64_t first_query(int64_t document) const { return (query_starts.empty() ? starts : query_starts)[document]; }
  int64_t queries(int64_t document) const { return first_query(document + 1) - first_query(document); }
  int64_t parent(int64_t document) const { return parents.empty() ? -1 : parents[document]; }
};

// As packed_attention, for float32 tensors on a CPU. window above 0: a query sees the last `window` keys up to itself.
Tensor flash_attention(const Tensor& q, const Tensor& k, const Tensor& v, const PackedDocuments& documents, double scale, int64_t window, const PrefixRows& prefix);

}  // namespace graft::kernels
