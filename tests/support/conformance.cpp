#include "support/conformance.h"

#include <algorithm>
#include <map>
#include <set>

#include "adapter/folder.h"
#include "adapter/merge.h"
#include "core/rng.h"
#include "core/safetensors.h"
#include "core/torch.h"
#include "kernels/dropout.h"
#include "kernels/twins.h"
#include "methods/common/calibration.h"
#include "model/loader.h"
#include "support/support.h"

namespace graft::testing {
namespace {

std::vector<Tensor> base_tensors(const Model& model) {
  Model copy = model;
  std::vector<Tensor> tensors;
  visit_weights(copy, [&](const std::string&, Tensor& handle, const std::vector<int64_t>&, bool) { tensors.push_back(handle); });
  return tensors;
}

Tensor all_logits(const Model& model, const Sites& sites, const Batch& batch) {
  at::NoGradGuard no_grad;
  kernels::seed_dropout(1);
  return logits(model, sites, hidden_states(model, sites, lay_out(model, sites, batch)).index_select(0, lay_out(model, sites, batch).predict));
}

Batch random_batch(const Model& model, std::initializer_list<int64_t> lengths, uint64_t seed) {
  Rng rng(seed);
  Batch batch{{}, {0}, {}, {}};
  for (const int64_t length : lengths) {
    for (int64_t t = 0; t < length; ++t) {
      if (t + 1 < length && t != 1) batch.predict.push_back(batch.tokens());
      batch.ids.push_back(static_cast<int64_t>(rng.below(model.config.vocab_size)));
    }
    batch.starts.push_back(batch.tokens());
  }
  return batch;
}

// Where results of passes over data are kept, so that two models which differ in rounding get the same.
std::optional<std::filesystem::path> calibration_folder;
struct OneCalibration {
  OneCalibration() { calibration_folder = folder.path(); }
  ~OneCalibration() { calibration_folder.reset(); }
  TempFolder folder;
};

// Random values around the initial ones, so that nothing is at a special point.
void perturb(Method& method, uint64_t seed, double size = 0.05) {
  at::NoGradGuard no_grad;
  Rng rng(seed);
  for (auto& p : method.params()) {
    Tensor noise = at::empty(p.value.sizes(), at::kDouble);
    double* values = noise.mutable_data_ptr<double>();
    for (int64_t i = 0; i < noise.numel(); ++i) values[i] = rng.normal() * size;
    p.value.add_(noise.to(p.value.options()));
  }
}

double difference(const Tensor& a, const Tensor& b) {
  if (a.device() != b.device()) return difference(a.to(at::kCPU), b.to(at::kCPU));
  return (a - b).abs().max().item<double>() / std::max(1.0, b.abs().max().item<double>());
}

Adapted prepared(const Model& model, const Case& c, uint64_t noise_seed = 5) {
  Adapted adapted = attach_case(model, c);
  perturb(*adapted.method, noise_seed);
  adapted.sites.training = c.training;
  return adapted;
}

// The same draws in every pass.
Tensor seeded_loss(const Adapted& adapted, const Batch& batch, const Recomputed& recomputed = {}) {
  kernels::seed_dropout(1);
  return loss_sum(adapted.model, adapted.sites, batch, recomputed);
}

std::map<std::string, Tensor> gradients(Adapted& adapted, const Batch& batch, const Recomputed& recomputed = {}) {
  for (auto& p : adapted.method->params()) p.value.mutable_grad() = Tensor();
  seeded_loss(adapted, batch, recomputed).backward();
  std::map<std::string, Tensor> result;
  for (auto& p : adapted.method->params()) result[p.name] = p.value.grad().defined() ? p.value.grad().clone() : Tensor();
  return result;
}

}  // namespace

Adapted attach_case(const Model& base, const Case& c, std::unique_ptr<Method> method, uint64_t seed) {
  Calibration data;
  data.batches = [&](int64_t step) { return std::vector<Batch>{random_batch(base, {9, 12, 7}, 40 + static_cast<uint64_t>(step))}; };
  data.id = [] { return std::string("tiny"); };
  data.quiet = true;
  if (calibration_folder) data.folder = *calibration_folder;
  return attach(base, *c.row, std::move(method), seed, {}, false, &data);
}

std::optional<Adapted> attached(const Model& base, const Case& c, double noise) {
  try {
    Adapted adapted = attach_case(base, c);
    if (noise > 0) perturb(*adapted.method, 5, noise);
    return adapted;
  } catch (const Error& e) {
    Model copy = base;
    bool biases = false;
    visit_weights(copy, [&](const std::string& name, Tensor&, const std::vector<int64_t>&, bool) { biases |= name.ends_with(".bias"); });
    if (biases || e.fault() != Fault::Usage || std::string(e.what()).find("no biases") == std::string::npos) throw;
    return std::nullopt;
  }
}

double tolerance(at::ScalarType dtype) {
  switch (dtype) {
    case at::kDouble: return 1e-9;
    case at::kFloat: return 5e-5;
    default: return 3e-2;  // half precision
  }
}

Batch tiny_batch(const Model& model) { return random_batch(model, {7, 1, 5}, 11); }

Problems check_sites_visited(const Model& model) {
  Sites sites(model.layers());
  std::map<std::pair<Site, int64_t>, int> visits;
  sites.observer = [&](Site site, int64_t layer) { ++visits[{site, layer}]; };
  loss_sum(model, sites, tiny_batch(model));
  Problems problems;
  for (const Site site : declared_sites(model))
    for (int64_t layer = is_per_layer(site) ? 0 : -1; layer < (is_per_layer(site) ? model.layers() : 0); ++layer) {
      const int count = visits[{site, layer}];
      if (count != 1) problems.push_back(fmt::format("site {} of layer {} is visited {} times, not once", site_name(site), layer, count));
      visits.erase({site, layer});
    }
  for (auto& [where, count] : visits)
    if (count) problems.push_back(fmt::format("site {} of layer {} is visited but not declared", site_name(where.first), where.second));
  return problems;
}

Problems check_identity(const Model& model, const Case& c) {
  const Adapted adapted = attach_case(model, c);
  const Batch batch = tiny_batch(model);
  const double d = difference(all_logits(adapted.model, adapted.sites, batch), all_logits(model, Sites(model.layers()), batch));
  const double allowed = tolerance(model.dtype());
  if (c.row->identity && d > allowed) return {fmt::format("promises the identity at initialisation but the logits differ by {}", d)};
  if (!c.row->identity && d <= allowed) return {"does not promise the identity at initialisation but has it"};
  return {};
}

Problems check_every_tensor_matters(const Model& model, const Case& c) {
  Problems problems;
  const Batch batch = tiny_batch(model);
  Adapted adapted = prepared(model, c);
  const auto before = all_logits(adapted.model, adapted.sites, batch);
  for (auto& [name, gradient] : gradients(adapted, batch)) {
    if (!gradient.defined()) problems.push_back(fmt::format("'{}' gets no gradient", name));
    else if (!(gradient.abs().max().item<double>() > 0)) problems.push_back(fmt::format("'{}' gets a gradient of zero", name));
  }
  at::NoGradGuard no_grad;
  for (auto& p : adapted.method->params()) {
    const Tensor kept = p.value.clone();
    p.value.add_(0.3).mul_(1.5);
    const double d = difference(all_logits(adapted.model, adapted.sites, batch), before);
    if (!(d > 1e-9)) problems.push_back(fmt::format("changing '{}' changes nothing", p.name));
    p.value.copy_(kept);
  }
  return problems;
}

Problems check_gradients(const Model& base, const Case& c) {
  Problems problems;
  const Model model = converted(base, at::kDouble, base.device());
  const Batch batch = tiny_batch(model);
  Adapted adapted = prepared(model, c);
  adapted.method->hold_constants(true);
  const auto analytic = gradients(adapted, batch);
  at::NoGradGuard no_grad;
  const auto loss = [&] { return seeded_loss(adapted, batch).item<double>(); };
  Rng rng(23);
  std::set<const void*> memory;
  for (auto& p : adapted.method->params()) {
    if (!memory.insert(p.value.const_data_ptr()).second) problems.push_back(fmt::format("'{}' shares its memory with another trained tensor", p.name));
    if (!analytic.at(p.name).defined()) {
      problems.push_back(fmt::format("'{}' gets no gradient", p.name));
      continue;
    }
    for (int pick = 0; pick < 4; ++pick) {
      Tensor value = p.value, expected = analytic.at(p.name);  // down to one entry
      while (value.dim() > 0) {
        const int64_t i = static_cast<int64_t>(rng.below(value.size(0)));
        value = value[i];
        expected = expected[i];
      }
      const double kept = value.item<double>(), step = 1e-5;
      value.fill_(kept + step);
      const double up = loss();
      value.fill_(kept - step);
      const double down = loss();
      value.fill_(kept);
      const double numeric = (up - down) / (2 * step), exact = expected.item<double>();
      if (std::abs(numeric - exact) > 1e-6 * std::max(1.0, std::abs(exact)))
        problems.push_back(fmt::format("an entry of '{}': gradient {} but difference quotient {}", p.name, exact, numeric));
    }
  }
  adapted.method->hold_constants(false);
  return problems;
}

Problems check_base_untouched(const Model& model, const Case& c) {
  Problems problems;
  std::vector<Tensor> copies;
  for (auto& t : base_tensors(model)) copies.push_back(t.clone());
  Adapted adapted = prepared(model, c);
  gradients(adapted, tiny_batch(model));
  {
    at::NoGradGuard no_grad;
    for (auto& p : adapted.method->params())
      if (p.value.grad().defined()) p.value.sub_(p.value.grad(), 0.1);
  }
  const auto tensors = base_tensors(model);
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].requires_grad() || tensors[i].grad().defined()) problems.push_back(fmt::format("base tensor {} has a gradient", i));
    if (!at::equal(tensors[i], copies[i])) problems.push_back(fmt::format("base tensor {} changed", i));
  }
  return problems;
}

