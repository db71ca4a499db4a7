#include "compare/course.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace graft {

Course::Course(std::vector<double> grid, std::vector<double> rungs, std::vector<int64_t> seeds)
    : grid_(std::move(grid)), rungs_(std::move(rungs)), seeds_(std::move(seeds)) {
  begin_rung(Part::Grid, 0, grid_);
}

void Course::begin(std::vector<CourseRun> runs) {
  runs_ = runs;
  stages_.push_back(std::move(runs));
}

void Course::begin_rung(Part part, size_t rung, const std::vector<double>& rates) {
  part_ = part;
  rung_ = rung;
  std::vector<CourseRun> runs;
  for (const double lr : rates) runs.push_back({false, lr, rungs_[rung], 0});
  begin(std::move(runs));
}

void Course::begin_final() {
  part_ = Part::Final;
  std::vector<CourseRun> runs;
  for (const int64_t seed : seeds_) runs.push_back({true, best_rate_, 1, seed});
  begin(std::move(runs));
}

double Course::budgets_ahead() const {
  double budgets = part_ == Part::Grid || part_ == Part::Beyond ? static_cast<double>(seeds_.size()) : 0;
  if (part_ != Part::Grid) return budgets;
  size_t alive = runs_.size();
  for (size_t r = rung_ + 1; r < rungs_.size(); ++r) {
    alive = (alive + 1) / 2;
    budgets += static_cast<double>(alive) * (rungs_[r] - rungs_[r - 1]);
  }
  return budgets;
}

void Course::advance(const std::vector<double>& scores) {
  if (part_ == Part::Final || part_ == Part::Over) {
    part_ = Part::Over;
    return begin({});
  }
  std::vector<std::pair<double, double>> scored;
  for (size_t i = 0; i < runs_.size(); ++i) scored.emplace_back(scores[i], runs_[i].lr);
  std::stable_sort(scored.begin(), scored.end(), [](auto& a, auto& b) { return a.first != b.first ? a.first > b.first : a.second < b.second; });
  const bool beyond = part_ == Part::Beyond;
  if (rung_ + 1 < rungs_.size()) {
    // One rule for all: the better half goes on.
    scored.resize(!beyond ? (scored.size() + 1) / 2 : scored[0].first > least_[rung_] ? 1 : 0);
    if (scored.empty()) return begin_final();
    if (!beyond) least_.push_back(scored.back().first);
    std::vector<double> rates;
    for (auto& [score, lr] : scored) rates.push_back(lr);
    return begin_rung(part_, rung_ + 1, rates);
  }
  if (!beyond || scored[0].first > best_score_) std::tie(best_score_, best_rate_) = scored[0];
  const bool at_edge = best_rate_ == grid_.front() || best_rate_ == grid_.back();
  if (beyond || grid_.size() == 1 || !at_edge) return begin_final();
  const double inner = best_rate_ == grid_.front() ? grid_[1] : grid_[grid_.size() - 2];
  begin_rung(Part::Beyond, 0, {best_rate_ * best_rate_ / inner});
}

}  // namespace graft
