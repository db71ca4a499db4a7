#include "optim/optimizer.h"

#include <cmath>
#include <map>
#include <numbers>

#include "core/check.h"
#include "core/torch.h"

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
  groups_.resize(2);
  groups_[0].weight_decay = config.weight_decay;
  for (auto& p : params_) {
    Group& group = groups_[p.decay ? 0 : 1];
    group.params.push_back(p.value);
    group.first.push_back(at::zeros_like(p.value));
    group.second.push_back(at::zeros_like(p.value));
    group.steps.push_back(at::zeros({}, at::kFloat).to(p.value.device()));
  }
}

double Optimizer::clip(double limit) {
  at::NoGradGuard no_grad;
  std::vector<Tensor> norms;
  for (auto& p : params_)
    if (p.value.grad().defined()) norms.push_back(at::linalg_vector_norm(p.value.grad(), 2));
  if (norms.empty()) return 0;
  const double norm = at::linalg_vector_norm(at::stack(norms), 2).item<double>();
  if (limit > 0 && norm > limit)
    for (auto& p : params_)
      if (p.value.grad().defined()) p.value.mutable_grad().mul_(limit / (norm + 1e-6));
  return norm;
}

void Optimizer::adamw(Group& group, double learning_rate) {
  std::vector<Tensor> params, grads, first, second, steps;
  for (size_t i = 0; i < group.params.size(); ++i) {
    if (!group.params[i].grad().defined()) continue;
    group.steps[i].add_(1);
    params.push_back(group.params[i]);
    grads.push_back(group.params[i].grad());
    if (grads.back().strides() != params.back().strides()) {  // the fused kernel walks memory in order
      const Tensor same = at::empty_like(params.back());
      grads.back() = same.copy_(grads.back());
    }
    first.push_back(group.first[i]);
    second.push_back(group.second[i]);
    steps.push_back(group.steps[i]);
  }
  if (params.empty()) return;
  at::_fused_adamw_(params, grads, first, second, {}, steps, learning_rate, config_.beta1, config_.beta2, group.weight_decay, config_.eps,
                    /*amsgrad=*/false, /*maximize=*/false);
}

void Optimizer::step(double learning_rate) {
  at::NoGradGuard no_grad;
  for (auto& group : groups_) {
    if (config_.optimizer == "adamw") {
      adamw(group, learning_rate);
      continue;
    }
    for (auto& p : group.params)
      if (p.grad().defined()) p.mul_(1 - learning_rate * group.weight_decay).sub_(p.grad(), learning_rate);
  }
}

void Optimizer::clear_gradients() {
  for (auto& p : params_) p.value.mutable_grad().reset();
}

NamedTensors Optimizer::state() const {
  NamedTensors tensors;
  std::map<const c10::TensorImpl*, std::string> names;
  for (auto& p : params_) {
    names[p.value.unsafeGetTensorImpl()] = p.name;
    tensors.emplace_back("param." + p.name, p.value.detach());
  }
  for (auto& group : groups_)
    for (size_t i = 0; i < group.params.size(); ++i) {
      const std::string& name = names.at(group.params[i].unsafeGetTensorImpl());
      tensors.emplace_back("first." + name, group.first[i]);
      tensors.emplace_back("second." + name, group.second[i]);
      tensors.emplace_back("steps." + name, group.steps[i]);
    }
  return tensors;
}

void Optimizer::load_state(const NamedTensors& tensors, const std::string& source) {
  at::NoGradGuard no_grad;
  std::map<std::string, Tensor> given(tensors.begin(), tensors.end());
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