Problems check_merge(const Model& model, const Case& c) {
  const Batch batch = tiny_batch(model);
  Adapted adapted = prepared(model, c);
  adapted.sites.training = false;
  if (!c.row->mergeable) {
    try {
      merged(adapted);
    } catch (const Error& e) {
      return e.fault() == Fault::Usage ? Problems{} : Problems{"the refusal to merge is not a usage error"};
    }
    return {"is declared as not mergeable but merges"};
  }
  const Tensor reference = all_logits(adapted.model, adapted.sites, batch);
  Model whole;
  try {
    whole = merged(adapted);
  } catch (const Error& e) {  // a new bias has no place in a base without
    if (e.fault() == Fault::Usage && std::string(e.what()).find("which has none in the base") != std::string::npos) return {};
    throw;
  }
  const double d = difference(all_logits(whole, Sites(model.layers()), batch), reference);
  const double moved = difference(all_logits(model, Sites(model.layers()), batch), reference);
  Problems problems;
  if (d > tolerance(model.dtype())) problems.push_back(fmt::format("merged and unmerged logits differ by {}", d));
  if (!(moved > 100 * tolerance(model.dtype()))) problems.push_back("the perturbed adapter does not differ from the base: the merge check proves nothing");
  return problems;
}

Problems check_file(const Model& model, const Case& c) {
  Problems problems;
  const TempFolder folder;
  Adapted adapted = prepared(model, c);
  adapted.sites.training = false;
  save_adapter(adapted, folder / "adapter", folder.path());
  const Batch batch = tiny_batch(model);
  const Tensor expected = all_logits(adapted.model, adapted.sites, batch);
  if (c.row->format == Format::ModelFolder) {
    const Model loaded = load_model(folder / "adapter");
    bool edits = false;  // that were folded into the weights
    for (const Site site : declared_sites(model)) edits |= adapted.sites.has_edit(site, is_per_layer(site) ? 0 : -1);
    if (difference(all_logits(loaded, Sites(loaded.layers()), batch), expected) > (edits ? tolerance(at::kFloat) : 0)) problems.push_back("the saved model's logits differ");
    return problems;
  }
  const Adapted loaded = load_adapter(model, folder / "adapter");
  // A start that changes the base is written as its difference from the untouched one: equal up to rounding.
  bool base_moved = false;
  const auto before = base_tensors(model), after = base_tensors(adapted.model);
  for (size_t i = 0; i < before.size(); ++i) base_moved |= !after[i].requires_grad() && !after[i].is_same(before[i]);
  const double allowed = base_moved ? tolerance(at::kFloat) : 1e-6;
  if (const double d = difference(all_logits(loaded.model, loaded.sites, batch), expected); d > allowed)
    problems.push_back(fmt::format("the logits after saving and loading differ by {}", d));
  const std::filesystem::path file = read_adapter(folder / "adapter").weights;
  const NamedTensors tensors = [&] {
    NamedTensors copy;
    const SafetensorsFile stored(file);
    for (auto& [name, info] : stored.tensors()) copy.emplace_back(name, stored.tensor(name).clone());
    return copy;
  }();
  const auto refused = [&](const NamedTensors& changed, const char* what) {
    save_safetensors(file, changed);
    try {
      load_adapter(model, folder / "adapter");
    } catch (const Error& e) {
      if (e.fault() != Fault::Input) problems.push_back(fmt::format("{}: not an input error", what));
      return;
    }
    problems.push_back(fmt::format("{} is accepted", what));
  };
  NamedTensors changed = tensors;
  changed.emplace_back("base_model.model.surplus", at::zeros({1}));
  refused(changed, "a surplus tensor");
  // One that is trained: copies of base tensors and of tied ones may be absent.
  const auto needed = std::find_if(tensors.begin(), tensors.end(), [&](const auto& entry) {
    const auto& params = adapted.method->params();
    return std::any_of(params.begin(), params.end(), [&](const Param& p) { return p.name == entry.first; });
  });
  const size_t at_position = needed == tensors.end() ? 0 : static_cast<size_t>(needed - tensors.begin());
  changed = tensors;
  changed.erase(changed.begin() + static_cast<std::ptrdiff_t>(at_position));
  refused(changed, "a missing tensor");
  changed = tensors;
  changed[at_position].second = at::zeros({3, 1, 2});
  refused(changed, "a tensor of the wrong shape");
  return problems;
}

