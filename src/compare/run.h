// One run of a comparison: train, score, record.
#pragma once
#include <filesystem>

#include "compare/inputs.h"

namespace graft {

struct RunSpec {
  PlannedMethod method;
  std::string stage;   // "search" or "final"
  int64_t seed = 0;
  double lr = 0;
  double rung = 1;     // search: share of the budget that is run
  int64_t steps = 0;   // of the whole budget
  std::filesystem::path folder;
};

// The part of a run's identity that is not in its folder's name: the hash of everything that its result depends on.
std::string run_hash(const SharedInputs& in, const RunSpec& spec);

// The recorded result if the folder holds one of this very run (null otherwise).
Json recorded_result(const SharedInputs& in, const RunSpec& spec);

// Carries the run out and writes result.json, metrics.jsonl, items.jsonl (final) and adapter/ (final). A failure is recorded
// with its reason; only Stopped is thrown. `costs` goes into the record of final runs.
Json carry_out(const SharedInputs& in, const RunSpec& spec, const Json& costs);

// A fresh model with the method attached, as every run of it begins.
Adapted adapted_for(const SharedInputs& in, const PlannedMethod& planned, int64_t seed);

int64_t budget_steps(const SharedInputs& in, int64_t seed);

}  // namespace graft
