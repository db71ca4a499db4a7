#include "adapter/combine.h"

#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/torch.h"
#include "methods/common/targets.h"

namespace graft {
namespace {

struct Factors {
  Tensor a, b;  // [r, in], [out, r] float32
  double scale = 1;
  bool embedding = false;
};

// Modules in the order in which a model has them: a generator's draws go through them in it.
struct ModelOrder {
  static std::tuple<int64_t, bool, size_t, std::string> key(const std::string& path) {
    static const std::vector<std::string> leaves{"q_proj", "k_proj", "v_proj", "query_key_value", "c_attn",        "o_proj", "qkv_proj", "out_proj",  "dense",        "c_fc",
                                                 "fc1",    "gate_proj", "gate_up_proj", "up_proj", "dense_h_to_4h", "c_proj", "fc2",      "down_proj", "dense_4h_to_h"};
    int64_t layer = -1;
    for (size_t begin = 0; begin < path.size();) {
      const size_t end = std::min(path.find('.', begin), path.size());
      const std::string part = path.substr(begin, end - begin);
      if (part.size() < 9 && part.find_first_not_of("0123456789") == std::string::npos) layer = std::stoll(part);
      begin = end + 1;
    }
    const std::string leaf = last_part(path);
    if (layer < 0 && (leaf == "lm_head" || leaf == "embed_out")) layer = int64_t{1} << 40;
    return {layer, path.find(".mlp.") != std::string::npos, static_cast<size_t>(std::find(leaves.begin(), leaves.end(), leaf) - leaves.begin()), path};
  }
  bool operator()(const std::string& a, const std::string& b) const { return key(a) < key(b); }
};

struct Lora {
  std::string name;
  int64_t most = 0;  // the largest rank that the options name
  bool conv1d = false;
  std::map<std::string, Factors, ModelOrder> modules;
};

// What PEFT would drop, or take from the first adapter alone.
void refuse_more_than_factors(const Json& options, const std::string& name) {
  const Json init = options.at("init_lora_weights");
  const bool plain_start = init.is_boolean() || init == "gaussian" || init == "orthogonal" || init == "eva" || init == "mica";
  for (const char* key : {"use_dora", "lora_bias", "ensure_weight_tying", "bias", "modules_to_save", "trainable_token_indices", "init_lora_weights"}) {
    const Json value = options.at(key);
    const bool off = std::string_view(key) == "init_lora_weights" ? plain_start : value.is_null() || value == false || value == "none" || (value.is_structured() && value.empty());
    if (!off)
      usage_error("merge", fmt::format("'{}' has {} = {}: it is more than a low-rank update", name, key, json_line(value)),
                  "--model DIR folds such adapters into the base together");
  }
}

Lora read_lora(const AdapterFile& file, NamedTensors& copies) {
  Lora lora;
  lora.name = file.folder.string();
  if (!file.row->peft_type || std::string(file.row->peft_type) != "LORA" || *file.row->peft_key)
    usage_error("merge", fmt::format("'{}' is {}; only LoRA adapters make one adapter", lora.name, file.row->title),
                "graft convert --to lora writes what changes weights as LoRA; --model DIR folds adapters into the base together");
  const MethodRow* row = nullptr;
  const auto method = method_from_config(file.folder / "adapter_config.json", row);
  const Json options = to_json(method->config());
  refuse_more_than_factors(options, lora.name);
  lora.conv1d = options.at("fan_in_fan_out");
  lora.most = options.at("r");
  for (auto& [key, rank] : options.at("rank_pattern").items()) lora.most = std::max<int64_t>(lora.most, rank);
  for (auto& [name, value] : file.tensors) {
    const size_t at = name.find(".lora_");
    const std::string ending = at == std::string::npos ? "" : name.substr(at);
    if (name.find(".base_layer.") != std::string::npos) {
      const auto found = std::find_if(copies.begin(), copies.end(), [&](auto& copy) { return copy.first == name; });
      if (found == copies.end()) copies.emplace_back(name, value);
      else if (found->second.sizes() != value.sizes() || !at::equal(found->second.to(at::kFloat), value.to(at::kFloat)))
        usage_error("merge", fmt::format("'{}' holds another {} than an adapter in front of it", lora.name, name), "adapters of one base can be combined");
      continue;
    }
    const bool a = ending == ".lora_A.weight" || ending == ".lora_embedding_A", b = ending == ".lora_B.weight" || ending == ".lora_embedding_B";
    if (!name.starts_with(kPeftPrefix) || (!a && !b) || value.dim() != 2 || !value.is_floating_point())
      usage_error("merge", fmt::format("'{}' holds '{}', which is no factor of a linear's or an embedding's update", lora.name, name));
    Factors& factors = lora.modules[name.substr(kPeftPrefix.size(), at - kPeftPrefix.size())];
    (a ? factors.a : factors.b) = value.to(at::kFloat);
    factors.embedding = ending.starts_with(".lora_embedding");
  }
  ModulePattern alphas(options.at("alpha_pattern"), "alpha_pattern", "lora", false);
  for (auto& [path, factors] : lora.modules) {
    if (!factors.a.defined() || !factors.b.defined() || factors.a.size(0) != factors.b.size(1))
      input_error("merge", fmt::format("'{}': A and B of '{}' do not belong together", lora.name, path), "is the file complete?");
    const double alpha = alphas.value(path, options.at("lora_alpha")), r = static_cast<double>(factors.a.size(0));
    factors.scale = alpha / (options.at("use_rslora") ? std::sqrt(r) : r);
  }
  return lora;
}

// --- Rules for lists of tensors of one shape: peft/utils/merge_utils.py ---

Tensor pruned(const Tensor& tensor, double density, bool random, at::Generator& generator) {
  if (density >= 1) return tensor;
  if (random) return tensor * at::bernoulli(at::full_like(tensor, density), generator) / density;
  const Tensor flat = tensor.reshape({-1}), largest = std::get<1>(at::topk(flat.abs(), static_cast<int64_t>(density * static_cast<double>(flat.numel()))));
  return (flat * at::zeros_like(flat).index_fill_(0, largest, 1)).view(tensor.sizes());
}

Tensor mixed(std::vector<Tensor> tensors, const std::vector<double>& weights, const CombineOptions& options, at::Generator& generator) {
  if (prunes(options.type))
    for (auto& tensor : tensors) tensor = pruned(tensor, *options.density, options.type.starts_with("dare"), generator);
  const Tensor stack = at::stack(tensors);
  const Tensor weighted = stack * at::tensor(weights, at::kFloat).view({-1, 1, 1});
  if (!elects_signs(options.type)) return weighted.sum(0);
  const Tensor sign = stack.sign(), balance = (options.majority_sign == "total" ? stack : sign).sum(0);
  const Tensor kept = sign == at::where(balance >= 0, 1, -1);
  return (weighted * kept).sum(0) / kept.sum(0).clamp_min(1);
}

// --- One module ---

// An adapter's factors of a module, with its weight.
struct Summand {
  const Factors* factors;
  double weight;
  const std::string* adapter;
};

struct Product {
  Tensor a, b;
};

// Σ w_i ΔW_i as one product.
Product exact_sum(const std::vector<Summand>& summands) {
  std::vector<Tensor> a, b;
  for (auto& [f, weight, adapter] : summands) {
    a.push_back(f->a * weight * f->scale);
    b.push_back(f->b);
  }
  return {at::cat(a), at::cat(b, 1)};
}

// The first `rank` singular triples of U S Vᵀ: A = Vᵀ, B = U S.
Product leading(const Tensor& u, const Tensor& s, const Tensor& vh, int64_t rank) {
  const int64_t r = std::min(rank, s.size(0));
  return {vh.narrow(0, 0, r).to(at::kFloat).contiguous(), (u.narrow(1, 0, r) * s.narrow(0, 0, r)).to(at::kFloat).contiguous()};
}

// The same decomposition of B A by way of its factors, which never makes the whole matrix.
Product decomposed_product(const Product& product, int64_t rank) {
  const auto [qb, rb] = at::linalg_qr(product.b.to(at::kDouble));
  const auto [qa, ra] = at::linalg_qr(product.a.to(at::kDouble).t());
  const auto [u, s, vh] = at::linalg_svd(at::mm(rb, ra.t()), false);
  return leading(at::mm(qb, u), s, at::mm(vh, qa.t()), rank);
}

Product mixed_factors(const std::vector<Summand>& summands, const CombineOptions& options, at::Generator& generator) {
  std::vector<Tensor> a, b;
  std::vector<double> signed_roots, roots;
  for (auto& [f, weight, adapter] : summands) {
    const double factor = weight * f->scale, root = std::sqrt(std::abs(factor));
    signed_roots.push_back(factor >= 0 ? root : -root);
    roots.push_back(root);
    a.push_back(f->a);
    b.push_back(f->b);
  }
  const Tensor first = mixed(a, signed_roots, options, generator);  // A's draws come first
  return {first, mixed(b, roots, options, generator)};
}

// `turned`: the base stores [in, out], and PEFT goes through an update's entries in that order.
Product decomposed_mixture(const std::vector<Summand>& summands, const CombineOptions& options, int64_t rank, bool turned, at::Generator& generator) {
  std::vector<Tensor> deltas;
  std::vector<double> weights;
  for (auto& [f, weight, adapter] : summands) {
    const Tensor delta = at::mm(f->b, f->a) * f->scale;
    deltas.push_back(turned ? delta.t() : delta);
    weights.push_back(weight);
  }
  const Tensor delta = mixed(deltas, weights, options, generator);
  const auto [u, s, vh] = at::linalg_svd(turned ? delta.t() : delta, false);
  return leading(u, s, vh, rank);
}

// ‖B A‖ from the small products of its factors.
double norm_of(const Tensor& a, const Tensor& b) { return std::sqrt(std::max(0.0, (at::mm(b.t(), b) * at::mm(a, a.t())).sum().item<double>())); }

double relative_difference(const Product& made, const Product& wanted) {
  const Tensor a = wanted.a.to(at::kDouble), b = wanted.b.to(at::kDouble);
  const double norm = norm_of(a, b), difference = norm_of(at::cat({made.a.to(at::kDouble), a}), at::cat({made.b.to(at::kDouble), -b}, 1));
  return norm > 0 ? difference / norm : difference > 0 ? std::numeric_limits<double>::infinity() : 0;
}

void check_shapes(const std::string& path, const std::vector<Summand>& summands, bool same_rank) {
  const Factors& first = *summands[0].factors;
  for (auto& [f, weight, adapter] : summands) {
    if (f->a.size(1) != first.a.size(1) || f->b.size(0) != first.b.size(0) || f->embedding != first.embedding)
      usage_error("merge", fmt::format("'{}' has another shape in '{}' than in '{}'", path, *adapter, *summands[0].adapter), "adapters of one base can be combined");
    if (same_rank && f->a.size(0) != first.a.size(0))
      usage_error("merge", fmt::format("'{}' has the rank {} in '{}' and {} in '{}'", path, first.a.size(0), *summands[0].adapter, f->a.size(0), *adapter),
                  "--combination-type cat, svd and those ending in _svd take different ranks");
  }
}

void check_options(size_t adapters, const CombineOptions& o) {
  if (const auto& types = combination_types(); std::find(types.begin(), types.end(), o.type) == types.end())
    usage_error("merge", fmt::format("unknown combination_type '{}'", o.type), suggest(o.type, types));
  CHECK_THAT(o.weights.size() == adapters, "{} weights for {} adapters", o.weights.size(), adapters);
  if (prunes(o.type) && !o.density) usage_error("merge", fmt::format("--combination-type {} needs --density", o.type), "the share of entries that is kept, such as 0.5");
  if (!prunes(o.type) && o.density) usage_error("merge", fmt::format("--combination-type {} drops no entries: it has no --density", o.type));
  if (o.density && !(*o.density > 0 && *o.density <= 1)) usage_error("merge", fmt::format("--density must be above 0 and at most 1 but is {:g}", *o.density));
  if (o.majority_sign != "total" && o.majority_sign != "frequency")
    usage_error("merge", fmt::format("unknown majority_sign_method '{}'", o.majority_sign), "known: total, frequency");
  if (o.svd_rank && !decomposes(o.type)) usage_error("merge", fmt::format("--combination-type {} decomposes nothing: it has no --svd-rank", o.type));
  if (o.svd_rank && *o.svd_rank < 1) usage_error("merge", fmt::format("--svd-rank must be at least 1 but is {}", *o.svd_rank));
}

}  // namespace

const std::vector<std::string>& combination_types() {
  static const std::vector<std::string> types{"svd",       "linear",      "cat",           "ties",            "ties_svd",       "dare_ties",
                                              "dare_linear", "dare_ties_svd", "dare_linear_svd", "magnitude_prune", "magnitude_prune_svd"};
  return types;
}
bool decomposes(const std::string& type) { return type.ends_with("svd"); }
bool elects_signs(const std::string& type) { return type.find("ties") != std::string::npos; }
bool prunes(const std::string& type) { return type != "svd" && type != "linear" && type != "cat"; }

Combination combine(const std::vector<AdapterFile>& files, const CombineOptions& given) {
  at::NoGradGuard no_grad;
  check_options(files.size(), given);
  CombineOptions options = given;
  if (files.size() == 1) options.type = "linear";  // the others scale one adapter no better
  Combination result{.type = options.type};
  std::vector<Lora> loras;
  std::map<std::string, std::vector<Summand>, ModelOrder> modules;
  int64_t most = 0, sum = 0;
  bool conv1d = false;
  for (auto& file : files) {
    loras.push_back(read_lora(file, result.copies));
    conv1d |= loras.back().conv1d;  // PEFT says so of a base's first adapter only
  }
  for (size_t i = 0; i < loras.size(); ++i) {
    for (auto& [path, factors] : loras[i].modules) modules[path].push_back({&factors, options.weights[i], &loras[i].name});
    most = std::max(most, loras[i].most);
    sum += loras[i].most;
    if (result.base_model.empty()) result.base_model = files[i].base_model;
  }
  at::Generator generator = at::detail::createCPUGenerator(options.seed);
  const int64_t rank = options.svd_rank.value_or(most);
  for (auto& [path, summands] : modules) {
    check_shapes(path, summands, options.type != "cat" && !decomposes(options.type));
    const bool embedding = summands[0].factors->embedding;
    const bool turned = embedding || (conv1d && last_part(path) != "lm_head");
    const Product wanted = exact_sum(summands);
    Product made = wanted;
    if (options.type == "svd") made = decomposed_product(wanted, rank);
    else if (decomposes(options.type)) made = decomposed_mixture(summands, options, rank, turned, generator);
    else if (options.type != "cat") made = mixed_factors(summands, options, generator);
    if (options.type == "cat") {  // one rank for all modules, as PEFT has it: the rest is zeros
      const int64_t missing = sum - made.a.size(0);
      made = {at::constant_pad_nd(made.a, {0, 0, 0, missing}), at::constant_pad_nd(made.b, {0, missing})};
    }
    result.difference = std::max(result.difference, relative_difference(made, wanted));
    result.updates.push_back({.path = path, .conv1d = conv1d, .a = made.a, .b = made.b, .embedding = embedding});
  }
  return result;
}

}  // namespace graft