Problems check_fused(const Model& model, const Case& c) {
  Problems problems;
  const Batch batch = tiny_batch(model);
  Adapted adapted = prepared(model, c);
  const Tensor fused_logits = all_logits(adapted.model, adapted.sites, batch);
  const auto fused = gradients(adapted, batch);
  kernels::ComposedOnly composed_only;
  const double d = difference(fused_logits, all_logits(adapted.model, adapted.sites, batch));
  if (d > tolerance(model.dtype())) problems.push_back(fmt::format("fused and composed logits differ by {}", d));
  for (auto& [name, gradient] : gradients(adapted, batch))
    if (!gradient.defined() || !fused.at(name).defined() || difference(fused.at(name), gradient) > 20 * tolerance(model.dtype()))
      problems.push_back(fmt::format("fused and composed gradients of '{}' differ", name));
  return problems;
}

Problems check_half_precision(const Model& base, const Case& c) {
  Problems problems;
  const Model half = converted(base, at::kBFloat16, base.device()), rounded = converted(half, at::kFloat, base.device());
  const Batch batch = tiny_batch(base);
  const OneCalibration one_calibration;
  Adapted reference = prepared(rounded, c), adapted = prepared(half, c);
  {
    at::NoGradGuard no_grad;  // the base's trained copies and what is derived from it are the same numbers in both
    for (size_t i = 0; i < adapted.method->params().size(); ++i) adapted.method->params()[i].value.copy_(reference.method->params()[i].value);
  }
  for (auto& p : adapted.method->params())
    if (p.value.scalar_type() != at::kFloat) problems.push_back(fmt::format("'{}' is not float32", p.name));
  const Tensor hidden = [&] {
    at::NoGradGuard no_grad;
    return hidden_states(adapted.model, adapted.sites, lay_out(adapted.model, adapted.sites, batch));
  }();
  if (hidden.scalar_type() != at::kBFloat16) problems.push_back("hidden states are wider than the base");
  const Tensor loss = seeded_loss(adapted, batch), expected = seeded_loss(reference, batch);
  if (loss.scalar_type() != at::kFloat) problems.push_back("the loss is not float32");
  if (const double d = std::abs(loss.item<double>() / expected.item<double>() - 1); !(d < tolerance(at::kBFloat16)))
    problems.push_back(fmt::format("the loss differs from float32's by a share of {}", d));
  // Single gradients of a deep sum are noisy in half precision, and a ReLU's gate near 0 may open; all of them together must point where float32's do.
  const auto ours = gradients(adapted, batch), theirs = gradients(reference, batch);
  double dot = 0, own = 0, other = 0;
  for (auto& [name, gradient] : ours) {
    if (!gradient.defined() || gradient.scalar_type() != at::kFloat) {
      problems.push_back(fmt::format("the gradient of '{}' is absent or not float32", name));
      continue;
    }
    dot += (gradient * theirs.at(name)).sum().item<double>();
    own += gradient.square().sum().item<double>();
    other += theirs.at(name).square().sum().item<double>();
  }
  if (const double cosine = dot / std::sqrt(own * other); !(cosine > 0.98) || !(std::abs(std::sqrt(own / other) - 1) < 0.1))
    problems.push_back(fmt::format("gradients differ from float32's: cosine {}, ratio of lengths {}", cosine, std::sqrt(own / other)));
  return problems;
}

