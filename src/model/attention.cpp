#include "model/attention.h"

#include <cstring>

#include "core/check.h"
#include "core/device.h"
#include "core/torch.h"
#include "kernels/attention.h"
#include "kernels/rope.h"

namespace graft {
namespace {

// Rows [n, kv_heads, head_dim] behind the first `begin` ones of a slot of the cache.
void store_rows(Tensor& cached, int64_t slot, int64_t begin, const Tensor& rows) { cached[slot].narrow(1, begin, rows.size(0)).copy_(rows.transpose(0, 1)); }

// One row a sequence, [sequences, kv_heads, head_dim], behind the `lengths` in use.
void append_rows(Tensor& cached, const KvCache& cache, const std::vector<int64_t>& lengths, const Tensor& rows) {
  const int64_t sequences = rows.size(0), heads = rows.size(1), capacity = cached.size(2);
  if (!rows.is_cpu()) {
    const auto index = [&](const std::vector<int64_t>& values) { return moved(at::tensor(values, at::kLong), rows.device()); };
    cached.transpose(1, 2).index_put_({index(cache.slots), index(lengths)}, rows);
    return;
  }
  const Tensor from = rows.contiguous();
  const size_t bytes = static_cast<size_t>(rows.size(2)) * rows.element_size();
  const char* source = static_cast<const char*>(from.const_data_ptr());
  char* target = static_cast<char*>(cached.mutable_data_ptr());
  for (int64_t i = 0; i < sequences; ++i)
    for (int64_t h = 0; h < heads; ++h, source += bytes) std::memcpy(target + static_cast<size_t>((cache.slots[i] * heads + h) * capacity + lengths[i]) * bytes, source, bytes);
}

// A document's own rows in front.
kernels::PrefixRows scaled_for(const KvRows& extra, int64_t document) {
  if (!extra.factors.defined()) return extra.front;
  const Tensor factors = extra.factors[document].to(extra.front.k.scalar_type());
  return {extra.front.k * factors[0], extra.front.v * factors[1]};
}

// A call for each document where each sees other rows in front.
Tensor attend_whole(const Heads& h, const KvRows& extra, const kernels::AttentionShape& shape, const Pass& pass) {
  if (!extra.factors.defined()) return kernels::packed_attention(h.q, h.k, h.v, pass.starts, shape, extra.front);
  kernels::AttentionShape own_shape = shape;
  own_shape.device_starts = Tensor();
  own_shape.parents.clear();
  std::vector<Tensor> outputs;
  for (int64_t d = 0; d < pass.documents(); ++d) {
    const int64_t begin = pass.starts[d], rows = pass.starts[d + 1] - begin;
    const auto of = [&](const Tensor& x) { return x.narrow(0, begin, rows); };
    outputs.push_back(kernels::packed_attention(of(h.q), of(h.k), of(h.v), {0, rows}, own_shape,
                                                kernels::rows_in_front(h.k, h.v, scaled_for(extra, d), pass.starts, pass.parents, pass.parent(d))));
  }
  return at::cat(outputs);
}

// The first call fills the cache with whole documents behind the prefix rows; later calls append one row a sequence.
Tensor attend_cached(int64_t layer, const Heads& h, const KvRows& extra, const kernels::AttentionShape& shape, const Pass& pass) {
  KvCache& cache = *pass.cache;
  Tensor &keys = cache.k[layer], &values = cache.v[layer];
  if (cache.lengths[0] == 0) {
    cache.front[layer] = extra.front.k.defined() ? extra.front.k.size(0) : 0;
    const auto documents = pass.last_documents();
    CHECK_THAT(static_cast<int64_t>(documents.size()) == cache.sequences(), "the cache holds {} sequences, the batch {}", cache.sequences(), documents.size());
    for (int64_t i = 0; i < cache.sequences(); ++i) {
      const int64_t begin = pass.starts[documents[i]], rows = pass.starts[documents[i] + 1] - begin, slot = cache.slots[i];
      const auto front = kernels::rows_in_front(h.k, h.v, scaled_for(extra, documents[i]), pass.starts, pass.parents, pass.parent(documents[i]));
      const int64_t count = front.k.defined() ? front.k.size(0) : 0;
      if (count) {
        store_rows(keys, slot, 0, front.k);
        store_rows(values, slot, 0, front.v);
      }
      store_rows(keys, slot, count, h.k.narrow(0, begin, rows));
      store_rows(values, slot, count, h.v.narrow(0, begin, rows));
    }
    return attend_whole(h, extra, shape, pass);
  }
  CHECK_THAT(pass.rows() == cache.sequences(), "a warm cache takes one token a sequence");
  std::vector<int64_t> lengths = cache.lengths;
  for (auto& length : lengths) length += cache.front[layer];
  append_rows(keys, cache, lengths, h.k);
  append_rows(values, cache, lengths, h.v);
  for (auto& length : lengths) ++length;
  return kernels::decode_attention(h.q, {keys, values, cache.slots}, lengths, shape);
}

// softmax(q kᵀ · scale) v for every query over the same few rows. → [rows, heads · head_dim]
Tensor attend_beside(const Tensor& q, const kernels::PrefixRows& rows, double scale) {
  const int64_t n = q.size(0), kv = rows.k.size(1), each = q.size(1) / kv, d = q.size(2);
  const Tensor queries = q.view({n, kv, each, d}).permute({1, 2, 0, 3}).reshape({kv, each * n, d});
  const Tensor scores = at::matmul(queries, rows.k.permute({1, 2, 0})) * scale;
  const Tensor weights = at::softmax(scores, -1, at::promote_types(scores.scalar_type(), at::kFloat)).to(q.scalar_type());
  return at::matmul(weights, rows.v.transpose(0, 1)).view({kv, each, n, d}).permute({2, 0, 1, 3}).reshape({n, q.size(1) * d});
}

}  // namespace

Tensor attend(const Model& model, int64_t i, const Heads& plain, const KvRows& extra, const Pass& pass, const Tails* tails, std::span<Beside> beside) {
  const auto& c = model.config;
  const LayerOptions& layer = c.layer[static_cast<size_t>(i)];
  Heads h = plain;
  if (layer.rope >= 0) {
    const Angles& angles = pass.angles[static_cast<size_t>(layer.rope)];
    const auto of_queries = [&](const Tensor& x) { return tails ? x.index_select(0, tails->rows) : x; };
    h.q = kernels::rope(h.q, of_queries(angles.cos), of_queries(angles.sin), c.rope_interleaved);
    h.k = kernels::rope(h.k, angles.cos, angles.sin, c.rope_interleaved);
  }
  kernels::AttentionShape shape(layer.scale);
  shape.window = layer.window;
  shape.softcap = c.attention_softcap;
  shape.key_bias = pass.key_bias;
  shape.device_starts = pass.device_starts;
  shape.longest = pass.longest;
  shape.parents = pass.parents;
  if (tails) shape.query_starts = tails->starts;
  for (auto& [rows, result] : beside) result = attend_beside(h.q, rows, layer.scale);
  const Tensor out = pass.cache ? attend_cached(i, h, extra, shape, pass) : attend_whole(h, extra, shape, pass);
  return out.reshape({h.q.size(0), c.heads * c.head_dim});
}

}  // namespace graft
