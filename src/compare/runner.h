// Carrying out a plan: learning-rate search on dev, final runs on test, costs, report. Only what is missing is done.
#pragma once
#include "compare/plan.h"

namespace graft {

struct CompareOptions {
  bool dry_run = false;       // print the table of runs, do nothing
  bool retry_failed = false;  // run failed and diverged runs again
  int64_t threads = 0;        // CPU threads in all; 0: all cores
  int64_t shard = 1, shards = 1;  // carry out every shards-th method only, for job arrays; the report needs all of them
};

// Fills `out` and writes the report. Throws as the library does; a failing run is recorded, not thrown.
void run_comparison(const std::filesystem::path& plan_file, const std::filesystem::path& out, const CompareOptions& options);

}  // namespace graft
