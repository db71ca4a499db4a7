// MiCA, minor component adaptation (arXiv 2604.01694): LoRA whose B is frozen at the directions that the weight uses least.
//   W = U S Vᵀ;  B = the last r columns of U, frozen;  y = W x + b + s · B A x
// Trained: A [r, in]. Init 0: the identity. At the embedding U is that of its transpose. Merges and writes files as LoRA; a file
// that PEFT made (init_lora_weights = "mica") is read as the LoRA that it is.
#include <algorithm>

#include "core/check.h"
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/lora_method.h"

namespace graft {
namespace {

class Mica : public LoraWith<> {
 public:
  Mica() : LoraWith("mica") {}

 protected:
  bool trains_b() const override { return false; }
  LoraStart start(AttachContext& context, const Linear& linear, int64_t r, double) override {
    return minor_components(context, linear.weight, r, linear.path);
  }
  LoraStart embedding_start(AttachContext& context, const Tensor& weight, int64_t r) override {
    return minor_components(context, weight.t(), r, context.model.tokens.path);
  }

 private:
  LoraStart minor_components(AttachContext& context, const Tensor& weight, int64_t r, const std::string& path) const {
    at::NoGradGuard no_grad;
    const int64_t most = std::min(weight.size(0), weight.size(1));
    if (r > most) usage_error("mica", fmt::format("r must be in 1..min(in, out) = {} but is {} ({})", most, r, path));
    const auto tensors = adapter_options(context.model);
    const Tensor u = std::get<0>(at::linalg_svd(weight.detach().to(tensors), false));
    return {zeros({r, weight.size(1)}, tensors), u.narrow(1, most - r, r).contiguous(), {}};
  }
};

}  // namespace

extern const MethodRow kMica;
const MethodRow kMica{.name = "mica",
                      .peft_type = "LORA",
                      .title = "MiCA",
                      .paper = "arXiv 2604.01694",
                      .trains = "the A of a low-rank update in the directions that the weights use least",
                      .idea = Idea::LowRank,
                      .formula = "y = W x + b + α/r · B A x,  B = the last r left singular vectors of W, frozen",
                      .size = "r · in a linear",
                      .cost = "LoRA without the gradient and the moments of B, and one SVD a linear at the start",
                      .format = Format::Peft,
                      .mergeable = true,
                      .identity = true,
                      .learning_rate = 5e-4,
                      .make = []() -> std::unique_ptr<Method> { return std::make_unique<Mica>(); }};

}  // namespace graft
