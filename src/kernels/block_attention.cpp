#include "kernels/block_attention.h"

#include <limits>

#include "core/autograd.h"

namespace graft::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kQueriesPerBlock = 128;

std::optional<Tensor> optional_tensor(const Tensor& t) { return t.defined() ? std::optional<Tensor>(t) : std::nullopt; }

// Softmax is taken in float32 at least.
Tensor at_least_float(const Tensor& t) { return t.scalar_type() == at::kDouble ? t : t.to(at::kFloat); }

// The keys and queries of one document, laid out for products. Query heads of one key head are rows of one product.
struct Document {
  Tensor q;           // [kv_heads, group, rows, dim]
  Tensor k, v;        // [kv_heads, prefix + rows, dim]
  int64_t rows, prefix;

  Document(const Tensor& queries, const Tensor& keys, const Tensor& values, const PrefixRows& front, int64_t begin, int64_t count)
      : rows(count), prefix(front.k.defined() ? front.k.size(0) : 0) {
    const int64_t heads = queries.size(1), kv_heads = keys.size(1), dim = queries.size(2);
    q = queries.narrow(0, begin, count).permute({1, 0, 2}).reshape({kv_heads, heads / kv_heads, count, dim});
    const auto joined = [&](const Tensor& x, const Tensor& before) {
      const Tensor own = x.narrow(0, begin, count);
      return (before.defined() ? at::cat({before, own}, 0) : own).transpose(0, 1).contiguous();
    };
    k = joined(keys, front.k);
    v = joined(values, front.v);
  }
  // [kv_heads, group, rows, dim] → [rows, heads, dim]
  static Tensor by_row(const Tensor& x) { return x.reshape({x.size(0) * x.size(1), x.size(2), x.size(3)}).transpose(0, 1); }
};

// A block of queries and the keys in its reach.
struct Block {
  int64_t begin, count;  // queries
  int64_t low, keys;     // first key in reach and their number
  Tensor q;              // [kv_heads, group · count, dim]

  Block(const Document& d, int64_t first, const AttentionShape& shape) : begin(first), count(std::min(kQueriesPerBlock, d.rows - first)) {
    low = shape.window > 0 ? std::max<int64_t>(0, d.prefix + begin + 1 - shape.window) : 0;
    keys = d.prefix + begin + count - low;
    q = rows_of(d.q);
  }
  Tensor rows_of(const Tensor& x) const { return x.narrow(2, begin, count).reshape({x.size(0), x.size(1) * count, x.size(3)}); }
  Tensor keys_of(const Tensor& x) const { return x.narrow(1, low, keys); }

  // Capped scores without bias and mask, [kv_heads, group, count, keys].
  Tensor capped(const Document& d, const AttentionShape& shape) const {
    Tensor scores = at_least_float(at::bmm(q, keys_of(d.k).transpose(1, 2))).mul(shape.scale);
    if (shape.softcap > 0) scores.div_(shape.softcap).tanh_().mul_(shape.softcap);
    return scores.view({d.q.size(0), d.q.size(1), count, keys});
  }
  // Adds bias and mask in place.
  void restrict(Tensor& scores, const Document& d, const AttentionShape& shape) const {
    if (shape.key_bias.defined())
      scores.add_(shape.key_bias.narrow(1, low, keys).view({d.q.size(0), d.q.size(1), 1, keys}).to(scores.scalar_type()));
    const int64_t diagonal = d.prefix + begin - low;  // the first query's own key, counted from `low`
    Tensor hidden = at::ones({count, keys}, scores.options().dtype(at::kBool)).triu(diagonal + 1);
    if (shape.window > 0) hidden.logical_or_(at::ones({count, keys}, hidden.options()).tril(diagonal - shape.window));
    scores.masked_fill_(hidden, -std::numeric_limits<double>::infinity());
  }
};

AttentionShape shape_of(double scale, double softcap, int64_t window, const Tensor& key_bias) {
  AttentionShape shape(scale);
  shape.softcap = softcap;
  shape.window = window;
  shape.key_bias = key_bias;
  return shape;
}

