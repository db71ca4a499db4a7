#include "kernels/attention.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <limits>

#include "core/check.h"
#include "core/device.h"
#include "core/torch.h"
#include "kernels/block_attention.h"
#include "kernels/cpu/thin_kernel.h"
#include "kernels/flash_attention.h"
#include "kernels/twins.h"
#include "kernels/varlen_attention.h"

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

// Calls `attention` for all neighbours with the same parent, behind what they continue.
template <class Attention>
Tensor by_parent(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<int64_t>& starts, const AttentionShape& shape, const PrefixRows& prefix,
                 const Attention& attention) {
  if (shape.parents.empty()) return attention(q, k, v, starts, shape, prefix);
  AttentionShape part_shape = shape;
  part_shape.device_starts = Tensor();
  part_shape.parents.clear();
  std::vector<Tensor> outputs;
  const size_t documents = starts.size() - 1;
  for (size_t first = 0, end = 0; first < documents; first = end) {
    const int64_t begin = starts[first], parent = shape.parents[first];
    std::vector<int64_t> part{0};
    for (end = first; end < documents && shape.parents[end] == parent; ++end) part.push_back(starts[end + 1] - begin);
    const auto of = [&](const Tensor& x) { return x.narrow(0, begin, part.back()); };
    outputs.push_back(attention(of(q), of(k), of(v), part, part_shape, rows_in_front(k, v, prefix, starts, shape.parents, parent)));
  }
  return at::cat(outputs);
}

Tensor whole_documents_composed(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<int64_t>& starts, const AttentionShape& shape, const PrefixRows& prefix) {
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

}  // namespace

PrefixRows rows_in_front(const Tensor& k, const Tensor& v, const PrefixRows& prefix, const std::vector<int64_t>& starts, const std::vector<int64_t>& parents, int64_t parent) {
  if (parent < 0) return prefix;
  std::vector<Tensor> keys, values;
  for (int64_t d = parent; d >= 0; d = parents[d]) {
    keys.insert(keys.begin(), k.narrow(0, starts[d], starts[d + 1] - starts[d]));
    values.insert(values.begin(), v.narrow(0, starts[d], starts[d + 1] - starts[d]));
  }
  if (prefix.k.defined()) {
    keys.insert(keys.begin(), prefix.k);
    values.insert(values.begin(), prefix.v);
  }
  return keys.size() == 1 ? PrefixRows{keys[0], values[0]} : PrefixRows{at::cat(keys), at::cat(values)};
}

Tensor packed_attention_composed(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<int64_t>& starts, const AttentionShape& shape,
                                 const PrefixRows& prefix) {
  return by_parent(q, k, v, starts, shape, prefix, whole_documents_composed);
}

bool reads_device_starts(const Tensor& q, const AttentionShape& shape) { return !composed_only() && varlen_attention_fits(q, shape); }

bool reads_parents_in_place(at::Device device, at::ScalarType dtype, bool bent) { return device.is_cpu() && dtype == at::kFloat && !bent; }

bool takes_last_queries(at::Device device, at::ScalarType dtype, bool bent) { return !composed_only() && reads_parents_in_place(device, dtype, bent); }

Tensor packed_attention(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<int64_t>& starts, const AttentionShape& shape,
                        const PrefixRows& prefix) {
  if (composed_only()) return packed_attention_composed(q, k, v, starts, shape, prefix);
  if (reads_parents_in_place(q.device(), q.scalar_type(), shape.softcap > 0 || shape.key_bias.defined()))
    return flash_attention(q, k, v, {starts, shape.parents, shape.query_starts}, shape.scale, shape.window, prefix);
  CHECK_THAT(shape.query_starts.empty(), "some rows' queries are taken by flash attention alone");
  return by_parent(q, k, v, starts, shape, prefix, varlen_attention_fits(q, shape) ? varlen_attention : block_attention);
}

