// Which rows each optimizer step sees: a function of the step, the seed and the data, never of the method.
#pragma once
#include <utility>
#include <vector>

#include "data/examples.h"

namespace graft {

class DataOrder {
 public:
  // Rows are dealt epoch by epoch; a shuffled epoch e has its own order from (seed, e). The last batch of an epoch may be
  // short, and a step never reaches into the next epoch. `examples` must outlive the order; not for several threads at once.
  // Throws Fault::Input when there is no row.
  DataOrder(const std::vector<Example>& examples, const DataConfig& config, uint64_t seed);

  int64_t steps_per_epoch() const { return static_cast<int64_t>(epoch(0).size()); }
  // Micro-batches of a step counted from 0; any step in any order.
  std::vector<Batch> batches(int64_t step) const;
  // Steps for a duration given in epochs (rounded up) or in tokens of the rows (the step that reaches it is the last).
  // Throws Fault::Usage beyond a million epochs.
  int64_t steps_for_epochs(double epochs) const;
  int64_t steps_for_tokens(int64_t tokens) const;

 private:
  using Rows = std::vector<int64_t>;
  using Step = std::vector<Rows>;  // micro-batches
  const std::vector<Step>& epoch(int64_t number) const;
  std::pair<int64_t, int64_t> locate(int64_t step) const;  // epoch and step within it
  int64_t steps_before(int64_t number) const;              // steps of the epochs 0 .. number - 1
  bool equal_epochs() const;                               // every epoch has the same number of steps

  const std::vector<Example>& examples_;
  DataConfig config_;
  uint64_t seed_;
  mutable int64_t cached_number_ = -1;
  mutable std::vector<Step> cached_;
  mutable int64_t epoch_steps_ = 0;               // of equal epochs, once known
  mutable std::vector<int64_t> steps_before_{0};  // of each epoch seen so far, where they differ
};

}  // namespace graft
