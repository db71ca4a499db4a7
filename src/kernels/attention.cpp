#include "kernels/attention.h"

#include <ATen/Parallel.h>

#include <cmath>
#include <limits>

#include "core/torch.h"
#include "kernels/block_attention.h"
#include "kernels/cpu.h"
#include "kernels/flash_attention.h"
#include "kernels/twins.h"

namespace graft::kernels {
namespace {

// [rows, kv_heads, dim] → [1, heads, rows, dim] with each key/value head repeated for its group of query heads.
Tensor for_heads(const Tensor& rows, int64_t heads) {
  const int64_t group = heads / rows.size(1);
  Tensor x = rows.transpose(0, 1);  // [kv_heads, rows, dim]
  if (group > 1) x = x.unsqueeze(1).expand({rows.size(1), group, rows.size(0), rows.size(2)}).reshape({heads, rows.size(0), rows.size(2)});
  return x.unsqueeze(0);
}

Tensor with_rows_in_front(const Tensor& x, const Tensor& front) { return front.defined() ? at::cat({front, x}, 0) : x; }

// Dot products over one head; keys of one head lie `stride` apart. bias: one number a key, or null.
GRAFT_VECTORISED void decode_head(const float* q, const float* keys, const float* values, const float* bias, int64_t length, int64_t stride,
                                  int64_t dim, float scale, float softcap, float* scores, float* out) {
  float peak = -std::numeric_limits<float>::infinity();
  for (int64_t t = 0; t < length; ++t) {
    float dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t i = 0; i < dim; ++i) dot += q[i] * keys[t * stride + i];
    scores[t] = dot * scale;
    if (softcap > 0) scores[t] = softcap * std::tanh(scores[t] / softcap);
    if (bias) scores[t] += bias[t];
    peak = std::max(peak, scores[t]);
  }
  float total = 0;
  for (int64_t t = 0; t < length; ++t) total += scores[t] = std::exp(scores[t] - peak);
  for (int64_t i = 0; i < dim; ++i) out[i] = 0;
  for (int64_t t = 0; t < length; ++t) {
    const float weight = scores[t] / total;
#pragma omp simd
    for (int64_t i = 0; i < dim; ++i) out[i] += weight * values[t * stride + i];
  }
}

}  // namespace

Tensor packed_attention_composed(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<int64_t>& starts, const AttentionShape& shape,
                                 const PrefixRows& prefix) {
  std::vector<Tensor> outputs;
  const int64_t heads = q.size(1), extra = prefix.k.defined() ? prefix.k.size(0) : 0;
  for (size_t d = 0; d + 1 < starts.size(); ++d) {
    const int64_t begin = starts[d], rows = starts[d + 1] - begin;
    const Tensor queries = q.narrow(0, begin, rows).transpose(0, 1);                                             // [heads, rows, dim]
    const Tensor keys = for_heads(with_rows_in_front(k.narrow(0, begin, rows), prefix.k), heads).squeeze(0);      // [heads, extra + rows, dim]
    const Tensor values = for_heads(with_rows_in_front(v.narrow(0, begin, rows), prefix.v), heads).squeeze(0);
    const Tensor all = at::ones({rows, extra + rows}, q.options().dtype(at::kBool));
    Tensor hidden = all.triu(extra + 1);
    if (shape.window > 0) hidden = at::logical_or(hidden, all.tril(extra - shape.window));
    Tensor scores = at::matmul(queries, keys.transpose(1, 2)) * shape.scale;
    if (shape.softcap > 0) scores = at::tanh(scores / shape.softcap) * shape.softcap;
    if (shape.key_bias.defined()) scores = scores + shape.key_bias.narrow(1, 0, extra + rows).unsqueeze(1).to(scores.scalar_type());
    scores = scores.masked_fill(hidden, -std::numeric_limits<double>::infinity());
    outputs.push_back(at::matmul(at::softmax(scores, -1), values).transpose(0, 1));
  }
  return at::cat(outputs, 0);
}

