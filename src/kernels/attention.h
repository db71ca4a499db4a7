// Causal attention over packed documents: a token sees the tokens of its own document up to itself, and prefix rows.
#pragma once
#include <vector>

#include "core/tensor.h"

namespace graft::kernels {

// Extra keys and values which every document sees before its first token; undefined: none.
struct PrefixRows {
  Tensor k, v;  // [prefix, kv_heads, head_dim], used as they are
};

// How q·k becomes a weight, beside the causal mask.
struct AttentionShape {
  AttentionShape(double factor = 1) : scale(factor) {}
  double scale;        // multiplies q·k
  double softcap = 0;  // above 0: scores become softcap · tanh(score / softcap) (arXiv 2408.00118)
  int64_t window = 0;  // above 0: a query sees the last `window` keys up to itself; prefix rows leave the window like tokens
  // [heads, keys or more], undefined: none. Added to the (capped) scores by the key's index in its document, prefix rows
  // first: ALiBi (arXiv 2108.12409). Gets no gradient.
  Tensor key_bias;
  int64_t longest = 0;   // above 0: no document is longer, whatever `starts` says
  Tensor device_starts;  // the documents' starts as int32 where q lies, for calls that share them; undefined: made where they are needed
  // Empty, or for each document the earlier one whose keys (and those that it continues in turn) it sees between the prefix rows and its own; -1: none.
  std::vector<int64_t> parents;
  // Empty: all rows are queries. Or, where takes_last_queries says so, q holds the last rows of each document, those of document d from
  // query_starts[d] to query_starts[d + 1]; the result has q's rows.
  std::vector<int64_t> query_starts;
};

// q [tokens, heads, head_dim]; k, v [tokens, kv_heads, head_dim] with kv_heads dividing heads (arXiv 2305.13245);
// starts: first token of each document, the last entry is tokens. → [tokens, heads, head_dim]
// Plain scores, with or without a window, take flash_attention (CPU) or varlen_attention (GPU) where these run; the rest is computed
// by tensor operations for a block of queries at a time, against the keys in reach. [tokens, tokens] never exists. Where documents
// continue others, flash_attention reads the keys where they are, and the rest is one call for all neighbours with the same parent.
Tensor packed_attention(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<int64_t>& starts, const AttentionShape& shape,
                        const PrefixRows& prefix = {});
Tensor packed_attention_composed(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<int64_t>& starts, const AttentionShape& shape,
                                 const PrefixRows& prefix = {});

// Whether packed_attention on a GPU reads the documents' starts from device_starts alone, given `longest` and no prefix rows, so that it may be recorded.
bool reads_device_starts(const Tensor& q, const AttentionShape& shape);
// Whether packed_attention reads what documents continue where it lies, so that sharing costs no further call. `bent`: with a soft cap or a bias.
bool reads_parents_in_place(at::Device device, at::ScalarType dtype, bool bent);
// Whether packed_attention takes queries of the last rows of documents alone. The twin takes all, so where it stands in for everything nothing does.
bool takes_last_queries(at::Device device, at::ScalarType dtype, bool bent);
// What documents behind `parent` see in front of their own rows: prefix rows, then the rows of k and v that they continue. parents: as AttentionShape has them.
PrefixRows rows_in_front(const Tensor& k, const Tensor& v, const PrefixRows& prefix, const std::vector<int64_t>& starts, const std::vector<int64_t>& parents, int64_t parent);

// Keys or values of past tokens: rows [slots, kv_heads, capacity, head_dim], so that a head's tokens lie behind one another.
// Sequence i of a batch lives in slot slots[i].
struct CachedRows {
  const Tensor &keys, &values;
  const std::vector<int64_t>& slots;
};

// One new token for each sequence against its cached rows, without gradients.
// q [sequences, heads, head_dim]; lengths: rows in use of each sequence. → like q
Tensor decode_attention(const Tensor& q, const CachedRows& cache, const std::vector<int64_t>& lengths, const AttentionShape& shape);
Tensor decode_attention_composed(const Tensor& q, const CachedRows& cache, const std::vector<int64_t>& lengths, const AttentionShape& shape);

}  // namespace graft::kernels
