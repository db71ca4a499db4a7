// What one forward pass needs beside the weights: the layout of its rows, rotary angles, the cache.
#pragma once
#include <vector>

#include "core/tensor.h"
#include "model/batch.h"

namespace graft {

// Keys and values of past tokens for a batch of sequences, prefix rows included.
struct KvCache {
  std::vector<Tensor> k, v;      // per layer [sequences, capacity, kv_heads, head_dim]
  std::vector<int64_t> lengths;  // rows in use per sequence
  std::vector<int64_t> positions;  // position of each sequence's next token
  int64_t sequences() const { return static_cast<int64_t>(lengths.size()); }
};

struct Angles {
  Tensor cos, sin;  // [rows, rotated / 2]
};

struct Pass {
  Tensor ids;                    // [real tokens] int64
  std::vector<int64_t> starts;   // documents in rows, virtual rows included
  Tensor positions;              // [rows] int64
  Tensor insertion;              // [rows] index into (real tokens, then virtual rows); undefined without virtual rows
  Tensor predict, targets;       // [supervised] rows whose next token is learned, and those tokens
  std::vector<Angles> angles;    // one for each of ModelConfig::ropes
  Tensor key_bias;               // [heads, most keys] ALiBi's, or undefined
  KvCache* cache = nullptr;
  bool checkpoint = false;       // recompute blocks in the backward pass instead of keeping their activations
  int64_t rows() const { return starts.back(); }
};

}  // namespace graft
