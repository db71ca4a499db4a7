#include "model/attention.h"

#include <cmath>
#include <numbers>

#include "core/check.h"
#include "core/torch.h"
#include "kernels/attention.h"
#include "kernels/rope.h"

namespace graft {
namespace {

// The first call fills the cache with whole documents behind the prefix rows; later calls append one row a sequence.
Tensor attend_cached(int64_t layer, const Tensor& q, const Tensor& k, const Tensor& v, const kernels::PrefixRows& prefix, double scale,
                     const Pass& pass) {
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
    return kernels::packed_attention(q, k, v, pass.starts, scale, prefix);
  }
  CHECK_THAT(pass.rows() == sequences, "a warm cache takes one token a sequence");
  std::vector<int64_t> lengths = cache.lengths;
  const Tensor at_row = at::tensor(lengths, at::kLong).to(q.device()), sequence = at::arange(sequences, at_row.options());
  keys.index_put_({sequence, at_row}, k);
  values.index_put_({sequence, at_row}, v);
  for (auto& length : lengths) ++length;
  return kernels::decode_attention(q, keys, values, lengths, scale);
}

}  // namespace

Tensor attend(const Model& model, int64_t layer, const Tensor& q_flat, const Tensor& k_flat, const Tensor& v_flat, const Sites& board, const Pass& pass) {
  const auto& c = model.config;
  const int64_t rows = q_flat.size(0);
  Tensor q = q_flat.view({rows, c.heads, c.head_dim}), k = k_flat.view({rows, c.kv_heads, c.head_dim});
  const Tensor v = v_flat.view({rows, c.kv_heads, c.head_dim});
  if (pass.cos.defined()) {
    q = kernels::rope(q, pass.cos, pass.sin);
    k = kernels::rope(k, pass.cos, pass.sin);
  }
  const kernels::PrefixRows prefix = board.kv(layer);
  const Tensor out = pass.cache ? attend_cached(layer, q, k, v, prefix, c.attention_scale, pass)
                                : kernels::packed_attention(q, k, v, pass.starts, c.attention_scale, prefix);
  return out.reshape({rows, c.heads * c.head_dim});
}

Tensor rope_frequencies(const ModelConfig& config) {
  const int64_t half = config.head_dim / 2;
  Tensor frequencies = at::empty({half}, at::kFloat);
  float* out = frequencies.mutable_data_ptr<float>();
  const auto& scaling = config.rope;
  const double longest = scaling.original_max_positions / scaling.low_freq_factor, shortest = scaling.original_max_positions / scaling.high_freq_factor;
  for (int64_t i = 0; i < half; ++i) {
    double f = 1.0 / std::pow(config.rope_theta, 2.0 * i / config.head_dim);
    if (scaling.kind == "linear") f /= scaling.factor;
    if (scaling.kind == "llama3") {  // long waves are stretched, short ones kept, those between blended
      const double wave = 2 * std::numbers::pi / f;
      const double blend = (scaling.original_max_positions / wave - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
      if (wave > longest) f /= scaling.factor;
      else if (wave > shortest) f = (1 - blend) * f / scaling.factor + blend * f;
    }
    out[i] = static_cast<float>(f);
  }
  return frequencies;
}

}  // namespace graft
