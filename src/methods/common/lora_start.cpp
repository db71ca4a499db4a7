#include "methods/common/lora_start.h"

#include <charconv>

#include "core/check.h"
#include "core/torch.h"
#include "methods/common/init.h"
#include "methods/common/svd.h"

namespace graft {
namespace {

constexpr std::string_view kNiter = "pissa_niter_";

// The k of "pissa_niter_k", or -1.
int64_t svd_iterations(const Json& init) {
  if (!init.is_string() || !init.get<std::string>().starts_with(kNiter)) return -1;
  const std::string digits = init.get<std::string>().substr(kNiter.size());
  int64_t k = -1;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), k);
  return error == std::errc() && end == digits.data() + digits.size() && k >= 0 && k <= 1000 ? k : -1;
}

LoraStart from_components(const Tensor& b, const Tensor& a, double scale, const Tensor& weight) {
  return {a.contiguous(), b.contiguous(), weight - at::mm(b, a) * scale};
}

}  // namespace

bool changes_base(const Json& init) {
  return init == "pissa" || init == "olora" || svd_iterations(init) >= 0;
}

void check_lora_start(const Json& init, bool loading, const std::string& tag) {
  if (init.is_boolean() || init == "gaussian" || init == "orthogonal" || init == "pissa" || init == "olora") return;
  const std::string shown = json_line(init);
  if (svd_iterations(init) >= 0) {
    if (loading)
      usage_error(
          tag,
          fmt::format(
              "init_lora_weights = {}: the base of this adapter was changed by a random decomposition that cannot be repeated",
              shown),
          "save it with path_initial_model_for_weight_conversion, which makes it a plain LoRA");
    return;
  }
  if (init == "eva" || init == "mica") {  // plain LoRA once it has been trained
    if (loading) return;
    usage_error(tag, fmt::format("init_lora_weights = {} is a method of its own", shown),
                fmt::format("use the method {}", init.get<std::string>()));
  }
  if (!loading && (init == "corda" || init == "lora_ga"))
    usage_error(tag, fmt::format("init_lora_weights = {} is a method of its own", shown),
                fmt::format("use the method {}", init.get<std::string>()));
  if (init == "loftq" || init == "corda" || init == "lora_ga")
    usage_error(
        tag,
        fmt::format(
            "init_lora_weights = {} is not supported: its base was changed by data or quantisation that the file does not hold",
            shown),
        loading ? "save it with path_initial_model_for_weight_conversion, which makes it a plain LoRA"
                : "known: true, false, gaussian, orthogonal, pissa, pissa_niter_4, olora");
  usage_error(tag, fmt::format("init_lora_weights = {} is not known", shown),
              "known: true, false, \"gaussian\", \"orthogonal\", \"pissa\", \"pissa_niter_4\" (any number), \"olora\"");
}

LoraStart lora_start(const Json& init, int64_t r, double scale, const Linear& linear, const at::TensorOptions& options,
                     at::Generator& generator) {
  at::NoGradGuard no_grad;
  const int64_t in = linear.in(), out = linear.out();
  if (init == "gaussian")
    return {normal({r, in}, 1.0 / static_cast<double>(r), options, generator), zeros({out, r}, options), {}};
  if (init == "orthogonal") {
    if (r % 2)
      usage_error("lora", fmt::format("init_lora_weights = \"orthogonal\" needs an even r but r is {} ({})", r, linear.path));
    const Tensor q = std::get<0>(at::linalg_qr(normal({r, r}, 1, options, generator)));
    const Tensor a = at::mm(normal({in, r / 2}, 1, options, generator), q.slice(0, 0, r, 2)).t() / 10;
    const Tensor b = at::mm(normal({r / 2, out}, 1, options, generator).t(), q.slice(0, 1, r, 2)) / 10;
    return {a.contiguous(), b.contiguous(), {}};
  }
  if (changes_base(init)) {
    if (r > std::min(in, out))
      usage_error("lora", fmt::format("r must be in 1..min(in, out) = {} but is {} ({})", std::min(in, out), r, linear.path));
    const Tensor weight = linear.weight.detach().to(options);
    if (init == "olora") {
      const auto [q, upper] = at::linalg_qr(weight);
      return from_components(q.narrow(1, 0, r), upper.narrow(0, 0, r), scale, weight);
    }
    const Svd svd = init == "pissa" ? exact_svd(weight) : randomised_svd(weight, r, svd_iterations(init), generator);
    const Tensor root = (svd.s.narrow(0, 0, r) / scale).sqrt();
    return from_components(svd.u.narrow(1, 0, r) * root, root.unsqueeze(1) * svd.vh.narrow(0, 0, r), scale, weight);
  }
  const Tensor a = kaiming_uniform({r, in}, options, generator);
  return {a, init == false ? kaiming_uniform({out, r}, options, generator) : zeros({out, r}, options), {}};
}

}  // namespace graft
