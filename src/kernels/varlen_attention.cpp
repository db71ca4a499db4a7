#include "kernels/varlen_attention.h"

#ifdef GRAFT_CUDA
extern "C" int cudaDeviceGetAttribute(int* value, int attribute, int device);  // the wheel carries libcudart without all of its headers
#endif

#include <algorithm>

#include "core/autograd.h"
#include "core/check.h"
#include "core/device.h"

namespace graft::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Other devices that get here stand for a GPU in tests.
bool new_enough(const Tensor& x) {
#ifdef GRAFT_CUDA
  if (x.is_cuda()) {
    constexpr int kMajorCapability = 75;
    int major = 0;
    return cudaDeviceGetAttribute(&major, kMajorCapability, x.device().index()) == 0 && major >= 8;
  }
#endif
  return !x.is_cpu();
}

int64_t longest_document(const std::vector<int64_t>& starts) {
  int64_t most = 0;
  for (size_t d = 0; d + 1 < starts.size(); ++d) most = std::max(most, starts[d + 1] - starts[d]);
  return most;
}

// The documents of a call. With prefix rows the keys of a document are the prefix and then its own: [tokens + documents · prefix, ...].
struct VarlenCall {
  const std::vector<int64_t>& starts;
  int64_t prefix, longest;
  double scale;
  std::optional<int64_t> left, right = 0;  // how far a query sees to either side of its own key

  VarlenCall(const std::vector<int64_t>& documents, int64_t front_rows, int64_t most, double factor, int64_t window)
      : starts(documents), prefix(front_rows), longest(most > 0 ? most : longest_document(documents)), scale(factor), left(window > 0 ? window - 1 : -1) {
    CHECK_THAT(longest >= longest_document(documents), "a document of {} rows is longer than {}", longest_document(documents), longest);
  }

  int64_t documents() const { return static_cast<int64_t>(starts.size()) - 1; }
  Tensor with_prefix(const Tensor& rows, const Tensor& front) const {
    if (!prefix) return rows.contiguous();
    std::vector<Tensor> parts;
    for (int64_t d = 0; d < documents(); ++d) parts.insert(parts.end(), {front, rows.narrow(0, starts[d], starts[d + 1] - starts[d])});
    return at::cat(parts, 0);
  }
  // The gradient of with_prefix: the documents' own rows, and the sum over documents of the prefix rows.
  std::pair<Tensor, Tensor> taken_apart(const Tensor& rows) const {
    if (!prefix) return {rows, Tensor()};
    std::vector<Tensor> own, front;
    for (int64_t d = 0; d < documents(); ++d) {
      const int64_t begin = starts[d] + d * prefix;
      front.push_back(rows.narrow(0, begin, prefix));
      own.push_back(rows.narrow(0, begin + prefix, starts[d + 1] - starts[d]));
    }
    return {at::cat(own, 0), at::stack(front).sum(0, /*keepdim=*/false, at::kFloat).to(rows.scalar_type())};
  }
};

struct VarlenAttention : torch::autograd::Function<VarlenAttention> {
  static Tensor forward(AutogradContext* ctx, const Tensor& queries, const Tensor& keys, const Tensor& values, const std::optional<Tensor>& front_k,
                        const std::optional<Tensor>& front_v, const Tensor& starts_q, const std::vector<int64_t>& starts, int64_t longest, double scale, int64_t window) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const VarlenCall call(starts, front_k ? front_k->size(0) : 0, longest, scale, window);
    const Tensor q = queries.contiguous(), k = call.with_prefix(keys, front_k.value_or(Tensor())), v = call.with_prefix(values, front_v.value_or(Tensor()));
    const Tensor starts_k = call.prefix ? starts_q + at::arange(call.documents() + 1, starts_q.options()).mul_(call.prefix) : starts_q;
    const auto [out, lse, rng_state, unused, debug] =
        at::_flash_attention_forward(q, k, v, starts_q, starts_k, call.longest, call.longest + call.prefix, /*dropout_p=*/0.0, /*is_causal=*/true,
                                     /*return_debug_mask=*/false, scale, call.left, call.right);
    ctx->save_for_backward({q, k, v, out, lse, rng_state, unused, starts_q, starts_k});
    ctx->saved_data["starts"] = starts;
    ctx->saved_data["prefix"] = call.prefix;
    ctx->saved_data["longest"] = call.longest;
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["window"] = window;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto kept = ctx->get_saved_variables();
    const auto starts = ctx->saved_data["starts"].toIntVector();
    const VarlenCall call(starts, ctx->saved_data["prefix"].toInt(), ctx->saved_data["longest"].toInt(), ctx->saved_data["scale"].toDouble(), ctx->saved_data["window"].toInt());
    const auto [dq, dk, dv] =
        at::_flash_attention_backward(grads[0].contiguous(), kept[0], kept[1], kept[2], kept[3], kept[4], kept[7], kept[8], call.longest,
                                      call.longest + call.prefix, /*dropout_p=*/0.0, /*is_causal=*/true, kept[5], kept[6], call.scale, call.left, call.right);
    const auto [own_k, front_k] = call.taken_apart(dk);
    const auto [own_v, front_v] = call.taken_apart(dv);
    return {dq, own_k, own_v, front_k, front_v, Tensor(), Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

bool varlen_attention_fits(const Tensor& q, const AttentionShape& shape) {
  const int64_t dim = q.size(2);
  const bool half = q.scalar_type() == at::kBFloat16 || q.scalar_type() == at::kHalf;
  return half && shape.softcap == 0 && !shape.key_bias.defined() && dim % 8 == 0 && dim <= 256 && (dim <= 192 || dim > 224) && new_enough(q);
}

Tensor varlen_attention(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<int64_t>& starts, const AttentionShape& shape,
                        const PrefixRows& prefix) {
  const auto given = [](const Tensor& t) { return t.defined() ? std::optional<Tensor>(t) : std::nullopt; };
  const Tensor starts_q = shape.device_starts.defined() ? shape.device_starts : moved(at::tensor(starts, at::kLong).to(at::kInt), q.device());
  return VarlenAttention::apply(q, k, v, given(prefix.k), given(prefix.v), starts_q, starts, shape.longest, shape.scale, shape.window);
}

}  // namespace graft::kernels
