// The attention step that families share: rotary positions, prefix rows, packing, the cache.
#pragma once
#include <span>

#include "model/family.h"

namespace graft {

struct Heads {
  Tensor q, k, v;  // [rows, heads, head_dim], [rows, kv_heads, head_dim]
};

// → [rows, heads · head_dim]. With the keys and values of side edits, the softmax(q kᵀ) v of each goes to its `result`, in the same shape.
struct Beside {
  kernels::PrefixRows rows;
  Tensor result;
};
Tensor attend(const Model& model, int64_t layer, const Heads& heads, const KvRows& extra, const Pass& pass, std::span<Beside> beside = {});

}  // namespace graft
