// The checks that every family × method must pass. Each returns what is wrong, in words; empty means that it holds.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "model/decoder.h"
#include "support/cases.h"

namespace graft::testing {

using Problems = std::vector<std::string>;

// Attaches the case with seed 1; nullopt where the method says that a model without biases has nothing for it to train. With `noise` random values of that
// size are added, so that what starts as the identity is none.
std::optional<Adapted> attached(const Model& base, const Case& c, double noise = 0);

// Attaches the case with seed 1 and training data, for methods whose start depends on them.
Adapted attach_case(const Model& base, const Case& c, std::unique_ptr<Method> method, uint64_t seed = 1);
inline Adapted attach_case(const Model& base, const Case& c) { return attach_case(base, c, c.make()); }

// The one table of tolerances: largest difference relative to the larger of 1 and the reference's largest value.
double tolerance(at::ScalarType dtype);

Problems check_sites_visited(const Model& model);
Problems check_identity(const Model& model, const Case& c);
Problems check_every_tensor_matters(const Model& model, const Case& c);
Problems check_gradients(const Model& model, const Case& c);       // against central differences, float64
Problems check_base_untouched(const Model& model, const Case& c);
Problems check_merge(const Model& model, const Case& c);
Problems check_file(const Model& model, const Case& c);
Problems check_fused(const Model& model, const Case& c);           // against composed twins, values and gradients
Problems check_half_precision(const Model& model, const Case& c);  // a bfloat16 base under float32 parameters
Problems check_checkpointing(const Model& model, const Case& c);
Problems check_stored_short(const Model& model, const Case& c);    // matrices kept as bf16, calculated in float32

}  // namespace graft::testing