struct BlockAttention : torch::autograd::Function<BlockAttention> {
  static Tensor forward(AutogradContext* ctx, const Tensor& q, const Tensor& k, const Tensor& v, const std::optional<Tensor>& prefix_k,
                        const std::optional<Tensor>& prefix_v, const std::optional<Tensor>& key_bias, const std::vector<int64_t>& starts, double scale,
                        double softcap, int64_t window) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const PrefixRows prefix{prefix_k.value_or(Tensor()), prefix_v.value_or(Tensor())};
    const AttentionShape shape = shape_of(scale, softcap, window, key_bias.value_or(Tensor()));
    Tensor out = at::empty(q.sizes(), q.options());
    std::vector<Tensor> sums;  // log-sum-exp of each document, [kv_heads, group, rows]
    for (size_t i = 0; i + 1 < starts.size(); ++i) {
      const Document d(q, k, v, prefix, starts[i], starts[i + 1] - starts[i]);
      if (d.rows == 0) {
        sums.emplace_back();
        continue;
      }
      std::vector<Tensor> lse;
      for (int64_t first = 0; first < d.rows; first += kQueriesPerBlock) {
        const Block block(d, first, shape);
        Tensor scores = block.capped(d, shape);
        block.restrict(scores, d, shape);
        lse.push_back(scores.logsumexp(-1));
        const Tensor weights = scores.sub_(lse.back().unsqueeze(-1)).exp_().to(q.scalar_type());
        const Tensor mixed = at::bmm(weights.view({d.q.size(0), -1, block.keys}), block.keys_of(d.v));
        out.narrow(0, starts[i] + first, block.count).copy_(Document::by_row(mixed.view({d.q.size(0), d.q.size(1), block.count, q.size(2)})));
      }
      sums.push_back(at::cat(lse, 2));
    }
    variable_list kept{q, k, v, prefix.k, prefix.v, shape.key_bias, out};
    kept.insert(kept.end(), sums.begin(), sums.end());
    ctx->save_for_backward(kept);
    ctx->saved_data["starts"] = starts;
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["softcap"] = softcap;
    ctx->saved_data["window"] = window;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto kept = ctx->get_saved_variables();
    const Tensor &q = kept[0], &k = kept[1], &v = kept[2], &out = kept[6];
    const PrefixRows prefix{kept[3], kept[4]};
    const auto starts = ctx->saved_data["starts"].toIntVector();
    const AttentionShape shape =
        shape_of(ctx->saved_data["scale"].toDouble(), ctx->saved_data["softcap"].toDouble(), ctx->saved_data["window"].toInt(), kept[5]);
    Tensor dq = at::empty(q.sizes(), q.options()), dk = at::empty(k.sizes(), k.options()), dv = at::empty(v.sizes(), v.options());
    Tensor dpk = prefix.k.defined() ? at::zeros_like(prefix.k) : Tensor(), dpv = prefix.v.defined() ? at::zeros_like(prefix.v) : Tensor();
    for (size_t i = 0; i + 1 < starts.size(); ++i) {
      const int64_t begin = starts[i], rows = starts[i + 1] - begin;
      if (rows == 0) continue;
      const Document d(q, k, v, prefix, begin, rows);
      const auto laid_out = [&](const Tensor& x) { return x.narrow(0, begin, rows).permute({1, 0, 2}).reshape(d.q.sizes()); };
      const Tensor dy = laid_out(grads[0]), inner = at_least_float(dy * laid_out(out)).sum(-1, /*keepdim=*/true);
      Tensor keys = at::zeros_like(d.k), values = at::zeros_like(d.v);
      for (int64_t first = 0; first < rows; first += kQueriesPerBlock) {
        const Block block(d, first, shape);
        const Tensor dq_rows = block_backward(block, d, shape, kept[7 + i], dy, inner, keys, values);
        dq.narrow(0, begin + first, block.count).copy_(Document::by_row(dq_rows.view({d.q.size(0), d.q.size(1), block.count, q.size(2)})));
      }
      dk.narrow(0, begin, rows).copy_(keys.narrow(1, d.prefix, rows).transpose(0, 1));
      dv.narrow(0, begin, rows).copy_(values.narrow(1, d.prefix, rows).transpose(0, 1));
      if (!d.prefix) continue;
      dpk.add_(keys.narrow(1, 0, d.prefix).transpose(0, 1));
      dpv.add_(values.narrow(1, 0, d.prefix).transpose(0, 1));
    }
    return {dq, dk, dv, dpk, dpv, Tensor(), Tensor(), Tensor(), Tensor(), Tensor()};
  }

 private:
  // Adds to the gradients of keys and values, returns that of the block's queries. inner = Σ dy · out of each row.
  static Tensor block_backward(const Block& block, const Document& d, const AttentionShape& shape, const Tensor& lse, const Tensor& dy,
                               const Tensor& inner, Tensor& keys, Tensor& values) {
    const auto flat = [&](const Tensor& x) { return x.view({d.q.size(0), -1, block.keys}).to(d.q.scalar_type()); };
    Tensor weights = block.capped(d, shape), slope;
    if (shape.softcap > 0) slope = weights.div(shape.softcap).square_().neg_().add_(1);
    block.restrict(weights, d, shape);
    weights.sub_(lse.narrow(2, block.begin, block.count).unsqueeze(-1)).exp_();
    const Tensor dy_rows = block.rows_of(dy);
    Tensor ds = at_least_float(at::bmm(dy_rows, block.keys_of(d.v).transpose(1, 2))).view_as(weights).sub(inner.narrow(2, block.begin, block.count));
    ds.mul_(weights).mul_(shape.scale);
    if (slope.defined()) ds.mul_(slope);
    block.keys_of(values).add_(at::bmm(flat(weights).transpose(1, 2), dy_rows));
    block.keys_of(keys).add_(at::bmm(flat(ds).transpose(1, 2), block.q));
    return at::bmm(flat(ds), block.keys_of(d.k));
  }
};

}  // namespace

Tensor block_attention(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<int64_t>& starts, const AttentionShape& shape,
                       const PrefixRows& prefix) {
  return BlockAttention::apply(q, k, v, optional_tensor(prefix.k), optional_tensor(prefix.v), optional_tensor(shape.key_bias), starts, shape.scale,
                               shape.softcap, shape.window);
}

}  // namespace graft::kernels
