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

// What stands in front of the documents' own rows: prefix rows, then the rows of the documents that they continue.
class Fronts {
 public:
  Fronts(const PackedDocuments& documents, int64_t prefix) : documents_(documents), prefix_(prefix) {}

  int64_t rows(int64_t document) const {
    int64_t rows = prefix_;
    for_each_piece(document, [&](int64_t, int64_t count) { rows += count; });
    return rows;
  }
  int64_t prefix() const { return prefix_; }
  bool any() const { return prefix_ > 0 || !documents_.parents.empty(); }
  // Calls body(first row, rows) for the rows of the documents that this one continues, the last of them first.
  template <class Body>
  void for_each_piece(int64_t document, const Body& body) const {
    for (int64_t d = documents_.parent(document); d >= 0; d = documents_.parent(d)) body(documents_.starts[d], documents_.rows(d));
  }
  // For each document its front rows of x [tokens, kv_heads, dim] in one piece, where they are or copied into `kept`, once for all that
  // continue the same document.
  std::vector<const float*> of(const Tensor& x, const Tensor& prefix_rows, std::vector<Tensor>& kept) const {
    std::vector<const float*> fronts;
    const int64_t width = x.size(1) * x.size(2);
    for (int64_t d = 0; d < documents_.count(); ++d) {
      const int64_t p = documents_.parent(d);
      if (p < 0) {
        fronts.push_back(prefix_ ? prefix_rows.const_data_ptr<float>() : nullptr);
      } else if (prefix_ == 0 && documents_.parent(p) < 0) {
        fronts.push_back(x.const_data_ptr<float>() + documents_.starts[p] * width);
      } else if (const auto sibling = std::find(documents_.parents.begin(), documents_.parents.begin() + d, p); sibling != documents_.parents.begin() + d) {
        fronts.push_back(fronts[sibling - documents_.parents.begin()]);
      } else {
        kept.push_back(at::empty({rows(d), width}, x.options()));
        float* to = kept.back().mutable_data_ptr<float>() + rows(d) * width;
        for_each_piece(d, [&](int64_t first, int64_t count) {
          to -= count * width;
          std::copy_n(x.const_data_ptr<float>() + first * width, count * width, to);
        });
        if (prefix_) std::copy_n(prefix_rows.const_data_ptr<float>(), prefix_ * width, to - prefix_ * width);
        fronts.push_back(kept.back().const_data_ptr<float>());
      }
    }
    return fronts;
  }

 private:
  const PackedDocuments& documents_;
  int64_t prefix_;
};

// The documents of a call and how its tensors lie in memory: [rows, heads, dim].
struct FlashCall {
  const Tensor &q, &k, &v;
  const PackedDocuments& documents;
  double scale;
  int64_t window, heads, kv_heads, dim;
  int64_t together;  // query heads of one task: all that share a key head, or one where tasks are few
  Fronts fronts;
  std::vector<Tensor> kept;
  std::vector<const float*> front_k, front_v;

  FlashCall(const Tensor& queries, const Tensor& keys, const Tensor& values, const PrefixRows& prefix, const PackedDocuments& packed, double factor, int64_t reach)
      : q(queries), k(keys), v(values), documents(packed), scale(factor), window(reach), heads(q.size(1)), kv_heads(k.size(1)), dim(q.size(2)),
        fronts(packed, prefix.k.defined() ? prefix.k.size(0) : 0), front_k(fronts.of(k, prefix.k, kept)), front_v(fronts.of(v, prefix.v, kept)) {
    together = documents.count() * kv_heads >= kManyTasks ? heads / kv_heads : 1;
  }

  int64_t groups() const { return heads / together; }
  cpu::HeadShape shape(int64_t document) const {
    const int64_t front = fronts.rows(document), queries = documents.queries(document);
    return {queries, front + documents.rows(document) - queries, together, dim, window, static_cast<float>(scale), front};
  }
  cpu::HeadInput input(int64_t document, int64_t head) const {
    const int64_t kv = head / (heads / kv_heads), begin = documents.starts[document];
    const auto front = [&](const float* rows) { return rows ? cpu::Rows{rows + kv * dim, kv_heads * dim} : cpu::Rows{nullptr, 0}; };
    return {of(q, documents.first_query(document), head), of(k, begin, kv), of(v, begin, kv), front(front_k[document]), front(front_v[document])};
  }
  cpu::Rows of(const Tensor& x, int64_t row, int64_t head) const { return {x.const_data_ptr<float>() + (row * x.size(1) + head) * dim, x.size(1) * dim}; }
  cpu::MutableRows into(Tensor& x, int64_t row, int64_t head) const {
    return {x.mutable_data_ptr<float>() + (row * x.size(1) + head) * dim, x.size(1) * dim};
  }

