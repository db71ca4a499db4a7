// Training: one optimizer step from a list of micro-batches, and the loop around it with metrics, checkpoints and resume.
#pragma once
#include <filesystem>
#include <functional>

#include "data/shared_prefixes.h"
#include "methods/method.h"
#include "model/pass.h"
#include "optim/optimizer.h"
#include "train/gradients.h"

namespace graft {

// One row of metrics.jsonl.
struct StepRecord {
  int64_t step = 0;           // counted from 1
  double loss = 0;            // sum of token losses, smoothed where labels are, / supervised tokens of the whole step
  double grad_norm = 0;       // before clipping
  double lr = 0;
  int64_t tokens = 0, supervised = 0;
  double seconds = 0, tokens_per_second = 0;
  int64_t peak_memory = 0;    // bytes: resident peak on the CPU, allocated peak on CUDA
  Json to_json() const;
};

// What is computed again for a micro-batch, so that its step fits into memory (train/memory.h). Never changes a number.
using RecomputeRule = std::function<Recomputed(const Batch&)>;

// What the documents of a training step may share. Nothing where each row draws numbers of its own (dropout): beginnings that are alike
// differ then. Nothing where attention would take further calls, whose slices and sums cost more than a few tokens do (GPUs, bfloat16, soft caps, ALiBi).
Sharing training_sharing(Adapted& adapted);

// Runs optimizer steps on an adapted model. What the documents of a micro-batch begin with is computed once where training_sharing allows it.
class Trainer {
 public:
  // `steps` is the planned total, which the schedule needs. `seed` drives dropout, step by step. `recorded`: passes are recorded where that can be
  // done (train/gradients.h); else it says why not.
  Trainer(Adapted& adapted, const OptimConfig& config, int64_t steps, uint64_t seed, RecomputeRule recompute = {}, bool recorded = false);

  // Gradients of all micro-batches add up, divided by the supervised tokens of the whole step; then clip and update.
  // A loss or gradient that is not finite throws Fault::Diverged before anything is changed.
  StepRecord step(const std::vector<Batch>& micro_batches);

  int64_t done() const { return done_; }
  int64_t recordings() const { return gradients_.recordings(); }
  double learning_rate(int64_t step) const;  // of a step counted from 0
  void save_state(const std::filesystem::path& folder) const;
  void load_state(const std::filesystem::path& folder);

 private:
  Adapted& adapted_;
  OptimConfig config_;
  Optimizer optimizer_;
  int64_t steps_, warmup_, done_ = 0;
  uint64_t seed_;
  RecomputeRule recompute_;
  Sharing sharing_;
  Gradients gradients_;
};

// What the loop around the steps needs from outside.
struct TrainJob {
  int64_t steps = 0;
  std::function<std::vector<Batch>(int64_t step)> batches;  // of a step counted from 0; the same at every call
  std::function<double()> evaluate;                         // mean loss on held-out data; may be empty
  std::filesystem::path out;                                // metrics.jsonl and checkpoints
  std::filesystem::path base_folder;                        // for checkpoints that are model folders
  int64_t eval_every = 0, save_every = 0, keep = 2;         // in steps; 0: never
  double save_seconds = 0;                                  // also save when so much time has passed; 0: never
  bool save_last = false;                                   // keep a checkpoint of the last step too, to train on later
  bool resume = false;
  bool quiet = false;                                       // no progress bar
  std::string title = "train";
};

struct TrainResult {
  int64_t steps = 0, tokens = 0, supervised = 0;
  double seconds = 0, last_loss = 0, seconds_per_step = 0;  // the median step
  int64_t peak_memory = 0;
};

// Trains to the end of the job. metrics.jsonl holds each step once, also after a resume. On a signal saves a checkpoint and
// throws Stopped.
TrainResult run_training(Adapted& adapted, Trainer& trainer, const TrainJob& job);

// The newest whole checkpoint below `out`, or an empty path.
std::filesystem::path newest_checkpoint(const std::filesystem::path& out);

}  // namespace graft
