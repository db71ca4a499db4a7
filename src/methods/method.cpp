#include "methods/method.h"

#include <ATen/CPUGeneratorImpl.h>

#include <map>

#include "core/check.h"
#include "core/rng.h"
#include "core/torch.h"

namespace graft {

Tensor Method::add(const std::string& name, Tensor value, bool decay) {
  value = value.detach();
  value.requires_grad_();
  params_.push_back({name, value, decay});
  return value;
}

namespace {

Tensor as_stored(const Param& p) { return p.transposed ? p.value.detach().t() : p.value.detach(); }

void check_shape_and_type(const Param& p, const Tensor& given, const std::string& source) {
  const Tensor expected = as_stored(p);
  if (given.sizes() != expected.sizes())
    input_error("adapter", fmt::format("{}: '{}' must have the shape [{}] but has [{}]", source, p.name, fmt::join(expected.sizes(), ", "),
                                       fmt::join(given.sizes(), ", ")),
                "was the adapter made for this base model and with these options?");
  if (!given.is_floating_point()) input_error("adapter", fmt::format("{}: '{}' is not a floating-point tensor", source, p.name));
}

}  // namespace

NamedTensors Method::named_tensors(size_t first_param) const {
  NamedTensors tensors;
  for (size_t i = first_param; i < params_.size(); ++i) tensors.emplace_back(params_[i].name, as_stored(params_[i]));
  for (auto& p : kept_) tensors.emplace_back(p.name, as_stored(p));
  return tensors;
}

NamedTensors Method::file_tensors() const { return named_tensors(); }

void Method::load_file_tensors(const NamedTensors& tensors, const std::string& source) {
  std::map<std::string, Tensor> unread(tensors.begin(), tensors.end());
  const std::map<std::string, Tensor> all = unread;
  std::vector<std::string> known, given;
  for (auto& p : params_) known.push_back(p.name);
  for (auto& [name, value] : all) given.push_back(name);
  for (auto& p : params_) {
    const auto found = all.find(p.name);
    if (found == all.end()) input_error("adapter", fmt::format("{}: the tensor '{}' is missing", source, p.name), suggest(p.name, given));
    check_shape_and_type(p, found->second, source);
    unread.erase(p.name);
  }
  for (auto& p : kept_) {
    const auto found = all.find(p.name);
    if (found == all.end() && p.own) input_error("adapter", fmt::format("{}: the tensor '{}' is missing", source, p.name), suggest(p.name, given));
    if (found != all.end()) check_shape_and_type(p, found->second, source);
    unread.erase(p.name);
  }
  if (!unread.empty()) {
    const std::string& name = unread.begin()->first;
    input_error("adapter", fmt::format("{}: the tensor '{}' fits nothing in this model ({} such)", source, name, unread.size()), suggest(name, known));
  }
  at::NoGradGuard no_grad;
  for (auto& p : params_) as_stored(p).copy_(all.at(p.name));
  for (auto& p : kept_) {
    const auto found = all.find(p.name);
    if (p.own) as_stored(p).copy_(found->second);
    else if (found != all.end() && !at::equal(as_stored(p), found->second.to(p.value.device(), p.value.scalar_type())))
      input_error("adapter", fmt::format("{}: '{}' differs from the tensor that it must equal", source, p.name), "the file is a copy of a base weight or of a tied tensor");
  }
}

NamedTensors Method::state() const {
  NamedTensors tensors;
  for (auto& p : kept_)
    if (p.own) tensors.emplace_back(p.name, p.value.detach());
  return tensors;
}

void Method::load_state(const NamedTensors& tensors, const std::string& source) {
  at::NoGradGuard no_grad;
  std::map<std::string, Tensor> unread(tensors.begin(), tensors.end());
  for (auto& p : kept_) {
    if (!p.own) continue;
    const auto found = unread.find(p.name);
    if (found == unread.end() || found->second.sizes() != p.value.sizes())
      input_error("resume", fmt::format("{}: '{}' is missing or has another shape", source, p.name), "use a fresh --out");
    p.value.copy_(found->second);
    unread.erase(found);
  }
  if (!unread.empty()) input_error("resume", fmt::format("{}: '{}' belongs to nothing in this run", source, unread.begin()->first), "use a fresh --out");
}

const MethodRow& find_method(const std::string& name) {
  std::vector<std::string> names;
  for (auto& row : methods()) {
    const std::string aliases = fmt::format(" {} ", row.aliases);
    if (row.name == name || (!name.empty() && name.find(' ') == std::string::npos && aliases.find(" " + name + " ") != std::string::npos)) return row;
    names.push_back(row.name);
  }
  usage_error("method", fmt::format("unknown method '{}'", name), suggest(name, names));
}

Adapted attach(const Model& base, const MethodRow& row, std::unique_ptr<Method> method, uint64_t seed,
               std::function<std::vector<int64_t>(const std::string&)> tokenize, bool loading, const Calibration* calibration) {
  Adapted adapted{base, Sites(base.layers()), std::move(method), &row};
  AttachContext context{adapted.model, adapted.sites, at::detail::createCPUGenerator(mix_seed(seed, "init")), std::move(tokenize), loading, calibration};
  adapted.method->attach(context);
  if (adapted.method->params().empty())
    usage_error(row.name, fmt::format("there is nothing to train in this {} model", base.config.model_type), "choose another method or other target_modules");
  return adapted;
}

Adapted bare(const Model& base) { return {base, Sites(base.layers()), nullptr, nullptr}; }

int64_t trainable_parameters(const Method& method) {
  int64_t count = 0;
  for (auto& p : method.params()) count += p.value.numel();
  return count;
}

}  // namespace graft
