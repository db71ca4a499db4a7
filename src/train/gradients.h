// The losses and gradients of a step's micro-batches, one after the other; for small models on a GPU from recorded passes.
#pragma once
#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/recording.h"
#include "methods/method.h"
#include "model/pass.h"

namespace graft {

// `sites.training` is true while the object lives and false afterwards, also when a step throws.
struct TrainingMode {
  explicit TrainingMode(Sites& sites) : sites_(sites) { sites_.training = true; }
  ~TrainingMode() { sites_.training = false; }
  Sites& sites_;
};

// Whether a training pass draws random numbers.
bool draws(Adapted& adapted);

// Why training passes of this model and method cannot be recorded, or nothing: what a pass does may depend on tensors only, which lie in the same
// places in every step.
std::string why_not_recorded(Adapted& adapted);

class Gradients {
 public:
  // With `recorded`, a pass is filled up to one of few sizes, and recorded when its size comes for the third time (core/recording.h).
  Gradients(Adapted& adapted, double label_smoothing, bool recorded);
  ~Gradients();

  // Adds the gradients of the batch's summed losses / `supervised` to the parameters'. → those summed losses, a scalar where the model lies.
  // `alone`: the step has no other micro-batch, so its gradients may stay where the recording has them.
  Tensor add(const Batch& batch, const Recomputed& recomputed, int64_t supervised, bool alone);

  int64_t recordings() const { return static_cast<int64_t>(recorded_.size()); }

 private:
  using Size = std::array<int64_t, 7>;
  struct Recorded;
  struct Aside;
  Tensor add_at_once(const Batch& batch, const Recomputed& recomputed, int64_t supervised);
  void record(Recorded& r);
  std::vector<Tensor> take();  // the parameters' gradients, which are undefined from then on
  void give(const std::vector<Tensor>& gradients, bool alone);
  bool moved_on();  // whether parameters lie elsewhere or others are trained than the last time

  Adapted& adapted_;
  double label_smoothing_;
  bool may_record_;
  std::vector<std::pair<const void*, bool>> places_;
  std::map<Size, int64_t> seen_;
  std::map<Size, std::unique_ptr<Recorded>> recorded_;
};

}  // namespace graft
