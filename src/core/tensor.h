// The light door to torch for headers: the Tensor type and nothing else. Sources include core/torch.h for the operations.
#pragma once
#include <ATen/core/Tensor.h>

namespace graft {
using at::Tensor;
}
