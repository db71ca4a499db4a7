// A comparison's plan: what is compared on which data, with which budget. PLAN.yaml in the words of docs/comparison.md.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "data/config.h"
#include "eval/generate.h"
#include "optim/optimizer.h"

namespace graft {

// One method of the plan with its options; the label names its folder and its row in the report.
struct PlannedMethod {
  std::string name, label;
  Json options = Json::object();
  std::vector<double> learning_rates;  // own grid; empty: the plan's
  std::vector<double> grid;            // resolved, ascending
};

struct Plan {
  std::string title;
  std::filesystem::path model, train, dev, test, forgetting;  // dev: the learning-rate search; test: the result
  int64_t train_rows = 0, dev_rows = 0, test_rows = 0;         // use only the first so many rows; 0: all
  std::vector<std::string> metrics;                            // the first one ranks
  std::string tuning_metric;                                   // scores the search on dev; default: the first metric
  std::vector<PlannedMethod> methods;
  std::string budget_kind = "epochs";                          // steps, epochs or tokens
  double budget = 3;
  int64_t trials = 5;
  std::vector<double> learning_rates;                          // empty: automatic
  std::vector<double> rungs{1.0};                              // shares of the budget, ascending, the last is 1
  std::vector<int64_t> seeds{1, 2, 3};
  int64_t workers = 0;                                         // runs side by side; 0: by the model's size
  DataConfig data;
  OptimConfig optim;
  GenerateConfig generation;
};

// Reads and checks a plan; relative paths are relative to the plan's folder. Unknown keys, wrong types, unknown methods, missing
// files: Fault::Usage or Fault::Input before any work.
Plan read_plan(const std::filesystem::path& file);
// Everything that was decided, as plan.resolved.yaml shows it.
Json resolved(const Plan& plan);

// Grid of `trials` learning rates around the method's default, a factor of 3 apart. The default is meant for a model about 1000
// wide; for other widths it is scaled by 1000 / width (arXiv 2203.03466), at most 16-fold.
std::vector<double> automatic_grid(double default_rate, int64_t width, int64_t trials);

}  // namespace graft
