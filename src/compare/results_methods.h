// What the runs of one method say apart from its scores: costs, forgetting, tuning, loss curve, lost runs.
#pragma once
#include <string>
#include <vector>

#include "compare/results_read.h"

namespace graft {

// The method's entry in results.json (results.h), its `metrics` still empty. `method` is its entry in comparison.json, `index`
// its place there, `tuned_by` the metric whose dev score picked the learning rate.
Json method_json(const Json& method, const std::string& label, size_t index, const std::vector<Run>& all, const Json& setup,
                 const std::string& tuned_by);

}  // namespace graft
