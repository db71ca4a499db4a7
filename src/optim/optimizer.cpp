#include "optim/optimizer.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>

#include "core/check.h"
#include "core/torch.h"
#include "kernels/adamw.h"

namespace graft {

void OptimConfig::visit(Fields& f) {
  f("learning_rate", learning_rate, "peak learning rate; null: the method's default", at_least(0));
  f("optimizer", optimizer, "AdamW (arXiv 1711.05101) or plain gradient descent", one_of({"adamw", "sgd"}));
  f("schedule", schedule, "course of the learning rate", one_of({"constant", "linear", "cosine"}));
  f("warmup", warmup, "warm-up: steps, or a fraction of all steps with a dot");
  f("weight_decay", weight_decay, "decoupled weight decay; never on biases, norms and factors whose identity is 1", at_least(0));
  f("beta1", beta1, "AdamW's decay of the first moment", between(0, 0.999999));
  f("beta2", beta2, "AdamW's decay of the second moment", between(0, 0.9999999));
  f("eps", eps, "AdamW's epsilon", above(0));
  f("clip", clip, "largest norm of all gradients together; 0: off", at_least(0));
  f("label_smoothing", label_smoothing, "share of the training loss that is the mean over the vocabulary of -log p", between(0, 1));
}

double schedule_factor(const std::string& schedule, int64_t step, int64_t steps, int64_t warmup) {
  if (step < warmup) return static_cast<double>(step + 1) / static_cast<double>(warmup);
  if (schedule == "constant") return 1;
  const double progress = static_cast<double>(step - warmup) / static_cast<double>(std::max<int64_t>(1, steps - warmup));
  if (schedule == "linear") return std::max(0.0, 1 - progress);
  return 0.5 * (1 + std::cos(std::numbers::pi * std::min(1.0, progress)));
}

int64_t warmup_steps(const std::string& text, int64_t steps) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  const bool fraction = text.find('.') != std::string::npos;
  if (text.empty() || *end != '\0' || !(value >= 0) || (fraction && value > 1) || (!fraction && value != std::floor(value)))
    usage_error("train", fmt::format("warmup must be a number of steps, or a fraction in 0.0..1.0, but is '{}'", text));
  return fraction ? static_cast<int64_t>(std::llround(value * static_cast<double>(steps))) : static_cast<int64_t>(value);
}

Optimizer::Optimizer(std::vector<Param> params, const OptimConfig& config) : params_(std::move(params)), config_(config) {
  for (size_t i = 0; i < params_.size(); ++i) {
    const Param& p = params_[i];
    const double weight_decay = p.decay ? config.weight_decay : 0, peak = config.learning_rate.value_or(0);
    const double lr_factor = p.own_lr > 0 && peak > 0 ? p.own_lr / peak : p.lr_factor;
    auto group = std::find_if(groups_.begin(), groups_.end(), [&](const Group& g) { return g.lr_factor == lr_factor && g.weight_decay == weight_decay; });
    if (group == groups_.end()) group = groups_.insert(groups_.end(), {lr_factor, weight_decay, {}});
    group->members.push_back(i);
    moments_.emplace_back();
  }
}

void Optimizer::begin_moments(size_t i) {
  const Tensor& p = params_[i].value;
  if (!moments_[i].first.defined()) moments_[i] = {at::zeros_like(p), at::zeros_like(p), at::zeros({}, at::kFloat).to(p.device())};
}

Tensor Optimizer::gradient_norm() const {
  at::NoGradGuard no_grad;
  std::vector<Tensor> gradients;
  for (auto& p : params_)
    if (p.value.grad().defined()) gradients.push_back(p.value.grad());
  return kernels::total_norm_there(gradients);
}

void Optimizer::clip(double norm, double limit) { gradient_factor_ = limit > 0 ? std::min(1.0, limit / (norm + 1e-6)) : 1; }

void Optimizer::sgd(const Group& group, double learning_rate) {
  for (const size_t i : group.members) {
    Tensor p = params_[i].value;
    if (!p.grad().defined()) continue;
    if (gradient_factor_ != 1) p.mutable_grad().mul_(gradient_factor_);
    p.mul_(1 - learning_rate * group.weight_decay).sub_(p.grad(), learning_rate);
  }
}

void Optimizer::adamw(const Group& group, double learning_rate) {
  std::vector<kernels::AdamWTensor> tensors;
  for (const size_t i : group.members) {
    const Tensor& p = params_[i].value;
    if (!p.grad().defined()) continue;
    if (p.grad().strides() != p.strides()) {  // updates walk memory in order
      const Tensor same = at::empty_like(p);
      p.mutable_grad() = same.copy_(p.grad());
    }
    begin_moments(i);
    tensors.push_back({p, p.grad(), moments_[i].first, moments_[i].second, moments_[i].steps});
  }
  kernels::adamw(tensors, {learning_rate, config_.beta1, config_.beta2, group.weight_decay, config_.eps, gradient_factor_});
}

void Optimizer::step(double learning_rate) {
  at::NoGradGuard no_grad;
  for (size_t i = 0; i < params_.size(); ++i)
    if (!params_[i].value.requires_grad()) moments_[i] = {};
  for (auto& group : groups_) {
    if (config_.optimizer == "adamw") adamw(group, learning_rate * group.lr_factor);
    else sgd(group, learning_rate * group.lr_factor);
  }
  gradient_factor_ = 1;
}

void Optimizer::clear_gradients() {
  gradient_factor_ = 1;
  for (auto& p : params_) p.value.mutable_grad().reset();
}

NamedTensors Optimizer::state() const {
  NamedTensors tensors;
  for (auto& p : params_) tensors.emplace_back("param." + p.name, p.value.detach());
  for (size_t i = 0; i < params_.size(); ++i) {
    if (!moments_[i].first.defined()) continue;
    tensors.emplace_back("first." + params_[i].name, moments_[i].first);
    tensors.emplace_back("second." + params_[i].name, moments_[i].second);
    tensors.emplace_back("steps." + params_[i].name, moments_[i].steps);
  }
  return tensors;
}

void Optimizer::load_state(const NamedTensors& tensors, const std::string& source) {
  at::NoGradGuard no_grad;
  std::map<std::string, Tensor> given(tensors.begin(), tensors.end());
  for (size_t i = 0; i < params_.size(); ++i)
    if (given.count("first." + params_[i].name)) begin_moments(i);
    else moments_[i] = {};
  for (auto& [name, value] : state()) {
    const auto found = given.find(name);
    if (found == given.end() || found->second.sizes() != value.sizes())
      input_error("resume", fmt::format("{}: '{}' is missing or has another shape", source, name), "the checkpoint belongs to another run: use a fresh --out");
    Tensor target = value;  // a handle: writes into the parameter or moment itself
    target.copy_(found->second);
    given.erase(found);
  }
  if (!given.empty()) input_error("resume", fmt::format("{}: '{}' belongs to nothing in this run", source, given.begin()->first), "use a fresh --out");
}

}  // namespace graft