  // Runs body(document, first of `together` query heads, scratch) for all of them, long documents first, on all threads.
  template <class Body>
  void for_each_group(int64_t (*scratch_size)(const cpu::HeadShape&), const Body& body) const {
    std::vector<int64_t> order(static_cast<size_t>(documents.count()));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return documents.rows(a) > documents.rows(b); });
    int64_t scratch_floats = 0;
    for (const int64_t d : order) scratch_floats = std::max(scratch_floats, scratch_size(shape(d)));
    const int64_t tasks = documents.count() * groups();
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
                        const std::optional<Tensor>& front_v, const std::vector<int64_t>& starts, const std::vector<int64_t>& parents, const std::vector<int64_t>& query_starts, double scale,
                        int64_t window) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto whole = [](const std::optional<Tensor>& x) { return x ? x->contiguous() : Tensor(); };
    const Tensor q = queries.contiguous(), k = keys.contiguous(), v = values.contiguous();
    const PrefixRows prefix{whole(front_k), whole(front_v)};
    const PackedDocuments packed{starts, parents, query_starts};
    const FlashCall call(q, k, v, prefix, packed, scale, window);
    Tensor out = at::empty_like(q), lse = at::empty({call.heads, q.size(0)}, q.options());
    const auto& kernels = cpu::attention_kernels();
    call.for_each_group(cpu::forward_scratch, [&](int64_t document, int64_t head, float* scratch) {
      const int64_t begin = packed.first_query(document);
      kernels.forward(call.shape(document), call.input(document, head), call.into(out, begin, head),
                      {lse.mutable_data_ptr<float>() + head * q.size(0) + begin, q.size(0)}, scratch);
    });
    ctx->save_for_backward({q, k, v, prefix.k, prefix.v, out, lse});
    ctx->saved_data["starts"] = starts;
    ctx->saved_data["parents"] = parents;
    ctx->saved_data["query_starts"] = query_starts;
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["window"] = window;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto kept = ctx->get_saved_variables();
    const Tensor &q = kept[0], &k = kept[1], &v = kept[2], &out = kept[5], &lse = kept[6];
    const auto starts = ctx->saved_data["starts"].toIntVector(), parents = ctx->saved_data["parents"].toIntVector(),
               query_starts = ctx->saved_data["query_starts"].toIntVector();
    const PackedDocuments packed{starts, parents, query_starts};
    const FlashCall call(q, k, v, {kept[3], kept[4]}, packed, ctx->saved_data["scale"].toDouble(), ctx->saved_data["window"].toInt());
    const Tensor dy = grads[0].contiguous();
    Tensor dq = at::empty_like(q);
    // Each task has rows of its own for the gradients of its keys and values, those in front first; key heads of several tasks and rows
    // in front are added up afterwards.
    std::vector<int64_t> firsts{0};
    for (int64_t d = 0; d < packed.count(); ++d) firsts.push_back(firsts.back() + call.fronts.rows(d) + packed.rows(d));
    Tensor dk = at::empty({firsts.back(), call.groups(), call.dim}, q.options()), dv = at::empty_like(dk);
    const auto& kernels = cpu::attention_kernels();
    call.for_each_group(cpu::backward_scratch, [&](int64_t document, int64_t head, float* scratch) {
      const int64_t begin = packed.first_query(document), group = head / call.together;
      kernels.backward(call.shape(document), call.input(document, head), call.of(out, begin, head),
                       {lse.const_data_ptr<float>() + head * q.size(0) + begin, q.size(0)}, call.of(dy, begin, head), call.into(dq, begin, head),
                       call.into(dk, firsts[document], group), call.into(dv, firsts[document], group), scratch);
    });
    const auto [own_k, front_k] = added_up(call, firsts, dk);
    const auto [own_v, front_v] = added_up(call, firsts, dv);
    return {dq, own_k, own_v, front_k, front_v, Tensor(), Tensor(), Tensor(), Tensor(), Tensor()};
  }

 private:
  // [all rows, groups, dim], documents from `firsts` on → the documents' own rows [tokens, kv_heads, dim] and the sum of the prefix rows.
  static std::pair<Tensor, Tensor> added_up(const FlashCall& call, const std::vector<int64_t>& firsts, Tensor rows) {
    if (call.groups() != call.kv_heads) rows = rows.view({rows.size(0), call.kv_heads, call.groups() / call.kv_heads, call.dim}).sum(2);
    if (!call.fronts.any()) return {rows, Tensor()};
    const int64_t width = call.kv_heads * call.dim, prefix = call.fronts.prefix();
    Tensor own = at::empty({call.documents.starts.back(), call.kv_heads, call.dim}, rows.options());
    Tensor front = prefix ? at::zeros({prefix, call.kv_heads, call.dim}, rows.options()) : Tensor();
    float* const own_rows = own.mutable_data_ptr<float>();
    const auto add = [&](const float* from, int64_t count, float* to) {
      for (int64_t i = 0; i < count * width; ++i) to[i] += from[i];
    };
    for (int64_t d = 0; d < call.documents.count(); ++d) {  // those that it continues stand before it
      const float* const of_document = rows.const_data_ptr<float>() + firsts[d] * width;
      const float* from = of_document + call.fronts.rows(d) * width;
      std::copy_n(from, call.documents.rows(d) * width, own_rows + call.documents.starts[d] * width);
      call.fronts.for_each_piece(d, [&](int64_t first, int64_t count) {
        from -= count * width;
        add(from, count, own_rows + first * width);
      });
      if (prefix) add(of_document, prefix, front.mutable_data_ptr<float>());
    }
    return {own, front};
  }
};

}  // namespace

Tensor flash_attention(const Tensor& q, const Tensor& k, const Tensor& v, const PackedDocuments& documents, double scale, int64_t window, const PrefixRows& prefix) {
  const auto given = [](const Tensor& t) { return t.defined() ? std::optional<Tensor>(t) : std::nullopt; };
  return FlashAttention::apply(q, k, v, given(prefix.k), given(prefix.v), documents.starts, documents.parents, documents.query_starts, scale, window);
}

}  // namespace graft::kernels
