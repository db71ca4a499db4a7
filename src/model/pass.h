// What one forward pass needs beside the weights: the layout of its rows, rotary angles, the cache.
#pragma once
#include <map>
#include <memory>
#include <vector>

#include "core/tensor.h"
#include "model/batch.h"
#include "sites/edit.h"

namespace graft {

// Keys and values of past tokens for a batch of sequences, prefix rows included.
struct KvCache {
  std::vector<Tensor> k, v;      // per layer [slots, kv_heads, capacity, head_dim]
  std::vector<int64_t> slots;    // where each sequence lives: sequences that end leave their slot behind
  std::vector<int64_t> front;    // per layer, rows that an edit puts in front of every sequence; the sequences' own follow
  std::vector<int64_t> lengths;  // own rows in use per sequence
  std::vector<int64_t> positions;  // position of each sequence's next token
  std::vector<int64_t> prompts;    // tokens of each sequence's prompt
  std::map<const void*, Tensor> carried;  // what edits keep of the prompts: Documents::carried
  int64_t sequences() const { return static_cast<int64_t>(lengths.size()); }
};

struct Angles {
  Tensor cos, sin;  // [rows, rotated / 2]
};

// What is computed again in the backward pass instead of being kept.
struct Recomputed {
  int64_t mlps = 0;    // in layers below this one the MLP, which holds more than half of what a block keeps
  int64_t blocks = 0;  // in layers below this one the whole block: only its input is kept
  bool outputs = true;  // outputs of norms and gated units, which costs next to nothing (kernels/recompute.h)
  static constexpr int64_t kAll = int64_t{1} << 40;
};

struct Pass {
  Tensor ids;                    // [real tokens] int64
  std::vector<int64_t> starts;   // documents in rows, virtual rows included
  std::vector<int64_t> parents;  // empty, or as Batch has them
  Tensor device_starts;          // starts as int32 where the rows lie; undefined on a CPU, and where there are parents
  int64_t longest = 0;           // above 0: no document has more rows
  Tensor positions;              // [rows] int64
  Tensor insertion;              // [rows] index into (real tokens, then virtual rows); undefined without virtual rows
  Tensor predict, targets;       // [supervised] rows whose next token is learned, and those tokens
  Tensor wanted;                 // rows whose hidden states are asked for, ascending, the last perhaps repeated; undefined: all. The last block's attention reads all rows, what
                                 // stands behind it runs for these only
  std::vector<Angles> angles;    // one for each of ModelConfig::ropes
  Tensor key_bias;               // [heads, most keys] ALiBi's, or undefined
  std::shared_ptr<const Documents> layout;  // the documents as edits see them; undefined where no edit asks
  KvCache* cache = nullptr;
  Recomputed recomputed;
  bool again = false;            // this is a block's second run: only what its backward pass needs counts, not its result
  int64_t rows() const { return starts.back(); }
  int64_t documents() const { return static_cast<int64_t>(starts.size()) - 1; }
  int64_t parent(int64_t document) const { return parents.empty() ? -1 : parents[static_cast<size_t>(document)]; }
  // The documents that no other one continues: one for each sequence of a cache, in its order.
  std::vector<int64_t> last_documents() const;
};

}  // namespace graft
