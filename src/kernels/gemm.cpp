#include "kernels/gemm.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include "core/torch.h"
#include "kernels/twins.h"

namespace graft::kernels {
namespace {

// Below this many multiplications oneDNN's preparation of a new shape costs more than it gains.
constexpr int64_t kLargeProduct = int64_t{1} << 22;

bool for_onednn(const Tensor& a, const Tensor& b) {
  return a.is_cpu() && a.scalar_type() == at::kFloat && a.size(0) > 1 && a.size(0) * a.size(1) * b.size(0) >= kLargeProduct && !composed_only();
}

Tensor onednn_linear(const Tensor& a, const Tensor& b, const Tensor& bias) {
  using Signature = Tensor(const Tensor&, const Tensor&, const std::optional<Tensor>&, c10::string_view, c10::List<std::optional<at::Scalar>>,
                           std::optional<c10::string_view>);
  static const auto op = c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn::_linear_pointwise", "").typed<Signature>();
  return op.call(a, b, bias.defined() ? std::optional<Tensor>(bias) : std::nullopt, "none", c10::List<std::optional<at::Scalar>>(), std::nullopt);
}

}  // namespace

Tensor product_t(const Tensor& a, const Tensor& b, const Tensor& bias) {
  if (for_onednn(a, b)) return onednn_linear(a, b, bias);
  return bias.defined() ? at::addmm(bias, a, b.t()) : at::mm(a, b.t());
}

Tensor product(const Tensor& a, const Tensor& b) { return product_t(a, b.t()); }

}  // namespace graft::kernels
