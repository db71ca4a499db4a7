#include "model/attention.h"

#include "core/check.h"
#include "core/torch.h"
#include "kernels/attention.h"
#include "kernels/rope.h"

namespace graft {
namespace {

// The first call fills the cache with whole documents behind the prefix rows; later calls append one row a sequence.
Tensor attend_cached(int64_t layer, const Tensor& q, const Tensor& k, const Tensor& v, const kernels::PrefixRows& prefix,
                     const kernels::AttentionShape& shape, const Pass& pass) {
  KvCache& cache = *pass.cache;
  Tensor &keys = cache.k[layer], &values = cache.v[layer];
  const int64_t sequences = cache.sequences();
  CHECK_THAT(static_cast<int64_t>(pass.starts.size()) == sequences + 1, "the cache holds {} sequences, the batch {}", sequences, pass.starts.size() - 1);
  if (cache.lengths[0] == 0) {
    const int64_t extra = prefix.k.defined() ? prefix.k.size(0) : 0;
    for (int64_t i = 0; i < sequences; ++i) {
      const int64_t begin = pass.starts[i], rows = pass.starts[i + 1] - begin;
      if (extra) {
        keys[i].narrow(0, 0, extra).copy_(prefix.k);
        values[i].narrow(0, 0, extra).copy_(prefix.v);
      }
      keys[i].narrow(0, extra, rows).copy_(k.narrow(0, begin, rows));
      values[i].narrow(0, extra, rows).copy_(v.narrow(0, begin, rows));
    }
    return kernels::packed_attention(q, k, v, pass.starts, shape, prefix);
  }
  CHECK_THAT(pass.rows() == sequences, "a warm cache takes one token a sequence");
  std::vector<int64_t> lengths = cache.lengths;
  const Tensor at_row = at::tensor(lengths, at::kLong).to(q.device()), sequence = at::arange(sequences, at_row.options());
  keys.index_put_({sequence, at_row}, k);
  values.index_put_({sequence, at_row}, v);
  for (auto& length : lengths) ++length;
  return kernels::decode_attention(q, keys, values, lengths, shape);
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
  const Tensor out = pass.cache ? attend_cached(i, q, k, v, prefix, shape, pass) : kernels::packed_attention(q, k, v, pass.starts, shape, prefix);
  return out.reshape({q.size(0), c.heads * c.head_dim});
}

}  // namespace graft
