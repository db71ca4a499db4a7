#include "methods/common/init.h"

#include <cmath>

#include "core/torch.h"

namespace graft {

// Always drawn in float32 on the CPU, so that every device and dtype starts from the same numbers.
Tensor uniform(at::IntArrayRef shape, double bound, const at::TensorOptions& options, at::Generator& generator) {
  return at::empty(shape, at::kFloat).uniform_(-bound, bound, generator).to(options);
}
Tensor kaiming_uniform(at::IntArrayRef shape, const at::TensorOptions& options, at::Generator& generator) {
  return uniform(shape, 1 / std::sqrt(static_cast<double>(shape.back())), options, generator);
}
Tensor normal(at::IntArrayRef shape, double std, const at::TensorOptions& options, at::Generator& generator) {
  return at::empty(shape, at::kFloat).normal_(0, std, generator).to(options);
}
Tensor cut_normal(at::IntArrayRef shape, double std, const at::TensorOptions& options, at::Generator& generator) {
  return (uniform(shape, std::erf(std::sqrt(2.0)), at::kFloat, generator).erfinv() * (std::sqrt(2.0) * std)).to(options);
}
Tensor zeros(at::IntArrayRef shape, const at::TensorOptions& options) { return at::zeros(shape, options); }
Tensor ones(at::IntArrayRef shape, const at::TensorOptions& options) { return at::ones(shape, options); }

}  // namespace graft
