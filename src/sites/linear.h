// A linear map of the base model: y = W x + b.
#pragma once
#include <string>

#include "core/tensor.h"

namespace graft {

struct Linear {
  Tensor weight;           // logical [out, in], whatever the file's layout (a view of [in, out] for GPT-2's Conv1D)
  Tensor bias;             // [out] or undefined
  std::string path;        // Hugging Face module path: "model.layers.0.self_attn.q_proj"
  bool conv1d = false;     // stored as [in, out]

  bool present() const { return weight.defined(); }
  int64_t in() const { return weight.size(1); }
  int64_t out() const { return weight.size(0); }
};

}  // namespace graft
