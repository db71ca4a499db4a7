#include "kernels/flash_attention.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <numeric>

#include "core/autograd.h"
#include "kernels/cpu/attention_kernel.h"

namespace graft::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// So many keep the threads busy. Not a matter of how many threads there are: sums over heads would depend on it.
constexpr int64_t kManyTasks = 12;

// The documents of a call and how its tensors lie in memory: [rows, heads, dim].
struct FlashCall {
  const std::vector<int64_t>& starts;
  double scale;
  int64_t window, heads, kv_heads, dim, prefix;
  int64_t together;  // query heads of one task: all that share a key head, or one where tasks are few

  FlashCall(const Tensor& q, const Tensor& k, const Tensor& prefix_k, const std::vector<int64_t>& documents, double factor, int64_t reach)
      : starts(documents), scale(factor), window(reach), heads(q.size(1)), kv_heads(k.size(1)), dim(q.size(2)), prefix(prefix_k.defined() ? prefix_k.size(0) : 0) {
    together = this->documents() * kv_heads >= kManyTasks ? heads / kv_heads : 1;
  }

  int64_t documents() const { return static_cast<int64_t>(starts.size()) - 1; }
  int64_t groups() const { return heads / together; }
  int64_t rows(int64_t document) const { return starts[document + 1] - starts[document]; }
  cpu::HeadShape shape(int64_t document) const { return {rows(document), prefix, together, dim, window, static_cast<float>(scale)}; }
  cpu::HeadInput input(int64_t document, int64_t head, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& prefix_k, const Tensor& prefix_v) const {
    const int64_t kv = head / (heads / kv_heads), begin = starts[document];
    const auto front = [&](const Tensor& x) { return prefix ? cpu::Rows{x.const_data_ptr<float>() + kv * dim, kv_heads * dim} : cpu::Rows{nullptr, 0}; };
    return {of(q, begin, head), of(k, begin, kv), of(v, begin, kv), front(prefix_k), front(prefix_v)};
  }
  cpu::Rows of(const Tensor& x, int64_t row, int64_t head) const { return {x.const_data_ptr<float>() + (row * x.size(1) + head) * dim, x.size(1) * dim}; }
  cpu::MutableRows into(Tensor& x, int64_t row, int64_t head) const {
    return {x.mutable_data_ptr<float>() + (row * x.size(1) + head) * dim, x.size(1) * dim};
  }

  // Runs body(document, first of `together` query heads, scratch) for all of them, long documents first, on all threads.
  template <class Body>
  void for_each_group(int64_t (*scratch_size)(const cpu::HeadShape&), const Body& body) const {
    std::vector<int64_t> order(static_cast<size_t>(documents()));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return rows(a) > rows(b); });
    if (order.empty()) return;
    const int64_t tasks = documents() * groups(), scratch_floats = scratch_size(shape(order[0]));
    std::atomic<int64_t> next{0};
    at::parallel_for(0, std::min<int64_t>(at::get_num_threads(), tasks), 1, [&](int64_t begin, int64_t end) {
      for (; begin < end; ++begin) {
        const Tensor scratch = at::empty({scratch_floats}, at::kFloat);
        for (int64_t task = next++; task < tasks; task = next++)
          body(order[static_cast<size_t>(task / groups())], task % groups() * together, scratch.mutable_data_ptr<float>());
      }
    });
  }
};

