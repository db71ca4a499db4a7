#include "train/memory.h"

#include <cmath>
#include <memory>
#include <set>
#include <utility>

#include "core/check.h"
#include "core/heap.h"
#include "core/mapped_file.h"
#include "core/rng.h"
#include "core/system.h"
#include "core/torch.h"
#include "data/examples.h"
#include "kernels/cross_entropy.h"
#include "model/decoder.h"

namespace graft {
namespace {

constexpr int64_t kShort = 32, kLong = 128;  // tokens of the passes that are measured: neither is filled up for a product
constexpr int64_t kLibraries = int64_t{56} << 20;  // what they keep beside tensors for the shapes of real steps, oneDNN's code above all
constexpr int64_t kUsualActivations = int64_t{512} << 20;
constexpr int64_t kLittle = int64_t{128} << 20;  // of all that a step could keep: not worth computing anything again

// Of what is given up after use the largest is there at a time.
int64_t weight_bytes(const Model& model, bool given_up) {
  Model copy = model;
  int64_t bytes = 0, largest = 0;
  std::set<const void*> seen;
  visit_weights(copy, [&](const std::string&, Tensor& handle, const std::vector<int64_t>&, bool) {
    if (handle.defined() && !handle.requires_grad() && seen.insert(handle.const_data_ptr()).second) {
      bytes += static_cast<int64_t>(handle.nbytes());
      largest = std::max(largest, static_cast<int64_t>(handle.nbytes()));
    }
  });
  return given_up ? largest : bytes;
}

Batch any_tokens(const Model& model, int64_t count) {
  Rng rng(1);
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(static_cast<int64_t>(rng.below(static_cast<uint64_t>(model.config.vocab_size))));
  Batch batch;
  append_document(batch, ids, 1);
  return batch;
}

struct Measured {
  double kept, work;  // bytes: alive between the passes; beyond that in the backward pass
};

Measured measure(Adapted& adapted, int64_t tokens, const Recomputed& recomputed) {
  const Batch batch = any_tokens(adapted.model, tokens);
  const int64_t before = heap_use().now;
  Tensor loss = loss_sum(adapted.model, adapted.sites, batch, recomputed);
  const int64_t between = heap_use().now;
  reset_heap_peak();
  if (loss.requires_grad()) loss.backward();
  const int64_t peak = heap_use().peak;
  for (auto& p : adapted.method->params()) p.value.mutable_grad().reset();
  return {static_cast<double>(between - before), static_cast<double>(std::max<int64_t>(0, peak - between))};
}

}  // namespace

MemoryModel::MemoryModel(Adapted& adapted, const std::string& optimizer, bool accumulates) : layers_(adapted.model.layers()), head_(adapted.model.head_linear().weight) {
  if (adapted.model.device().is_cuda())
    usage_error("memory", "what a step takes is known for a CPU only", "leave --max-memory and --dry-run out; --gradient-checkpointing needs less on a GPU too");
  for (auto& p : adapted.method->params()) {
    const auto bytes = static_cast<int64_t>(p.value.nbytes());
    fixed_.adapters += bytes;
    if (accumulates || p.value.is_same(head_)) early_gradients_ += bytes;
  }
  fixed_.gradients = fixed_.adapters;
  fixed_.optimizer = optimizer == "adamw" ? 2 * fixed_.adapters : 0;
  fixed_.weights = weight_bytes(adapted.model, lets_go_of_mapped_pages());
  const bool training = std::exchange(adapted.sites.training, true);
  const Recomputed variants[4] = {{}, {Recomputed::kAll, 0}, {0, Recomputed::kAll}, {.outputs = false}};
  for (int i = 0; i < 4; ++i) {
    const Measured few = measure(adapted, kShort, variants[i]), many = measure(adapted, kLong, variants[i]);
    kept_[i] = (many.kept - few.kept) / (kLong - kShort);
    work_[i] = std::max(0.0, (many.work - few.work) / (kLong - kShort));
    if (i == 0) fixed_kept_ = std::max(0.0, few.kept - kept_[0] * kShort);
  }
  adapted.sites.training = training;
  release_free_heap();
  fixed_.program = kLibraries + std::max<int64_t>(0, resident_memory() - (lets_go_of_mapped_pages() ? 0 : fixed_.weights) - fixed_.adapters);
}

double MemoryModel::kept(int64_t tokens, const Recomputed& recomputed) const {
  if (!recomputed.outputs) return fixed_kept_ + static_cast<double>(tokens) * kept_[3];
  const double all = static_cast<double>(layers_), blocks = static_cast<double>(std::min(recomputed.blocks, layers_)) / all;
  const double mlps = std::max(0.0, static_cast<double>(std::min(recomputed.mlps, layers_)) / all - blocks);
  return fixed_kept_ + static_cast<double>(tokens) * (kept_[2] * blocks + kept_[1] * mlps + kept_[0] * (1 - blocks - mlps));
}

StepMemory MemoryModel::of(int64_t tokens, int64_t supervised, const Recomputed& recomputed) const {
  StepMemory m = fixed_;
  m.activations = std::llround(kept(tokens, recomputed));
  m.gradients = std::max(early_gradients_, fixed_.gradients - m.activations);
  const double backward = static_cast<double>(tokens) * (!recomputed.outputs ? work_[3] : recomputed.blocks > 0 ? work_[2] : recomputed.mlps > 0 ? work_[1] : work_[0]);
  m.work = std::max<int64_t>(std::llround(backward), kernels::linear_cross_entropy_bytes(supervised, head_, recomputed.blocks > 0 ? kernels::kSmallChunk : 0));
  return m;
}

std::optional<Recomputed> MemoryModel::fitting(int64_t tokens, int64_t supervised, int64_t limit) const {
  const auto fits = [&](const Recomputed& r) { return of(tokens, supervised, r).total() <= limit; };
  for (int64_t n = 0; n <= layers_; ++n)
    if (fits({n, 0})) return Recomputed{n, 0};
  for (int64_t n = 1; n <= layers_; ++n)
    if (fits({layers_, n})) return Recomputed{layers_, n};
  return std::nullopt;
}

Recomputed MemoryModel::with_activations_within(int64_t tokens, int64_t limit, int64_t most) const {
  int64_t n = 0;
  while (n < most && kept(tokens, {n, 0}) > static_cast<double>(limit)) ++n;
  return {n, 0};
}

RecomputeRule usual_recomputation(Adapted& adapted) {
  if (adapted.model.device().is_cuda()) return {};  // its memory is not the heap that is measured here
  const int64_t limit = std::max(kUsualActivations, weight_bytes(adapted.model, false));
  const auto& c = adapted.model.config;
  // Far more than any block keeps: short batches of small models need no closer look.
  const double most = 4.0 * static_cast<double>(adapted.model.layers()) * static_cast<double>(24 * c.width + 12 * c.heads * c.head_dim + 8 * c.mlp_width);
  auto model = std::make_shared<std::optional<MemoryModel>>();
  return [&adapted, limit, most, model](const Batch& batch) {
    const int64_t tokens = batch.rows(adapted.sites.input_row_count());
    const double kept = most * static_cast<double>(tokens);
    if (kept < static_cast<double>(limit)) return Recomputed{.outputs = kept > static_cast<double>(kLittle)};
    if (!*model) model->emplace(adapted, "adamw", false);
    const int64_t layers = (*model)->layers();
    const int64_t usual = (*model)->with_activations_within(tokens, limit, layers / 3).mlps;
    return Recomputed{std::max(usual, (*model)->with_activations_within(tokens, total_memory() / 4, layers).mlps), 0};
  };
}

}  // namespace graft