Problems check_checkpointing(const Model& model, const Case& c) {
  Problems problems;
  const Batch batch = tiny_batch(model);
  Adapted adapted = prepared(model, c);
  const auto kept = gradients(adapted, batch);
  for (const Recomputed& recomputed : {Recomputed{Recomputed::kAll, 0}, Recomputed{0, Recomputed::kAll}, Recomputed{2, 1}})
    for (auto& [name, gradient] : gradients(adapted, batch, recomputed))
      if (!gradient.defined() || difference(gradient, kept.at(name)) > tolerance(model.dtype()))
        problems.push_back(fmt::format("the gradient of '{}' changes when {} MLPs and {} blocks are computed again", name, recomputed.mlps, recomputed.blocks));
  return problems;
}

Problems check_stored_short(const Model& base, const Case& c) {
  Problems problems;
  Model stored = base, rounded = base;  // the same numbers, as bf16 and as float32
  visit_weights(stored, [](const std::string&, Tensor& handle, const std::vector<int64_t>& shape, bool) {
    if (shape.size() > 1) handle = handle.to(at::kBFloat16);
  });
  visit_weights(rounded, [](const std::string&, Tensor& handle, const std::vector<int64_t>& shape, bool) {
    if (shape.size() > 1) handle = handle.to(at::kBFloat16).to(at::kFloat);
  });
  const Batch batch = tiny_batch(base);
  const OneCalibration one_calibration;
  Adapted one = prepared(stored, c), other = prepared(rounded, c);
  const double d = difference(all_logits(one.model, one.sites, batch), all_logits(other.model, other.sites, batch));
  if (d > 1e-6) problems.push_back(fmt::format("logits differ by {} where the base is stored as bf16", d));
  const auto expected = gradients(other, batch);
  for (auto& [name, gradient] : gradients(one, batch))
    if (gradient.defined() != expected.at(name).defined() || difference(gradient, expected.at(name)) > 1e-5)
      problems.push_back(fmt::format("the gradient of '{}' differs where the base is stored as bf16", name));
  for (auto& p : one.method->params())
    if (p.value.scalar_type() != at::kFloat) problems.push_back(fmt::format("'{}' is not trained in float32 where the base is stored as bf16", p.name));
  return problems;
}

}  // namespace graft::testing
