#include "model/attention.h"

#include <cstring>

#include "core/check.h"
#include "core/torch.h"
#include "kernels/attention.h"
#include "kernels/rope.h"

namespace graft {
namespace {

// Rows [n, kv_heads, head_dim] behind the first `begin` ones of a slot of the cache.
void store_rows(Tensor& cached, int64_t slot, int64_t begin, const Tensor& rows) { cached[slot].narrow(1, begin, rows.size(0)).copy_(rows.transpose(0, 1)); }

// One row a sequence, [sequences, kv_heads, head_dim], behind those in use.
void append_rows(Tensor& cached, const KvCache& cache, const Tensor& rows) {
  const int64_t sequences = rows.size(0), heads = rows.size(1), capacity = cached.size(2);
  if (!rows.is_cpu()) {
    const auto index = [&](const std::vector<int64_t>& values) { return at::tensor(values, at::kLong).to(rows.device()); };
    cached.transpose(1, 2).index_put_({index(cache.slots), index(cache.lengths)}, rows);
    return;
  }
  const Tensor from = rows.contiguous();
  const size_t bytes = static_cast<size_t>(rows.size(2)) * rows.element_size();
  const char* source = static_cast<const char*>(from.const_data_ptr());
  char* target = static_cast<char*>(cached.mutable_data_ptr());
  for (int64_t i = 0; i < sequences; ++i)
    for (int64_t h = 0; h < heads; ++h, source += bytes) std::memcpy(target + static_cast<size_t>((cache.slots[i] * heads + h) * capacity + cache.lengths[i]) * bytes, source, bytes);
}

// What documents behind `parent` see in front of their own rows: prefix rows, then the rows of the documents that they continue.
kernels::PrefixRows rows_in_front(const Tensor& k, const Tensor& v, const kernels::PrefixRows& prefix, const Pass& pass, int64_t parent) {
  if (parent < 0) return prefix;
  std::vector<Tensor> keys, values;
  for (int64_t d = parent; d >= 0; d = pass.parent(d)) {
    const int64_t begin = pass.starts[d], rows = pass.starts[d + 1] - begin;
    keys.insert(keys.begin(), k.narrow(0, begin, rows));
    values.insert(values.begin(), v.narrow(0, begin, rows));
  }
  if (prefix.k.defined()) {
    keys.insert(keys.begin(), prefix.k);
    values.insert(values.begin(), prefix.v);
  }
  return keys.size() == 1 ? kernels::PrefixRows{keys[0], values[0]} : kernels::PrefixRows{at::cat(keys), at::cat(values)};
}

// Neighbours that continue the same document are one call.
Tensor attend_whole(const Tensor& q, const Tensor& k, const Tensor& v, const kernels::PrefixRows& prefix, const kernels::AttentionShape& shape, const Pass& pass) {
  if (pass.parents.empty()) return kernels::packed_attention(q, k, v, pass.starts, shape, prefix);
  std::vector<Tensor> outputs;
  for (int64_t first = 0, end = 0; first < pass.documents(); first = end) {
    const int64_t begin = pass.starts[first];
    std::vector<int64_t> starts{0};
    for (end = first; end < pass.documents() && pass.parent(end) == pass.parent(first); ++end) starts.push_back(pass.starts[end + 1] - begin);
    const auto of = [&](const Tensor& x) { return x.narrow(0, begin, starts.back()); };
    outputs.push_back(kernels::packed_attention(of(q), of(k), of(v), starts, shape, rows_in_front(k, v, prefix, pass, pass.parent(first))));
  }
  return at::cat(outputs);
}

// The first call fills the cache with whole documents behind the prefix rows; later calls append one row a sequence.
Tensor attend_cached(int64_t layer, const Tensor& q, const Tensor& k, const Tensor& v, const kernels::PrefixRows& prefix,
                     const kernels::AttentionShape& shape, const Pass& pass) {
  KvCache& cache = *pass.cache;
  Tensor &keys = cache.k[layer], &values = cache.v[layer];
  if (cache.lengths[0] == 0) {
    const auto documents = pass.last_documents();
    CHECK_THAT(static_cast<int64_t>(documents.size()) == cache.sequences(), "the cache holds {} sequences, the batch {}", cache.sequences(), documents.size());
    for (int64_t i = 0; i < cache.sequences(); ++i) {
      const int64_t begin = pass.starts[documents[i]], rows = pass.starts[documents[i] + 1] - begin, slot = cache.slots[i];
      const auto front = rows_in_front(k, v, prefix, pass, pass.parent(documents[i]));
      const int64_t extra = front.k.defined() ? front.k.size(0) : 0;
      if (extra) {
        store_rows(keys, slot, 0, front.k);
        store_rows(values, slot, 0, front.v);
      }
      store_rows(keys, slot, extra, k.narrow(0, begin, rows));
      store_rows(values, slot, extra, v.narrow(0, begin, rows));
    }
    return attend_whole(q, k, v, prefix, shape, pass);
  }
  CHECK_THAT(pass.rows() == cache.sequences(), "a warm cache takes one token a sequence");
  append_rows(keys, cache, k);
  append_rows(values, cache, v);
  std::vector<int64_t> lengths = cache.lengths;
  for (auto& length : lengths) ++length;
  return kernels::decode_attention(q, {keys, values, cache.slots}, lengths, shape);
}

}  // namespace

Tensor attend(const Model& model, int64_t i, const Tensor& q_plain, const Tensor& k_plain, const Tensor& v, const Sites& board, const Pass& pass) {
  const auto& c = model.config;
  const LayerOptions& layer = c.layer[static_cast<size_t>(i)];
  Tensor q = q_plain, k = k_plain;
  if (layer.rope >= 0) {
    const Angles& angles = pass.angles[static_cast<size_t>(layer.rope)];
    q = kernels::rope(q, angles.cos, angles.sin, c.rope_interleaved);
    k = kernels::rope(k, angles.cos, angles.sin, c.rope_interleaved);
  }
  kernels::AttentionShape shape(layer.scale);
  shape.window = layer.window;
  shape.softcap = c.attention_softcap;
  shape.key_bias = pass.key_bias;
  const kernels::PrefixRows prefix = board.kv(i);
  const Tensor out = pass.cache ? attend_cached(i, q, k, v, prefix, shape, pass) : attend_whole(q, k, v, prefix, shape, pass);
  return out.reshape({q.size(0), c.heads * c.head_dim});
}

}  // namespace graft
