#include "support/formula.h"

#include <cmath>

#include "core/torch.h"

namespace graft::testing {

// splitmix64 from the name's FNV-1a hash.
Tensor formula_values(const std::string& name, const std::vector<int64_t>& shape) {
  uint64_t seed = 0xCBF29CE484222325u;
  for (const char c : name) seed = (seed ^ static_cast<uint8_t>(c)) * 0x100000001B3u;
  Tensor values = at::empty(shape, at::kDouble);
  double* out = values.mutable_data_ptr<double>();
  for (int64_t i = 0; i < values.numel(); ++i) {
    uint64_t z = seed + static_cast<uint64_t>(i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    out[i] = static_cast<double>(z >> 40) / 8388608.0 - 1;
  }
  return values;
}

void formula_weights(Model& model) {
  visit_weights(model, [](const std::string& name, Tensor& handle, const std::vector<int64_t>& shape, bool conv1d) {
    const auto holds = [&](const char* word) { return name.find(word) != std::string::npos; };
    Tensor values = formula_values(name, shape);
    if (name.ends_with(".bias")) values.mul_(0.3);
    else if (shape.size() < 2 || holds("norm")) values.mul_(0.3).add_(1);
    else if (holds("embed") || holds("wte") || holds("wpe")) values.mul_(std::sqrt(3.0));
    else values.mul_(1.5 * std::sqrt(3.0 / static_cast<double>(shape[conv1d ? 0 : 1])));
    const Tensor stored = values.to(at::kFloat);
    handle = conv1d ? stored.t() : stored;
  });
}

}  // namespace graft::testing
