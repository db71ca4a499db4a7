#include "compare/course.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace graft {

Course::Course(std::vector<double> grid, std::vector<double> rungs, std::vector<int64_t> seeds)
    : grid_(std::move(grid)), rungs_(std::move(rungs)), seeds_(std::move(seeds)) {
  std::vector<CourseRun> first;
  for (const double lr : grid_) first.push_back({false, lr, rungs_[0], 0});
  begin(std::move(first));
}

void Course::begin(std::vector<CourseRun> runs) {
  runs_ = runs;
  stages_.push_back(std::move(runs));
}

double Course::budgets_ahead() const {
  const auto rungs = static_cast<int64_t>(rungs_.size());
  double budgets = stage_ <= rungs ? static_cast<double>(seeds_.size()) : 0;
  size_t alive = grid_.size();
  for (int64_t r = 1; r < rungs; ++r) {
    alive = (alive + 1) / 2;
    if (r > stage_) budgets += static_cast<double>(alive) * (rungs_[r] - rungs_[r - 1]);
  }
  return budgets;
}

void Course::advance(const std::vector<double>& scores) {
  const auto rungs = static_cast<int64_t>(rungs_.size());
  std::vector<CourseRun> next;
  if (stage_ < rungs) {  // one rule for all: the better half goes on
    std::vector<std::pair<double, double>> scored;
    for (size_t i = 0; i < runs_.size(); ++i) scored.emplace_back(scores[i], runs_[i].lr);
    std::stable_sort(scored.begin(), scored.end(), [](auto& a, auto& b) { return a.first != b.first ? a.first > b.first : a.second < b.second; });
    std::tie(best_score_, best_rate_) = scored[0];
    if (stage_ + 1 < rungs) {
      scored.resize((scored.size() + 1) / 2);
      for (auto& [score, lr] : scored) next.push_back({false, lr, rungs_[stage_ + 1], 0});
    } else if (grid_.size() > 1 && (best_rate_ == grid_.front() || best_rate_ == grid_.back())) {
      const double inner = best_rate_ == grid_.front() ? grid_[1] : grid_[grid_.size() - 2];
      next.push_back({false, best_rate_ * best_rate_ / inner, 1, 0});
    }
  } else if (stage_ == rungs) {
    for (size_t i = 0; i < runs_.size(); ++i)
      if (scores[i] > best_score_) std::tie(best_score_, best_rate_) = std::pair(scores[i], runs_[i].lr);
  }
  ++stage_;
  if (stage_ == rungs && next.empty()) ++stage_;  // the best rate lies within the grid
  if (stage_ == rungs + 1)
    for (const int64_t seed : seeds_) next.push_back({true, best_rate_, 1, seed});
  begin(std::move(next));
}

}  // namespace graft
