// The course of one method through a comparison: learning rates by successive halving, one step beyond the grid's edge where the best
// rate lies there, then the final runs. Each stage follows from the scores of the one before it, and from nothing of other methods.
#pragma once
#include <cstdint>
#include <vector>

namespace graft {

struct CourseRun {
  bool final = false;
  double lr = 0;
  double rung = 1;   // search: share of the budget
  int64_t seed = 0;  // final runs
};

class Course {
 public:
  // grid: ascending learning rates; rungs: ascending shares that end with 1.
  Course(std::vector<double> grid, std::vector<double> rungs, std::vector<int64_t> seeds);

  // The runs of the stage that is due; empty at the end.
  const std::vector<CourseRun>& runs() const { return runs_; }
  // Scores of those runs, higher is better, −infinity for a run without one (ignored for final runs): on to the next stage.
  void advance(const std::vector<double>& scores);

  bool widening() const { return stage_ == static_cast<int64_t>(rungs_.size()); }
  // What the stages that have not begun will take, in budgets, unless the grid gets wider.
  double budgets_ahead() const;
  // All runs of stages begun so far, the search's one after the other.
  const std::vector<std::vector<CourseRun>>& stages() const { return stages_; }

 private:
  void begin(std::vector<CourseRun> runs);

  std::vector<double> grid_, rungs_;
  std::vector<int64_t> seeds_;
  int64_t stage_ = 0;  // a rung; one more: the wider grid; two more: final runs
  double best_score_ = 0, best_rate_ = 0;
  std::vector<CourseRun> runs_;
  std::vector<std::vector<CourseRun>> stages_;
};

}  // namespace graft
