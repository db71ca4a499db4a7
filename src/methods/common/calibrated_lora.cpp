#include "methods/common/calibrated_lora.h"

#include <cmath>

#include "core/check.h"
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"

namespace graft {

void CalibratedLora::attach(AttachContext& context) {
  LoraConfig& o = options();
  if (o.init_lora_weights != true)
    usage_error(name(),
                fmt::format("init_lora_weights = {} cannot be combined with a start from data", json_line(o.init_lora_weights)),
                "leave it out, or use the method lora");
  if (!context.loading && !training_data(context, name()).shapes_only) {
    ModulePattern ranks(o.rank_pattern, "rank_pattern", name(), true), alphas(o.alpha_pattern, "alpha_pattern", name(), false);
    std::vector<Planned> plan;
    Json identity{{"options", to_json(o)}, {"modules", Json::array()}};
    for (auto& target : targets(context)) {
      const std::string& path = target.linear->path;
      const auto r = static_cast<int64_t>(ranks.value(path, static_cast<double>(o.r)));
      const double alpha = alphas.value(path, o.lora_alpha), by = static_cast<double>(r);
      plan.push_back({target, r, alpha / (o.use_rslora ? std::sqrt(by) : by)});
      identity["modules"].push_back(path);
      if (const int64_t most = std::min(target.linear->in(), target.linear->out()); r > most)
        usage_error(name(), fmt::format("r must be in 1..min(in, out) = {} but is {} ({})", most, r, path),
                    "choose a smaller r or other target_modules");
    }
    for (auto& [key, value] :
         kept_result(*context.calibration, name(), identity, [&] { return calibrate(context, *context.calibration, plan); }))
      factors_[key] = value;
    take_ranks(plan, factors_);
  }
  LoraMethod::attach(context);
}

LoraStart CalibratedLora::start(AttachContext& context, const Linear& linear, int64_t r, double scale) {
  at::NoGradGuard no_grad;
  const auto a = factors_.find(linear.path + ".a"), b = factors_.find(linear.path + ".b");
  if (a == factors_.end()) return LoraMethod::start(context, linear, r, scale);
  const auto tensors = adapter_options(context.model);
  const auto copied = [&](const Tensor& factor) { return factor.to(tensors, /*non_blocking=*/false, /*copy=*/true); };  // modules may have found one factor together
  if (b == factors_.end()) return {copied(a->second), zeros({linear.out(), r}, tensors), {}};
  LoraStart begin{copied(a->second), copied(b->second), {}};
  begin.residual = linear.weight.detach().to(tensors) - at::mm(begin.b, begin.a) * scale;
  return begin;
}

}  // namespace graft
