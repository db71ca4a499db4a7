// Optimizers over a method's parameters, clipping, learning-rate schedules.
#pragma once
#include <string>
#include <vector>

#include "core/config.h"
#include "methods/method.h"

namespace graft {

struct OptimConfig : Config {
  std::optional<double> learning_rate;  // unset: the method's default
  std::string optimizer = "adamw", schedule = "linear", warmup = "0";
  double weight_decay = 0, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, clip = 1, label_smoothing = 0;
  void visit(Fields& f) override;
};

// Factor of the learning rate at step s (from 0) of S with w warm-up steps: (s + 1) / w while s < w, then 1 (constant), a
// line to 0 at S, or half a cosine to 0 at S.
double schedule_factor(const std::string& schedule, int64_t step, int64_t steps, int64_t warmup);
// "100" steps, or "0.1" of all steps. Throws Fault::Usage.
int64_t warmup_steps(const std::string& text, int64_t steps);

class Optimizer {
 public:
  // Holds handles of the parameters; their gradients are read by `step`.
  Optimizer(std::vector<Param> params, const OptimConfig& config);

  // The norm of all gradients together, a scalar where they lie: reading it is left to the caller.
  at::Tensor gradient_norm() const;
  // Where that norm is above `limit` (0: never), the next step scales the gradients so that it is `limit`.
  void clip(double norm, double limit);
  // Updates the parameters that have a gradient; the others and their moments stay as they are. One that requires no gradient any
  // more loses its moments. Clipped gradients are left clipped.
  void step(double learning_rate);
  void clear_gradients();

  // Everything that must be saved to go on bit for bit: parameters, moments, the step count.
  NamedTensors state() const;
  void load_state(const NamedTensors& tensors, const std::string& source);

 private:
  // Parameters that share what may differ between them.
  struct Group {
    double lr_factor, weight_decay;
    std::vector<size_t> members;  // of params_ and moments_
  };
  struct Moments {
    at::Tensor first, second, steps;  // undefined before the first update
  };
  void begin_moments(size_t i);
  void sgd(const Group& group, double learning_rate);
  void adamw(const Group& group, double learning_rate);
  std::vector<Param> params_;
  std::vector<Moments> moments_;  // of each parameter
  std::vector<Group> groups_;
  OptimConfig config_;
  double gradient_factor_ = 1;  // of clipping, for the next step
};

}  // namespace graft
