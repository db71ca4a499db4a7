#include "data/order.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/check.h"
#include "core/rng.h"

namespace graft {
namespace {
constexpr int64_t kMostEpochs = 1000000;  // more is a slip of the pen
}

DataOrder::DataOrder(const std::vector<Example>& examples, const DataConfig& config, uint64_t seed) : examples_(examples), config_(config), seed_(seed) {
  if (examples.empty()) input_error("data", "there is no row to learn from");
}

bool DataOrder::equal_epochs() const { return !config_.batch_tokens || config_.order == "sequential"; }

const std::vector<DataOrder::Step>& DataOrder::epoch(int64_t number) const {
  if (cached_number_ == number) return cached_;
  Rows rows(examples_.size());
  std::iota(rows.begin(), rows.end(), int64_t{0});
  if (config_.order == "shuffled") {
    Rng rng(mix_seed(seed_, "order " + std::to_string(number)));
    rng.shuffle(rows);
  }
  std::vector<Rows> micro;
  int64_t tokens = 0;
  for (const int64_t row : rows) {
    const int64_t length = static_cast<int64_t>(examples_[row].ids.size());
    const bool full = micro.empty() || (config_.batch_tokens ? tokens + length > *config_.batch_tokens : static_cast<int64_t>(micro.back().size()) >= config_.batch_size);
    if (full) {
      micro.emplace_back();
      tokens = 0;
    }
    micro.back().push_back(row);
    tokens += length;
  }
  cached_.clear();
  for (size_t i = 0; i < micro.size(); i += static_cast<size_t>(config_.grad_accum)) {
    Step step;
    for (size_t j = i; j < std::min(micro.size(), i + static_cast<size_t>(config_.grad_accum)); ++j) {
      if (config_.packing) step.push_back(micro[j]);
      else
        for (const int64_t row : micro[j]) step.push_back({row});
    }
    cached_.push_back(std::move(step));
  }
  cached_number_ = number;
  return cached_;
}

int64_t DataOrder::steps_before(int64_t number) const {
  if (equal_epochs()) {
    if (epoch_steps_ == 0) epoch_steps_ = static_cast<int64_t>(epoch(0).size());
    return number * epoch_steps_;
  }
  while (static_cast<int64_t>(steps_before_.size()) <= number) {
    const auto last = static_cast<int64_t>(steps_before_.size()) - 1;
    steps_before_.push_back(steps_before_.back() + static_cast<int64_t>(epoch(last).size()));
  }
  return steps_before_[number];
}

std::pair<int64_t, int64_t> DataOrder::locate(int64_t step) const {
  if (equal_epochs()) return {step / steps_before(1), step % steps_before(1)};
  while (steps_before_.back() <= step) steps_before(static_cast<int64_t>(steps_before_.size()));
  const int64_t number = std::upper_bound(steps_before_.begin(), steps_before_.end(), step) - steps_before_.begin() - 1;
  return {number, step - steps_before_[number]};
}

std::vector<Batch> DataOrder::batches(int64_t step) const {
  const auto [number, within] = locate(step);
  std::vector<Batch> batches;
  for (auto& rows : epoch(number)[within]) {
    std::vector<const Example*> examples;
    for (const int64_t row : rows) examples.push_back(&examples_[row]);
    batches.push_back(pack(examples));
  }
  return batches;
}

int64_t DataOrder::steps_for_epochs(double epochs) const {
  if (epochs > kMostEpochs) usage_error("data", fmt::format("epochs must be at most {} but is {}", kMostEpochs, epochs));
  const int64_t whole = static_cast<int64_t>(std::floor(epochs));
  const double rest = (epochs - static_cast<double>(whole)) * static_cast<double>(steps_before(whole + 1) - steps_before(whole));
  return std::max<int64_t>(1, steps_before(whole) + static_cast<int64_t>(std::ceil(rest - 1e-9)));
}

int64_t DataOrder::steps_for_tokens(int64_t tokens) const {
  int64_t in_epoch = 0;
  for (auto& e : examples_) in_epoch += static_cast<int64_t>(e.ids.size());
  const int64_t whole = (tokens - 1) / in_epoch;  // epochs that end before the last token
  if (whole > kMostEpochs) usage_error("data", fmt::format("tokens must be at most {} epochs of {} tokens but is {}", kMostEpochs, in_epoch, tokens));
  int64_t seen = whole * in_epoch, steps = steps_before(whole);
  for (auto& step : epoch(whole)) {
    for (auto& rows : step)
      for (const int64_t row : rows) seen += static_cast<int64_t>(examples_[row].ids.size());
    ++steps;
    if (seen >= tokens) break;
  }
  return steps;
}

}  // namespace graft
