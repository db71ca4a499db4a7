#include "methods/common/places.h"

#include <ATen/CPUGeneratorImpl.h>

#include "core/torch.h"
#include "model/family.h"

namespace graft {

RandomPlaces::Places RandomPlaces::of(const Linear& linear, int64_t n, int64_t seed) {
  const int64_t in = linear.in(), out = linear.out();
  Places& places = drawn_[{in, out, n, seed}];
  if (!places.rows.defined()) {
    const Tensor order = at::randperm(in * out, at::detail::createCPUGenerator(static_cast<uint64_t>(seed)), at::kLong)
                             .narrow(0, 0, n)
                             .to(linear.weight.device());
    places = {order.div(in, "floor"), order.remainder(in)};
  }
  return places;
}

Tensor SparseEdit::delta(const Tensor&) const {
  const Tensor values = entries();
  return at::zeros({out * in}, values.options()).index_add(0, places, values).view({out, in});
}

std::vector<std::string> spectral_targets(const Model& model) {
  const Linear& qkv = model.blocks.front().qkv;
  if (qkv.present() && qkv.conv1d) return {model.family->names(model.config).down};
  return model.family->targets.low_rank;
}

}  // namespace graft
