// What all runs of a comparison share: the base in memory, the tokenised data, the plan.
#pragma once
#include <memory>

#include "compare/plan.h"
#include "data/order.h"
#include "methods/method.h"
#include "tokenizer/tokenizer.h"

namespace graft {

struct SharedInputs {
  Plan plan;
  Tokenizer tokenizer;
  Model base;
  std::vector<Example> train, dev, test, forgetting;
  std::string data_id;   // fingerprints of all data
  std::string model_id;  // hash of the base's config and weights' bytes
  std::filesystem::path calibration = {};  // where passes over training data before the first step are kept; empty: nowhere
};

// Loads model and data of the plan and resolves every method's grid. Tries to attach each method, so that an impossible option
// is an error now and not after an hour.
SharedInputs load_inputs(Plan plan);

}  // namespace graft
