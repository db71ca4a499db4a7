#include "train/trainer.h"

#include <chrono>
#include <cmath>
#include <numeric>

#include "core/check.h"
#include "core/device.h"
#include "core/files.h"
#include "core/log.h"
#include "core/system.h"
#include "core/rng.h"
#include "core/torch.h"
#include "kernels/dropout.h"

namespace graft {
namespace fs = std::filesystem;
namespace {

const std::string kMethodState = "method.";  // names of what a method keeps, among the optimizer's

// Losses and a norm as numbers: the one place of a step that waits for a GPU. It stands in front of the update, so that nothing has
// changed when one of them is not finite; the next step is laid out while the GPU still updates.
std::vector<double> read_numbers(std::vector<Tensor> scalars) {
  for (auto& scalar : scalars) scalar = scalar.to(scalars[0].device(), at::kDouble);
  const Tensor numbers = at::stack(scalars).to(at::kCPU);
  return {numbers.const_data_ptr<double>(), numbers.const_data_ptr<double>() + numbers.numel()};
}

OptimConfig with_rate(OptimConfig config, const MethodRow& row) {
  if (!config.learning_rate) config.learning_rate = row.learning_rate;
  return config;
}

bool can_be_recorded(Adapted& adapted) {
  const std::string why_not = why_not_recorded(adapted);
  if (!why_not.empty()) log_info("passes are not recorded: {}", why_not);
  return why_not.empty();
}

}  // namespace

Sharing training_sharing(Adapted& adapted) {
  const Sharing sharing = sharing_of(adapted.model, adapted.sites);
  return sharing.allowed && sharing.in_place && !draws(adapted) ? sharing : Sharing{};
}

Json StepRecord::to_json() const {
  return {{"step", step}, {"loss", loss}, {"grad_norm", grad_norm}, {"lr", lr}, {"tokens", tokens}, {"supervised", supervised},
          {"seconds", seconds}, {"tokens_per_second", tokens_per_second}, {"peak_memory", peak_memory}};
}

Trainer::Trainer(Adapted& adapted, const OptimConfig& config, int64_t steps, uint64_t seed, RecomputeRule recompute, bool recorded)
    : adapted_(adapted), config_(with_rate(config, *adapted.row)), optimizer_(adapted.method->params(), config_), steps_(steps), warmup_(warmup_steps(config.warmup, steps)),
      seed_(seed), recompute_(std::move(recompute)), gradients_(adapted, config.label_smoothing, recorded && can_be_recorded(adapted)) {
  adapted.method->start_training(steps);
  if (!recorded) sharing_ = training_sharing(adapted);  // what rows share is another tree in every step
}

double Trainer::learning_rate(int64_t step) const {
  return *config_.learning_rate * schedule_factor(config_.schedule, step, steps_, warmup_);
}

StepRecord Trainer::step(const std::vector<Batch>& micro_batches) {
  const auto start = std::chrono::steady_clock::now();
  StepRecord record;
  record.step = done_ + 1;
  record.lr = learning_rate(done_);
  for (auto& batch : micro_batches) {
    record.tokens += batch.tokens();
    record.supervised += batch.supervised();
  }
  if (record.supervised == 0) input_error("train", fmt::format("step {} has no supervised token", record.step), "check --max-length and the data's completions");
  kernels::seed_dropout(mix_seed(seed_, "dropout " + std::to_string(done_)));
  const TrainingMode mode(adapted_.sites);
  std::vector<Batch> batches;
  for (auto& batch : micro_batches)
    if (batch.supervised() > 0) batches.push_back(share_beginnings(batch, sharing_));
  std::vector<Recomputed> recomputed;  // decided before there are gradients: the rule may look at the model
  for (auto& batch : batches) recomputed.push_back(recompute_ ? recompute_(batch) : Recomputed{});
  std::vector<Tensor> scalars;
  for (size_t i = 0; i < batches.size(); ++i) scalars.push_back(gradients_.add(batches[i], recomputed[i], record.supervised, batches.size() == 1));
  if (const Tensor extra = adapted_.method->extra_loss(); extra.defined()) extra.backward();
  adapted_.method->adjust_gradients();
  scalars.push_back(optimizer_.gradient_norm());
  const std::vector<double> numbers = read_numbers(std::move(scalars));
  record.loss = std::accumulate(numbers.begin(), numbers.end() - 1, 0.0) / static_cast<double>(record.supervised);
  record.grad_norm = numbers.back();
  if (!std::isfinite(record.loss) || !std::isfinite(record.grad_norm)) {
    optimizer_.clear_gradients();
    fail(Fault::Diverged, "train",
         fmt::format("step {}: the loss is {} and the gradients' norm {} at a learning rate of {:.3g}", record.step, record.loss, record.grad_norm, record.lr),
         "try a smaller --lr, --warmup or --clip; the last checkpoint is as it was");
  }
  optimizer_.clip(record.grad_norm, config_.clip);
  optimizer_.step(record.lr);
  adapted_.method->after_step(done_ + 1);
  optimizer_.clear_gradients();
  ++done_;
  record.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  record.tokens_per_second = static_cast<double>(record.tokens) / record.seconds;
  record.peak_memory = peak_memory(adapted_.model.device());
  return record;
}

void Trainer::save_state(const fs::path& folder) const {
  NamedTensors tensors = optimizer_.state();
  for (auto& [name, value] : adapted_.method->state()) tensors.emplace_back(kMethodState + name, value);
  save_safetensors(folder / "trainer_state.safetensors", tensors);
  write_json(folder / "trainer_state.json", {{"step", done_}, {"steps", steps_}, {"seed", seed_}});
}

void Trainer::load_state(const fs::path& folder) {
  const Json json = read_json(folder / "trainer_state.json");
  const SafetensorsFile file(folder / "trainer_state.safetensors");
  NamedTensors tensors, method_state;
  for (auto& [name, info] : file.tensors())
    if (name.starts_with(kMethodState)) method_state.emplace_back(name.substr(kMethodState.size()), file.tensor(name));
    else tensors.emplace_back(name, file.tensor(name));
  if (json.value("seed", uint64_t{0}) != seed_)
    usage_error("resume", fmt::format("{} was made with seed {}, but this run has {}", folder.string(), json.value("seed", uint64_t{0}), seed_), "use the same --seed or a fresh --out");
  if (json.value("steps", int64_t{0}) != steps_)
    usage_error("resume", fmt::format("{} belongs to a run of {} steps, but this run has {}", folder.string(), json.value("steps", int64_t{0}), steps_),
                "the schedule depends on it: use the same duration or a fresh --out");
  optimizer_.load_state(tensors, file.path().string());
  adapted_.method->load_state(method_state, file.path().string());
  done_ = json.at("step").get<int64_t>();
}

}  // namespace graft
