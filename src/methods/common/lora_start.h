// Where LoRA's factors start: HF PEFT's init_lora_weights.
#pragma once
#include <ATen/core/Generator.h>

#include "core/json.h"
#include "sites/linear.h"

namespace graft {

// A word that is not known, that cannot be combined, or that needs data to start from: Fault::Usage. `loading`: a file's
// tensors come next; what changes the base in a way that cannot be repeated is refused then.
void check_lora_start(const Json& init, bool loading, const std::string& tag);
// PiSSA (arXiv 2404.02948) and OLoRA (arXiv 2406.01775) take a part of the weight into the factors and leave the rest.
bool changes_base(const Json& init);

struct LoraStart {
  Tensor a, b;      // [r, in], [out, r]
  Tensor residual;  // what the base's weight becomes, W − s·BA; undefined: it stays
};
// true: A kaiming, B 0; "gaussian": A normal with std 1/r; "orthogonal": A and B random with BA = 0 (even r); false: both
// kaiming; "pissa": the r largest singular components, shared out as square roots; "pissa_niter_k": by a randomised SVD with
// k iterations; "olora": the first r columns and rows of QR.
LoraStart lora_start(const Json& init, int64_t r, double scale, const Linear& linear, const at::TensorOptions& options,
                     at::Generator& generator);

}  // namespace graft
