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

// What is computed again in the backward pass instead of being kept.
enum class Recompute : uint8_t {
  None,  // only what costs next to nothing: outputs of norms and gated units (kernels/recompute.h)
  Mlp,   // the MLPs, which hold more than half of what a block keeps
  Block  // whole blocks: only their inputs are kept
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
  Recompute recompute = Recompute::None;
  bool again = false;            // this is a block's second run: only what its backward pass needs counts, not its result
  int64_t rows() const { return starts.back(); }
};

}  // namespace graft
