#include "kernels/attention.h"

#include <ATen/Parallel.h>

#include <cmath>
#include <limits>

#include "core/autograd.h"
#include "kernels/twins.h"
#include "kernels/block_attention.h"
#include "kernels/cpu.h"

namespace graft::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// [rows, kv_heads, dim] → [1, heads, rows, dim] with each key/value head repeated for its group of query heads.
Tensor for_heads(const Tensor& rows, int64_t heads) {
  const int64_t group = heads / rows.size(1);
  Tensor x = rows.transpose(0, 1);  // [kv_heads, rows, dim]
  if (group > 1) x = x.unsqueeze(1).expand({rows.size(1), group, rows.size(0), rows.size(2)}).reshape({heads, rows.size(0), rows.size(2)});
  return x.unsqueeze(0);
}

// The opposite, for gradients: sums over the group. [1, heads, rows, dim] → [rows, kv_heads, dim]
Tensor from_heads(const Tensor& x, int64_t kv_heads) {
  const int64_t heads = x.size(1);
  if (heads == kv_heads) return x.squeeze(0).transpose(0, 1);
  return x.view({kv_heads, heads / kv_heads, x.size(2), x.size(3)}).sum(1).transpose(0, 1);
}

// libtorch's flash attention aligns the causal mask to the top left. With P prefix rows, P zero queries in front make the
// two corners meet; their outputs are dropped.
Tensor with_rows_in_front(const Tensor& x, const Tensor& front) { return front.defined() ? at::cat({front, x}, 0) : x; }

struct PackedAttention : torch::autograd::Function<PackedAttention> {
  static Tensor forward(AutogradContext* ctx, const Tensor& q, const Tensor& k, const Tensor& v, const std::optional<Tensor>& optional_k,
                        const std::optional<Tensor>& optional_v, const std::vector<int64_t>& starts, double scale) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const Tensor prefix_k = optional_k.value_or(Tensor()), prefix_v = optional_v.value_or(Tensor());
    const int64_t heads = q.size(1), prefix = prefix_k.defined() ? prefix_k.size(0) : 0;
    const Tensor dummy = prefix ? at::zeros({prefix, heads, q.size(2)}, q.options()) : Tensor();
    Tensor out = at::empty(q.sizes(), q.options());
    std::vector<Tensor> sums;  // log-sum-exp of each document, [1, heads, rows]
    for (size_t d = 0; d + 1 < starts.size(); ++d) {
      const int64_t begin = starts[d], rows = starts[d + 1] - begin;
      const auto [o, lse] = at::_scaled_dot_product_flash_attention_for_cpu(
          with_rows_in_front(q.narrow(0, begin, rows), dummy).transpose(0, 1).unsqueeze(0),
          for_heads(with_rows_in_front(k.narrow(0, begin, rows), prefix_k), heads),
          for_heads(with_rows_in_front(v.narrow(0, begin, rows), prefix_v), heads), 0.0, /*is_causal=*/true, {}, scale);
      out.narrow(0, begin, rows).copy_(o.squeeze(0).transpose(0, 1).narrow(0, prefix, rows));
      sums.push_back(lse);
    }
    variable_list kept{q, k, v, prefix_k, prefix_v, out};
    kept.insert(kept.end(), sums.begin(), sums.end());
    ctx->save_for_backward(kept);
    ctx->saved_data["starts"] = starts;
    ctx->saved_data["scale"] = scale;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto kept = ctx->get_saved_variables();
    const Tensor &q = kept[0], &k = kept[1], &v = kept[2], &prefix_k = kept[3], &prefix_v = kept[4], &out = kept[5];
    const auto starts = ctx->saved_data["starts"].toIntVector();
    const double scale = ctx->saved_data["scale"].toDouble();
    const int64_t heads = q.size(1), kv_heads = k.size(1), prefix = prefix_k.defined() ? prefix_k.size(0) : 0;
    const Tensor dummy = prefix ? at::zeros({prefix, heads, q.size(2)}, q.options()) : Tensor();
    Tensor dq = at::empty(q.sizes(), q.options()), dk = at::empty(k.sizes(), k.options()), dv = at::empty(v.sizes(), v.options());
    Tensor dpk = prefix ? at::zeros_like(prefix_k) : Tensor(), dpv = prefix ? at::zeros_like(prefix_v) : Tensor();
    const auto query_side = [&](const Tensor& x, int64_t begin, int64_t rows) {
      return with_rows_in_front(x.narrow(0, begin, rows), dummy).transpose(0, 1).unsqueeze(0);
    };
    for (size_t d = 0; d + 1 < starts.size(); ++d) {
      const int64_t begin = starts[d], rows = starts[d + 1] - begin;
      const Tensor& lse = kept[6 + d];
      // The dropped outputs of the zero queries may be any number: their gradient is zero.
      const auto [gq, gk, gv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
          query_side(grads[0], begin, rows), query_side(q, begin, rows),
          for_heads(with_rows_in_front(k.narrow(0, begin, rows), prefix_k), heads),
          for_heads(with_rows_in_front(v.narrow(0, begin, rows), prefix_v), heads), query_side(out, begin, rows), lse, 0.0,
          /*is_causal=*/true, {}, scale);
      dq.narrow(0, begin, rows).copy_(gq.squeeze(0).transpose(0, 1).narrow(0, prefix, rows));
      const Tensor k_rows = from_heads(gk, kv_heads), v_rows = from_heads(gv, kv_heads);
      dk.narrow(0, begin, rows).copy_(k_rows.narrow(0, prefix, rows));
      dv.narrow(0, begin, rows).copy_(v_rows.narrow(0, prefix, rows));
      if (prefix) {
        dpk.add_(k_rows.narrow(0, 0, prefix));
        dpv.add_(v_rows.narrow(0, 0, prefix));
      }
    }
    return {dq, dk, dv, dpk, dpv, Tensor(), Tensor()};
  }
};

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
  int64_t longest = 0;
  for (size_t d = 0; d + 1 < starts.size(); ++d) longest = std::max(longest, starts[d + 1] - starts[d]);
  const bool cut = shape.window > 0 && longest + (prefix.k.defined() ? prefix.k.size(0) : 0) > shape.window;
  if (cut || shape.softcap > 0 || shape.key_bias.defined()) return block_attention(q, k, v, starts, shape, prefix);
  if (!q.is_cpu()) return packed_attention_composed(q, k, v, starts, shape, prefix);
  const auto optional = [](const Tensor& t) { return t.defined() ? std::optional<Tensor>(t) : std::nullopt; };
  return PackedAttention::apply(q, k, v, optional(prefix.k), optional(prefix.v), starts, shape.scale);
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
