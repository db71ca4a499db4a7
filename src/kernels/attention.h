// Causal attention over packed documents: a token sees the tokens of its own document up to itself, and prefix rows.
#pragma once
#include <vector>

#include "core/tensor.h"

namespace graft::kernels {

// Extra keys and values which every document sees before its first token; undefined: none.
struct PrefixRows {
  Tensor k, v;  // [prefix, kv_heads, head_dim], used as they are
};

// q [tokens, heads, head_dim]; k, v [tokens, kv_heads, head_dim] with kv_heads dividing heads (arXiv 2305.13245);
// starts: first token of each document, the last entry is tokens. scale multiplies q·k. → [tokens, heads, head_dim]
Tensor packed_attention(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<int64_t>& starts, double scale,
                        const PrefixRows& prefix = {});
Tensor packed_attention_composed(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<int64_t>& starts, double scale,
                                 const PrefixRows& prefix = {});

// One new token for each sequence against its cached rows, without gradients.
// q [sequences, heads, head_dim]; keys, values [sequences, capacity, kv_heads, head_dim]; lengths: rows in use. → like q
Tensor decode_attention(const Tensor& q, const Tensor& keys, const Tensor& values, const std::vector<int64_t>& lengths, double scale);
Tensor decode_attention_composed(const Tensor& q, const Tensor& keys, const Tensor& values, const std::vector<int64_t>& lengths, double scale);

}  // namespace graft::kernels
