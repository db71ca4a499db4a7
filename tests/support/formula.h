// Weights that are computed instead of stored, so that golden files stay small: tools/golden/families.py has the same formulas.
#pragma once
#include "model/model.h"

namespace graft::testing {

// Numbers in [-1, 1) float64 from a tensor's name and an entry's index.
Tensor formula_values(const std::string& name, const std::vector<int64_t>& shape);

// Fills every weight at a scale where mistakes show.
void formula_weights(Model& model);

}  // namespace graft::testing
