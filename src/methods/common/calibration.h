// A pass over training data before the first step, for methods whose start depends on it. Nothing of the base changes, and no
// more than a few layers' worth of memory is taken at a time.
#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "methods/common/targets.h"
#include "methods/method.h"
#include "model/batch.h"

namespace graft {

// The data, as who attaches a method gives them. Nothing is called unless a method asks.
struct Calibration {
  std::function<std::vector<Batch>(int64_t step)> batches = {};  // of the run's step counted from 0; the same at every call
  std::function<std::string()> id = {};                          // names model, data and their order: the same id, the same result
  std::filesystem::path folder = {};                             // where results are kept for later runs with this id; empty: nowhere
  bool shapes_only = false;  // for checks before a run: starts have the right shapes, their values do not matter
  bool quiet = false;        // no progress bar
};

// What a method named `tag` reads; Fault::Usage where there are no data.
const Calibration& training_data(const AttachContext& context, const char* tag);

// The batches that hold the first `rows` rows.
std::vector<Batch> first_batches(const Calibration& calibration, int64_t rows);

// The result that is kept for this method and these options, or else what `compute` gives, which is kept from then on.
NamedTensors kept_result(const Calibration& calibration, const std::string& tag, const Json& options,
                         const std::function<NamedTensors()>& compute);

// Runs the base over a batch, without gradients; `see` gets every target's input, [tokens, in] in the base's dtype.
void visit_inputs(const Model& model, const std::vector<Target>& targets, const Batch& batch,
                  const std::function<void(size_t target, const Tensor& input)>& see);
// For every target the first one that has the same input: q, k and v, gate and up.
std::vector<size_t> equal_inputs(const Model& model, const std::vector<Target>& targets, const Batch& batch);

// Ranges [begin, end) of things that take so many bytes each, as many together as stay below a gibibyte.
std::vector<std::pair<size_t, size_t>> groups_within_memory(const std::vector<int64_t>& bytes);

// For every target the mean over the batches of ∂(mean loss of the batch) / ∂W, [out, in] float32 (float64 for a float64 model).
// Group by group: each runs all batches again.
void visit_weight_gradients(Model& model, const std::vector<Target>& targets, const std::vector<Batch>& batches, bool quiet,
                            const std::function<void(size_t target, const Tensor& gradient)>& see);

}  // namespace graft
