#include "compare/costs.h"

#include <chrono>

#include "compare/run.h"
#include "compare/stats.h"
#include "core/system.h"
#include "core/torch.h"
#include "model/decoder.h"
#include "train/memory.h"

namespace graft {
namespace {

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Matrix products per token of one training step: 2 for the forward, 2 for the gradient of the activations, and 2 more for
// every trained weight; the head and the attention's products are counted, norms and activations are not.
double flops_per_token(const SharedInputs& in, const Adapted& adapted) {
  double linear = 0;
  Model base = in.base;
  visit_linears(base, [&](Site site, int64_t, Linear& l) {
    if (site != Site::Head) linear += static_cast<double>(l.weight.numel());
  });
  linear += static_cast<double>(in.base.config.vocab_size * in.base.config.embedding_width);
  double trained = 0;
  for (auto& p : adapted.method->params())
    if (p.value.dim() == 2) trained += static_cast<double>(p.value.numel());
  const bool base_trained = adapted.row->format == Format::ModelFolder;
  return 4 * linear + (base_trained ? 2 : 6) * trained;
}

}  // namespace

void sample_costs(const SharedInputs& in, const PlannedMethod& planned, CostSamples& samples) {
  constexpr int kWarm = 1, kTimed = 5, kInference = 3;
  Adapted adapted = adapted_for(in, planned, 1);
  OptimConfig optim = in.plan.optim;
  optim.learning_rate = 0;  // the cost of a step does not depend on it
  Trainer trainer(adapted, optim, kWarm + kTimed, 1, usual_recomputation(adapted));
  const DataOrder order(in.train, in.plan.data, 1);
  const int64_t before = resident_memory();
  const bool own_peak = reset_peak_memory();
  for (int i = 0; i < kWarm + kTimed; ++i) {
    const StepRecord step = trainer.step(order.batches(i));
    if (i < kWarm) continue;
    samples.seconds.push_back(step.seconds);
    samples.tokens_per_second.push_back(step.tokens_per_second);
  }
  samples.peak_memory = std::max({samples.peak_memory, peak_memory(), own_peak ? 0 : before});
  samples.flops_per_token = flops_per_token(in, adapted);
  // Inference: the same rows through the base and through the adapted model, taken in turns.
  std::vector<const Example*> rows;
  for (size_t i = 0; i < std::min<size_t>(16, in.test.size()); ++i) rows.push_back(&in.test[i]);
  const Batch batch = pack(rows);
  const Adapted plain = bare(in.base);
  for (int i = 0; i < kInference; ++i) {
    const double base = seconds_of([&] { token_losses(plain.model, plain.sites, batch); });
    const double with = seconds_of([&] { token_losses(adapted.model, adapted.sites, batch); });
    if (i > 0) samples.slowdown.push_back(with / base);
  }
}

Json costs_of(const CostSamples& samples) {
  return {{"seconds_per_step", median_of(samples.seconds)},
          {"tokens_per_second", median_of(samples.tokens_per_second)},
          {"peak_memory", samples.peak_memory},
          {"flops_per_token", samples.flops_per_token},
          {"inference_slowdown", median_of(samples.slowdown)}};
}

}  // namespace graft