Tensor decode_attention_composed(const Tensor& q, const CachedRows& cache, const std::vector<int64_t>& lengths, const AttentionShape& shape) {
  const int64_t sequences = q.size(0), heads = q.size(1), kv_heads = cache.keys.size(1), longest = *std::max_element(lengths.begin(), lengths.end());
  const Tensor used = moved(at::tensor(lengths, at::kLong), q.device()).view({sequences, 1, 1, 1});
  const Tensor index = at::arange(longest, used.options()).view({1, 1, 1, longest});
  Tensor hidden = index >= used;
  if (shape.window > 0) hidden = at::logical_or(hidden, index < used - shape.window);
  const auto of_sequences = [&](const Tensor& rows) {  // [sequences, kv_heads, longest, dim]
    const Tensor within = rows.narrow(2, 0, longest);
    bool in_order = rows.size(0) == sequences;
    for (int64_t i = 0; i < sequences; ++i) in_order &= cache.slots[i] == i;
    return in_order ? within : within.index_select(0, at::tensor(cache.slots, at::kLong).to(rows.device()));
  };
  const Tensor grouped = q.view({sequences, kv_heads, heads / kv_heads, q.size(2)});
  Tensor scores = at::matmul(grouped, of_sequences(cache.keys).transpose(2, 3)) * shape.scale;
  if (shape.softcap > 0) scores = at::tanh(scores / shape.softcap) * shape.softcap;
  if (shape.key_bias.defined())
    scores = scores + shape.key_bias.narrow(1, 0, longest).view({1, kv_heads, heads / kv_heads, longest}).to(scores.scalar_type());
  const Tensor weights = at::softmax(scores.masked_fill(hidden, -std::numeric_limits<double>::infinity()), -1);
  return at::matmul(weights, of_sequences(cache.values)).reshape(q.sizes());
}

Tensor decode_attention(const Tensor& q, const CachedRows& cache, const std::vector<int64_t>& lengths, const AttentionShape& shape) {
  const Tensor &keys = cache.keys, &values = cache.values;
  if (composed_only() || !q.is_cpu() || q.scalar_type() != at::kFloat || !keys.is_contiguous() || !values.is_contiguous())
    return decode_attention_composed(q, cache, lengths, shape);
  const Tensor queries = q.contiguous(), bias = shape.key_bias.defined() ? shape.key_bias.to(at::kFloat).contiguous() : Tensor();
  Tensor out = at::empty_like(queries);
  const int64_t sequences = q.size(0), heads = q.size(1), dim = q.size(2), kv_heads = keys.size(1), capacity = keys.size(2), group = heads / kv_heads;
  const float *qp = queries.const_data_ptr<float>(), *kp = keys.const_data_ptr<float>(), *vp = values.const_data_ptr<float>();
  const float* bp = bias.defined() ? bias.const_data_ptr<float>() : nullptr;
  float* op = out.mutable_data_ptr<float>();
  const auto body = cpu::thin_kernels().decode;
  const int64_t longest = *std::max_element(lengths.begin(), lengths.end()), work = longest * group * dim;
  at::parallel_for(0, sequences * kv_heads, std::max<int64_t>(1, (int64_t{1} << 14) / work), [&](int64_t begin, int64_t end) {
    std::vector<float> scores(static_cast<size_t>(longest * group));
    for (int64_t i = begin; i < end; ++i) {
      const int64_t sequence = i / kv_heads, kv_head = i % kv_heads, length = lengths[sequence];
      const int64_t first = shape.window > 0 ? std::max<int64_t>(0, length - shape.window) : 0;
      const int64_t row = ((cache.slots[sequence] * kv_heads + kv_head) * capacity + first) * dim, head = i * group * dim;
      body({group, length - first, dim, qp + head, kp + row, vp + row, bp ? bp + kv_head * group * bias.size(1) + first : nullptr,
            bp ? bias.size(1) : 0, static_cast<float>(shape.scale), static_cast<float>(shape.softcap), scores.data(), op + head});
    }
  });
  return out;
}

}  // namespace graft::kernels
