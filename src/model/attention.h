// The attention step that families share: rotary positions, prefix rows, packing, the cache.
#pragma once
#include <span>

#include "model/family.h"

namespace graft {

struct Heads {
  Tensor q, k, v;  // [rows or fewer, heads, head_dim], [rows, kv_heads, head_dim]
};

// The rows whose results are asked for and those between them and the ends of their documents.
struct Tails {
  std::vector<int64_t> starts;  // [documents + 1] where each document's begin among them
  Tensor rows, wanted;          // int64: which of the pass they are; which of them are asked for
};
// The keys and values of a side edit, and what attention to them alone gives.
struct Beside {
  kernels::PrefixRows rows;
  Tensor result;
};
// → [rows, heads · head_dim], of heads.q's rows, which are the pass' or, with `tails`, those. The softmax(q kᵀ) v of each of `beside` goes to
// its `result`, in the same shape.
Tensor attend(const Model& model, int64_t layer, const Heads& heads, const KvRows& extra, const Pass& pass, const Tails* tails, std::span<Beside> beside = {});

}  // namespace graft
