// What the conformance test runs: a tiny model of every family, and the options with which each method is tried on it.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "methods/method.h"
#include "model/batch.h"

namespace graft::testing {

// A tiny configuration of a family; families that lack one have no entry, and the coverage test fails.
Json tiny_config(const std::string& model_type);

// Three short documents of random tokens.
Batch tiny_batch(const Model& model);

// A method under test: the table's row and the options it runs with.
struct Case {
  const MethodRow* row = nullptr;
  std::string label;
  Json options = Json::object();
  bool few = false;  // an option of which a few families tell enough
  bool training = false;  // what training draws is checked too: the same numbers in every pass
  std::unique_ptr<Method> make() const;
};
// At least one case for every row of the table, more for options that change the maths.
std::vector<Case> method_cases();

}  // namespace graft::testing
