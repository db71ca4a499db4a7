// The attention step that families share: rotary positions, prefix rows, packing, the cache.
#pragma once
#include "model/family.h"

namespace graft {

// q [rows, heads, head_dim], k, v [rows, kv_heads, head_dim] → [rows, heads · head_dim].
Tensor attend(const Model& model, int64_t layer, const Tensor& q, const Tensor& k, const Tensor& v, const Sites& board, const Pass& pass);

}  // namespace graft
