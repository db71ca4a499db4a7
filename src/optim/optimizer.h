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
  double weight_decay = 0, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, clip = 1;
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

  // Scales all gradients so that their norm is at most `limit` (0: only measures). Returns the norm before.
  double clip(double limit);
  void step(double learning_rate);
  void clear_gradients();

  // Everything that must be saved to go on bit for bit: parameters, moments, the step count.
  NamedTensors state() const;
  void load_state(const NamedTensors& tensors, const std::string& source);

 private:
  struct Group {
    std::vector<at::Tensor> params, first, second, steps;
    double weight_decay = 0;
  };
  void adamw(Group& group, double learning_rate);
  std::vector<Param> params_;
  std::vector<Group> groups_;  // with and without weight decay
  OptimConfig config_;
};

}  // namespace graft
