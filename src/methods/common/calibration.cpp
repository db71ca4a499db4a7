#include "methods/common/calibration.h"

#include <map>
#include <mutex>

#include "core/check.h"
#include "core/files.h"
#include "core/progress.h"
#include "core/rng.h"
#include "core/signals.h"
#include "core/torch.h"
#include "kernels/linear.h"
#include "methods/common/base_params.h"
#include "model/decoder.h"

namespace graft {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kMostBytes = int64_t{1} << 30;

// A linear as it is, seen by somebody.
struct InputProbe : WeightEdit {
  std::function<void(const Tensor&)> see;
  Tensor linear(const Linear& base, const Tensor& x, bool) const override {
    see(x);
    return kernels::linear(x, base.weight, base.bias);
  }
  std::optional<Linear> merged(const Linear& base) const override { return base; }
};

// The target's weight as a trained copy while the object lives.
struct TrainedForAWhile {
  explicit TrainedForAWhile(Linear& l) : linear(l), kept(l.weight) { trained_copy(linear.weight); }
  ~TrainedForAWhile() { linear.weight = kept; }
  TrainedForAWhile(const TrainedForAWhile&) = delete;
  TrainedForAWhile& operator=(const TrainedForAWhile&) = delete;
  Linear& linear;
  Tensor kept;
};

}  // namespace

const Calibration& training_data(const AttachContext& context, const char* tag) {
  if (!context.calibration)
    usage_error(tag, "the start of this method depends on training data, and there are none here",
                "use it in graft train or graft compare");
  return *context.calibration;
}

std::vector<Batch> first_batches(const Calibration& calibration, int64_t rows) {
  std::vector<Batch> batches;
  for (int64_t step = 0, found = 0; found < rows; ++step)
    for (auto& batch : calibration.batches(step)) {
      if (found >= rows) break;
      found += batch.documents();
      batches.push_back(std::move(batch));
    }
  return batches;
}

NamedTensors kept_result(const Calibration& calibration, const std::string& tag, const Json& options,
                         const std::function<NamedTensors()>& compute) {
  if (calibration.folder.empty()) return compute();
  static std::mutex one_at_a_time;  // runs side by side want the same one
  const std::lock_guard lock(one_at_a_time);
  const Json identity{{"version", 1}, {"method", tag}, {"id", calibration.id()}, {"options", options}};
  const fs::path file = calibration.folder / fmt::format("{}-{:016x}.safetensors", tag, hash_bytes(identity.dump()));
  NamedTensors tensors;
  if (fs::exists(file)) {
    const SafetensorsFile kept(file);
    for (auto& [name, info] : kept.tensors()) tensors.emplace_back(name, kept.tensor(name).clone());
    return tensors;
  }
  tensors = compute();
  make_folder(calibration.folder);
  save_safetensors(file, tensors);
  return tensors;
}

void visit_inputs(const Model& model, const std::vector<Target>& targets, const Batch& batch,
                  const std::function<void(size_t, const Tensor&)>& see) {
  at::NoGradGuard no_grad;
  Sites probes(model.layers());
  std::optional<size_t> head;
  for (size_t i = 0; i < targets.size(); ++i) {
    if (targets[i].site == Site::Head) {
      head = i;
      continue;
    }
    auto probe = std::make_shared<InputProbe>();
    probe->see = [&see, i](const Tensor& x) { see(i, x); };
    probes.put(targets[i].site, targets[i].layer, std::shared_ptr<WeightEdit>(probe));
  }
  const Tensor hidden = hidden_states(model, probes, lay_out(model, probes, batch));
  if (head) see(*head, hidden);  // without its product, which has the vocabulary's width
}

std::vector<size_t> equal_inputs(const Model& model, const std::vector<Target>& targets, const Batch& batch) {
  std::vector<size_t> first(targets.size());
  std::vector<std::pair<size_t, Tensor>> of_this_layer;
  visit_inputs(model, targets, batch, [&](size_t i, const Tensor& x) {
    if (!of_this_layer.empty() && targets[of_this_layer[0].first].layer != targets[i].layer) of_this_layer.clear();
    first[i] = i;
    for (auto& [other, seen] : of_this_layer)
      if (seen.sizes() == x.sizes() && at::equal(seen, x)) {
        first[i] = first[other];
        return;
      }
    of_this_layer.emplace_back(i, x);
  });
  std::map<size_t, size_t> lowest;  // modules may run in another order than they stand in
  for (size_t i = 0; i < first.size(); ++i) first[i] = lowest.try_emplace(first[i], i).first->second;
  return first;
}

std::vector<std::pair<size_t, size_t>> groups_within_memory(const std::vector<int64_t>& bytes) {
  std::vector<std::pair<size_t, size_t>> groups;
  int64_t sum = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (groups.empty() || sum + bytes[i] > kMostBytes) {
      groups.emplace_back(i, i);
      sum = 0;
    }
    groups.back().second = i + 1;
    sum += bytes[i];
  }
  return groups;
}

void visit_weight_gradients(Model& model, const std::vector<Target>& targets, const std::vector<Batch>& batches, bool quiet,
                            const std::function<void(size_t, const Tensor&)>& see) {
  std::vector<int64_t> bytes;
  for (auto& t : targets) bytes.push_back(2 * 4 * t.linear->weight.numel());  // a copy and its gradient
  const auto groups = groups_within_memory(bytes);
  const Sites nothing(model.layers());
  Progress progress("gradients", static_cast<int64_t>(groups.size() * batches.size()), quiet);
  int64_t done = 0;
  for (auto& [begin, end] : groups) {
    std::vector<std::unique_ptr<TrainedForAWhile>> trained;
    for (size_t i = begin; i < end; ++i) trained.push_back(std::make_unique<TrainedForAWhile>(*targets[i].linear));
    for (auto& batch : batches) {
      const Tensor loss = loss_sum(model, nothing, batch, {0, Recomputed::kAll});
      (loss / static_cast<double>(batch.supervised() * static_cast<int64_t>(batches.size()))).backward();
      progress.update(++done);
      if (const int signal = pending_signal()) throw Stopped(signal);
    }
    at::NoGradGuard no_grad;
    for (size_t i = begin; i < end; ++i) {
      Tensor& gradient = targets[i].linear->weight.mutable_grad();
      CHECK_THAT(gradient.defined(), "{} got no gradient", targets[i].linear->path);
      see(i, gradient);
      gradient.reset();
    }
  }
  progress.finish();
}

}  // namespace graft