struct FlashAttention : torch::autograd::Function<FlashAttention> {
  static Tensor forward(AutogradContext* ctx, const Tensor& queries, const Tensor& keys, const Tensor& values, const std::optional<Tensor>& front_k,
                        const std::optional<Tensor>& front_v, const std::vector<int64_t>& starts, double scale, int64_t window) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto whole = [](const std::optional<Tensor>& x) { return x ? x->contiguous() : Tensor(); };
    const Tensor q = queries.contiguous(), k = keys.contiguous(), v = values.contiguous(), prefix_k = whole(front_k), prefix_v = whole(front_v);
    const FlashCall call(q, k, prefix_k, starts, scale, window);
    Tensor out = at::empty_like(q), lse = at::empty({call.heads, q.size(0)}, q.options());
    const auto& kernels = cpu::attention_kernels();
    call.for_each_group(cpu::forward_scratch, [&](int64_t document, int64_t head, float* scratch) {
      const int64_t begin = starts[document];
      kernels.forward(call.shape(document), call.input(document, head, q, k, v, prefix_k, prefix_v), call.into(out, begin, head),
                      {lse.mutable_data_ptr<float>() + head * q.size(0) + begin, q.size(0)}, scratch);
    });
    ctx->save_for_backward({q, k, v, prefix_k, prefix_v, out, lse});
    ctx->saved_data["starts"] = starts;
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["window"] = window;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto kept = ctx->get_saved_variables();
    const Tensor &q = kept[0], &k = kept[1], &v = kept[2], &prefix_k = kept[3], &prefix_v = kept[4], &out = kept[5], &lse = kept[6];
    const auto starts = ctx->saved_data["starts"].toIntVector();
    const FlashCall call(q, k, prefix_k, starts, ctx->saved_data["scale"].toDouble(), ctx->saved_data["window"].toInt());
    const Tensor dy = grads[0].contiguous();
    Tensor dq = at::empty_like(q);
    // Each task has rows of its own for the gradients of its keys and values; key heads of several tasks and prefix rows are added up
    // afterwards.
    const int64_t rows = q.size(0) + call.documents() * call.prefix;
    Tensor dk = at::empty({rows, call.groups(), call.dim}, q.options()), dv = at::empty_like(dk);
    const auto& kernels = cpu::attention_kernels();
    call.for_each_group(cpu::backward_scratch, [&](int64_t document, int64_t head, float* scratch) {
      const int64_t begin = starts[document], key_begin = begin + document * call.prefix, group = head / call.together;
      kernels.backward(call.shape(document), call.input(document, head, q, k, v, prefix_k, prefix_v), call.of(out, begin, head),
                       {lse.const_data_ptr<float>() + head * q.size(0) + begin, q.size(0)}, call.of(dy, begin, head), call.into(dq, begin, head),
                       call.into(dk, key_begin, group), call.into(dv, key_begin, group), scratch);
    });
    const auto [own_k, front_k] = added_up(call, dk);
    const auto [own_v, front_v] = added_up(call, dv);
    return {dq, own_k, own_v, front_k, front_v, Tensor(), Tensor(), Tensor()};
  }

 private:
  // [all rows, groups, dim] → the documents' own rows [tokens, kv_heads, dim] and the sum of the prefix rows.
  static std::pair<Tensor, Tensor> added_up(const FlashCall& call, Tensor rows) {
    if (call.groups() != call.kv_heads) rows = rows.view({rows.size(0), call.kv_heads, call.groups() / call.kv_heads, call.dim}).sum(2);
    if (call.prefix == 0) return {rows, Tensor()};
    std::vector<Tensor> own;
    Tensor front = at::zeros({call.prefix, call.kv_heads, call.dim}, rows.options());
    for (int64_t d = 0; d < call.documents(); ++d) {
      const int64_t begin = call.starts[d] + d * call.prefix;
      front.add_(rows.narrow(0, begin, call.prefix));
      own.push_back(rows.narrow(0, begin + call.prefix, call.rows(d)));
    }
    return {at::cat(own, 0), front};
  }
};

}  // namespace

Tensor flash_attention(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<int64_t>& starts, double scale, int64_t window,
                       const PrefixRows& prefix) {
  const auto given = [](const Tensor& t) { return t.defined() ? std::optional<Tensor>(t) : std::nullopt; };
  return FlashAttention::apply(q, k, v, given(prefix.k), given(prefix.v), starts, scale, window);
}

}  // namespace graft::kernels
