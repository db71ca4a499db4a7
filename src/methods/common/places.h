// Places in a weight that are drawn from a seed, as HF PEFT draws them.
#pragma once
#include <map>

#include "methods/common/weight_edits.h"
#include "model/model.h"

namespace graft {

// The first n of torch.randperm(in · out) with a generator of this seed: rows are places div in, columns places mod in. Drawn
// once for each shape: all modules of one shape have the same.
class RandomPlaces {
 public:
  struct Places {
    Tensor rows, columns;  // [n], int64
  };
  Places of(const Linear& linear, int64_t n, int64_t seed);

 private:
  std::map<std::array<int64_t, 4>, Places> drawn_;
};

// ΔW with few entries.
struct SparseEdit : DeltaEdit {
  Tensor places;  // [n] in the flattened ΔW, int64; entries at one place add up
  int64_t in = 0, out = 0;

  virtual Tensor entries() const = 0;  // [n], of the trained tensors
  Tensor delta(const Tensor& weight) const override;
};

// What methods that train entries of a spectrum adapt when nothing is named, in PEFT's tables: as LoRA, but the MLP's output
// where queries, keys and values are one Conv1D module.
std::vector<std::string> spectral_targets(const Model& model);

}  // namespace graft
