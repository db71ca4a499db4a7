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

NamedTensors Method::file_tensors() const {
  NamedTensors tensors;
  for (auto& p : params_) tensors.emplace_back(p.name, p.value.detach());
  return tensors;
}

void Method::load_file_tensors(const NamedTensors& tensors, const std::string& source) {
  std::map<std::string, Tensor> by_name(tensors.begin(), tensors.end());
  std::vector<std::string> known, given;
  for (auto& p : params_) known.push_back(p.name);
  for (auto& [name, value] : by_name) given.push_back(name);
  for (auto& p : params_) {
    const auto found = by_name.find(p.name);
    if (found == by_name.end())
      input_error("adapter", fmt::format("{}: the tensor '{}' is missing", source, p.name), suggest(p.name, given));
    if (found->second.sizes() != p.value.sizes())
      input_error("adapter", fmt::format("{}: '{}' must have the shape [{}] but has [{}]", source, p.name, fmt::join(p.value.sizes(), ", "),
                                         fmt::join(found->second.sizes(), ", ")),
                  "was the adapter made for this base model?");
    if (!found->second.is_floating_point()) input_error("adapter", fmt::format("{}: '{}' is not a floating-point tensor", source, p.name));
    by_name.erase(found);
  }
  if (!by_name.empty()) {
    const std::string& name = by_name.begin()->first;
    input_error("adapter", fmt::format("{}: the tensor '{}' fits nothing in this model ({} such)", source, name, by_name.size()), suggest(name, known));
  }
  at::NoGradGuard no_grad;
  std::map<std::string, Tensor> all(tensors.begin(), tensors.end());
  for (auto& p : params_) p.value.copy_(all.at(p.name));
}

const MethodRow& find_method(const std::string& name) {
  std::vector<std::string> names;
  for (auto& row : methods()) {
    if (row.name == name) return row;
    names.push_back(row.name);
  }
  usage_error("method", fmt::format("unknown method '{}'", name), suggest(name, names));
}

Adapted attach(const Model& base, const MethodRow& row, std::unique_ptr<Method> method, uint64_t seed,
               std::function<std::vector<int64_t>(const std::string&)> tokenize) {
  Adapted adapted{base, Sites(base.layers()), std::move(method), &row};
  AttachContext context{adapted.model, adapted.sites, at::detail::createCPUGenerator(mix_seed(seed, "init")), std::move(tokenize)};
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
