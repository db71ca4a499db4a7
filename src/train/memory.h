// What a training step needs in memory, known before the run, and what to compute again in the backward pass so that it fits.
#pragma once
#include <optional>

#include "train/trainer.h"

namespace graft {

// Bytes at the peak of a step, by part.
struct StepMemory {
  int64_t program = 0;      // the process itself: libraries, tokenizer, data
  int64_t weights = 0;      // of the base, those mapped from its files included; of those given up after use the largest
  int64_t adapters = 0, optimizer = 0;
  int64_t gradients = 0;    // beyond the memory that activations leave while gradients come
  int64_t activations = 0;  // kept for the backward pass
  int64_t work = 0;         // logits, or what a block's backward pass holds for a moment
  int64_t total() const { return program + weights + adapters + gradients + optimizer + activations + work; }
};

// Learned from short passes, forward and back, of the adapted model (two lengths, four ways of keeping activations), whatever family and method it is.
class MemoryModel {
 public:
  // `accumulates`: gradients of earlier micro-batches are there while activations grow.
  MemoryModel(Adapted& adapted, const std::string& optimizer, bool accumulates);

  // Of a step whose largest micro-batch has so many tokens (virtual ones included) and supervised tokens.
  StepMemory of(int64_t tokens, int64_t supervised, const Recomputed& recomputed) const;
  // The least recomputation that keeps a step within `limit` bytes in all; nullopt: nothing does.
  std::optional<Recomputed> fitting(int64_t tokens, int64_t supervised, int64_t limit) const;
  // The least recomputation of MLPs, in `most` layers at most, that keeps activations within `limit`; `most` where that is not enough.
  Recomputed with_activations_within(int64_t tokens, int64_t limit, int64_t most) const;
  int64_t layers() const { return layers_; }

 private:
  double kept(int64_t tokens, const Recomputed& recomputed) const;

  int64_t layers_;
  Tensor head_;
  StepMemory fixed_;
  int64_t early_gradients_ = 0;        // those that are there before activations go
  double fixed_kept_ = 0, kept_[4]{};  // bytes of any step; bytes a token: outputs, MLPs too, blocks, nothing computed again
  double work_[4]{};                   // bytes a token in the backward pass
};

// Without a limit by the user: what norms and gated units put out is kept where a step is small. Where activations would take more than
// the base's weights (and 512 MiB), MLPs of up to a third of the layers are computed again, which costs a few hundredths of a step; in more
// layers only where a quarter of the machine's memory would not do otherwise.
RecomputeRule usual_recomputation(Adapted& adapted);

}  // namespace graft
