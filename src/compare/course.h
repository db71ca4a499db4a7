// The course of one method through a comparison: learning rates by successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943), one
// step beyond the grid's edge where the best rate lies there, then the final runs. Each stage follows from the scores of those before it,
// and from nothing of other methods.
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

  // Whether the stage that is due is of a rate beyond the grid. It goes on from a rung as if it had been in the grid from the beginning: if
  // it is better than the worst that went on from there.
  bool widening() const { return part_ == Part::Beyond; }
  // What the stages that have not begun will take, in budgets, unless the grid gets wider or the rate beyond it goes on.
  double budgets_ahead() const;
  // All runs of stages begun so far, the search's one after the other.
  const std::vector<std::vector<CourseRun>>& stages() const { return stages_; }

 private:
  enum class Part { Grid, Beyond, Final, Over };

  void begin(std::vector<CourseRun> runs);
  void begin_rung(Part part, size_t rung, const std::vector<double>& rates);
  void begin_final();

  std::vector<double> grid_, rungs_;
  std::vector<int64_t> seeds_;
  Part part_ = Part::Grid;
  size_t rung_ = 0;            // of the search
  std::vector<double> least_;  // by rung: the score of the worst of the grid that went on
  double best_score_ = 0, best_rate_ = 0;
  std::vector<CourseRun> runs_;
  std::vector<std::vector<CourseRun>> stages_;
};

}  // namespace graft
