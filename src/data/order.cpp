#include "data/order.h"

#include <cmath>
#include <numeric>

#include "core/rng.h"

namespace graft {

DataOrder::DataOrder(const std::vector<Example>& examples, const DataConfig& config, uint64_t seed) : examples_(examples), config_(config), seed_(seed) {}

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

std::pair<int64_t, int64_t> DataOrder::locate(int64_t step) const {
  for (int64_t number = 0;; ++number) {
    if (static_cast<int64_t>(steps_before_.size()) <= number + 1) steps_before_.push_back(steps_before_.back() + static_cast<int64_t>(epoch(number).size()));
    if (step < steps_before_[number + 1]) return {number, step - steps_before_[number]};
  }
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
  const int64_t whole = static_cast<int64_t>(std::floor(epochs));
  int64_t steps = 0;
  for (int64_t e = 0; e < whole; ++e) steps += config_.batch_tokens ? static_cast<int64_t>(epoch(e).size()) : steps_per_epoch();
  return steps + static_cast<int64_t>(std::ceil((epochs - static_cast<double>(whole)) * static_cast<double>(epoch(whole).size()) - 1e-9));
}

int64_t DataOrder::steps_for_tokens(int64_t tokens) const {
  int64_t seen = 0;
  for (int64_t step = 0;; ++step) {
    const auto [number, within] = locate(step);
    for (auto& rows : epoch(number)[within])
      for (const int64_t row : rows) seen += static_cast<int64_t>(examples_[row].ids.size());
    if (seen >= tokens) return step + 1;
  }
}

}  // namespace graft