Tensor packed_attention(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<int64_t>& starts, const AttentionShape& shape,
                        const PrefixRows& prefix) {
  if (composed_only()) return packed_attention_composed(q, k, v, starts, shape, prefix);
  const bool plain = shape.softcap == 0 && !shape.key_bias.defined();
  if (plain && q.is_cpu() && q.scalar_type() == at::kFloat) return flash_attention(q, k, v, starts, shape.scale, shape.window, prefix);
  return block_attention(q, k, v, starts, shape, prefix);
}

Tensor decode_attention_composed(const Tensor& q, const Tensor& keys, const Tensor& values, const std::vector<int64_t>& lengths,
                                 const AttentionShape& shape) {
  const int64_t sequences = q.size(0), heads = q.size(1), kv_heads = keys.size(2), longest = *std::max_element(lengths.begin(), lengths.end());
  const Tensor used = at::tensor(lengths, at::kLong).to(q.device()).view({sequences, 1, 1, 1});
  const Tensor index = at::arange(longest, used.options()).view({1, 1, 1, longest});
  Tensor hidden = index >= used;
  if (shape.window > 0) hidden = at::logical_or(hidden, index < used - shape.window);
  const Tensor k = keys.narrow(1, 0, longest).permute({0, 2, 3, 1});                       // [sequences, kv_heads, dim, longest]
  const Tensor v = values.narrow(1, 0, longest).permute({0, 2, 1, 3});
  const Tensor grouped = q.view({sequences, kv_heads, heads / kv_heads, q.size(2)});
  Tensor scores = at::matmul(grouped, k) * shape.scale;
  if (shape.softcap > 0) scores = at::tanh(scores / shape.softcap) * shape.softcap;
  if (shape.key_bias.defined())
    scores = scores + shape.key_bias.narrow(1, 0, longest).view({1, kv_heads, heads / kv_heads, longest}).to(scores.scalar_type());
  return at::matmul(at::softmax(scores.masked_fill(hidden, -std::numeric_limits<double>::infinity()), -1), v).reshape(q.sizes());
}

Tensor decode_attention(const Tensor& q, const Tensor& keys, const Tensor& values, const std::vector<int64_t>& lengths, const AttentionShape& shape) {
  if (composed_only() || !q.is_cpu() || q.scalar_type() != at::kFloat || !keys.is_contiguous() || !values.is_contiguous())
    return decode_attention_composed(q, keys, values, lengths, shape);
  const Tensor queries = q.contiguous(), bias = shape.key_bias.defined() ? shape.key_bias.to(at::kFloat).contiguous() : Tensor();
  Tensor out = at::empty_like(queries);
  const int64_t heads = q.size(1), dim = q.size(2), capacity = keys.size(1), kv_heads = keys.size(2), group = heads / kv_heads;
  const float *qp = queries.const_data_ptr<float>(), *kp = keys.const_data_ptr<float>(), *vp = values.const_data_ptr<float>();
  const float* bp = bias.defined() ? bias.const_data_ptr<float>() : nullptr;
  const int64_t bias_row = bias.defined() ? bias.size(1) : 0;
  float* op = out.mutable_data_ptr<float>();
  at::parallel_for(0, q.size(0) * heads, 8, [&](int64_t begin, int64_t end) {
    std::vector<float> scores(static_cast<size_t>(capacity));
    for (int64_t i = begin; i < end; ++i) {
      const int64_t sequence = i / heads, head = i % heads, length = lengths[sequence];
      const int64_t first = shape.window > 0 ? std::max<int64_t>(0, length - shape.window) : 0;
      const int64_t offset = ((sequence * capacity + first) * kv_heads + head / group) * dim;
      decode_head(qp + i * dim, kp + offset, vp + offset, bp ? bp + head * bias_row + first : nullptr, length - first, kv_heads * dim, dim,
                  static_cast<float>(shape.scale), static_cast<float>(shape.softcap), scores.data(), op + i * dim);
    }
  });
  return out;
}

}  // namespace graft::kernels
