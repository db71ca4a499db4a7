// UniPELT (arXiv 2110.07577): prefix tuning, Pfeiffer adapters and LoRA in one, each behind gates that see the document.
//   gate g = mean over the prompt's tokens of sigmoid(w x + c), one number for each document and gate
//   attention   softmax(Q [g P_k; K]ᵀ/√d_h) [g P_v; V], P as in mam.cpp, x the attention's input
//   q, v        y = W x + b + g · B A x
//   MLP         h ← h + g · (W_u relu(W_d z + b_d) + b_u), gate and adapter read z = h + res
// Trained: all three and their gates. Init as AdapterHub's: gates normal(0, 0.02), B 0. Not the identity, not mergeable.
// As in AdapterHub g takes the place of α/r: alpha is kept for the file and changes nothing. In GPT-2 q and v are two LoRAs with a gate each inside c_attn; where another
// family stores q, k and v as one weight, it has one LoRA.
// Deviation: AdapterHub's gates see the whole sequence, answers included, and of a decoded token only itself. Here they see the prompt (sites/edit.h), so that no
// loss is computed with a look at its answer and generation equals training; where all of a document is learned they see all of it, as AdapterHub's.
#include "core/check.h"
#include "core/torch.h"
#include "kernels/dropout.h"
#include "kernels/linear.h"
#include "methods/common/base_params.h"
#include "methods/common/bottleneck.h"
#include "methods/common/companions.h"
#include "methods/common/hub_parts.h"
#include "methods/common/init.h"
#include "methods/common/prompt_mean.h"

namespace graft {
namespace {

struct GatedLoraConfig : Config {
  int64_t r = 8, alpha = 2;
  double dropout = 0;
  Json attn_matrices = {"q", "v"};
  void visit(Fields& f) override {
    f("r", r, "rank of the update", at_least(1));
    f("alpha", alpha, "written to the file; the gates take its place", at_least(1));
    f("dropout", dropout, "dropout on the update's input", between(0, 0.999));
    f("attn_matrices", attn_matrices, "which of q, k, v are updated; a weight that holds all three, other than GPT-2's, is updated whole");
  }
};

// One LoRA, or one for each chosen third of a fused weight's outputs.
struct GatedLoraEdit : WeightEdit {
  Tensor a, b, gate, gate_bias;  // [groups·r, in], [groups·part, r], [groups, in], [groups]
  std::vector<bool> chosen{true};
  double dropout = 0;

  Tensor linear(const Linear&, const Tensor&, bool) const override { CHECK_THAT(false, "a gate needs its documents"); }
  Tensor linear_in(const Linear& base, const Tensor& x, const Documents& documents, bool training) const override {
    const Tensor y = kernels::linear(x, base.weight, base.bias), input = x.to(a.scalar_type());
    const Tensor inner = kernels::linear(training && dropout > 0 ? kernels::dropout(input, dropout) : input, a, {});
    const Tensor g = prompt_mean(at::sigmoid(kernels::linear(input, gate, gate_bias)), documents, this).index_select(0, documents.of_row);
    const int64_t r = b.size(1), part = base.out() / static_cast<int64_t>(chosen.size());
    std::vector<Tensor> parts;
    int64_t group = 0;
    for (const bool is_chosen : chosen) {
      if (!is_chosen) {
        parts.push_back(at::zeros({x.size(0), part}, input.options()));
        continue;
      }
      parts.push_back(kernels::linear(inner.narrow(1, group * r, r), b.narrow(0, group * part, part), {}) * g.narrow(1, group, 1));
      ++group;
    }
    return y + (parts.size() == 1 ? parts[0] : at::cat(parts, 1)).to(y.scalar_type());
  }
  std::optional<Linear> merged(const Linear&) const override { return std::nullopt; }
  Reads reads() const override { return Reads::Document; }
};

class GatedLora : public Method {
 public:
  GatedLoraConfig options;
  Config& config() override { return options; }
  void attach(AttachContext& context) override {
    const Json& names = options.attn_matrices = as_name_list(options.attn_matrices);
    const auto has = [&](const char* name) { return std::find(names.begin(), names.end(), Json(name)) != names.end(); };
    if (!names.is_array() || names.empty() || has("q") + has("k") + has("v") != static_cast<int>(names.size()))
      usage_error("unipelt", fmt::format("attn_matrices must name some of q, k, v but is {}", json_line(names)));
    visit_linears(context.model, [&](Site site, int64_t layer, Linear& linear) {
      std::vector<bool> chosen{true};
      if (site == Site::Qkv && linear.conv1d) chosen = {has("q"), has("k"), has("v")};
      else if (!(site == Site::Qkv || (site == Site::Q && has("q")) || (site == Site::K && has("k")) || (site == Site::V && has("v")))) return;
      const int64_t groups = std::count(chosen.begin(), chosen.end(), true), part = linear.out() / static_cast<int64_t>(chosen.size());
      if (const int64_t most = std::min(linear.in(), part); options.r > most)
        usage_error("unipelt", fmt::format("r must be in 1..min(in, out) = {} but is {} ({})", most, options.r, linear.path), "choose a smaller r");
      const auto tensors = adapter_options(context.model);
      auto edit = std::make_shared<GatedLoraEdit>();
      edit->chosen = chosen;
      edit->dropout = options.dropout;
      const std::string name = linear.path + ".loras.default.";
      edit->a = add(name + "lora_A", kaiming_uniform({groups * options.r, linear.in()}, tensors, context.generator));
      edit->b = add(name + "lora_B", zeros({groups * part, options.r}, tensors));
      edit->gate = add(name + "gate.weight", normal({groups, linear.in()}, 0.02, tensors, context.generator));
      edit->gate_bias = add(name + "gate.bias", uniform({groups}, 1 / std::sqrt(static_cast<double>(linear.in())), tensors, context.generator), false);
      context.sites.put(site, layer, edit);
    });
  }
  Json file_config(const Model&) override {
    Json json = fixed();
    json.update(to_json(options));
    return json;
  }
  void read_file_config(const Json& json, const std::string& tag) override {
    Json own = Json::object();
    const Json others = fixed();
    for (auto& [key, value] : json.items()) {
      if (!others.contains(key)) own[key] = value;
      else if (key != "init_weights_seed" && key != "init_weights" && key != "dtype" && key != "vera_d" && key != "vera_b" && others[key] != value)
        usage_error(tag, fmt::format("{} = {} is not supported in a union", key, json_line(value)), fmt::format("it must be {}", json_line(others[key])));
    }
    from_json(options, own, tag);
  }
  int file_fit(const Json& json) const override { return json.value("architecture", Json()) == "lora" && json.value("use_gating", Json(false)) == true ? 1 : -1; }

 private:
  static Json fixed() {
    return {{"architecture", "lora"}, {"selfattn_lora", true}, {"intermediate_lora", false}, {"output_lora", false}, {"leave_out", Json::array()}, {"composition_mode", "add"},
            {"init_weights", "lora"}, {"init_weights_seed", nullptr}, {"use_gating", true}, {"use_dora", false}, {"vera_d", nullptr}, {"vera_b", nullptr}, {"dtype", nullptr}};
  }
};

struct UniPeltConfig : Config {
  HubPrefixConfig* prefix = nullptr;
  BottleneckConfig* adapter = nullptr;
  GatedLoraConfig* lora = nullptr;
  void visit(Fields& f) override {
    f("prefix_length", prefix->prefix_length, "rows in front of every document in every layer", between(1, 4096));
    f("bottleneck_size", prefix->bottleneck_size, "width of the network that makes them", at_least(1));
    f("flat", prefix->flat, "train these rows themselves instead");
    f("reduction_factor", adapter->reduction_factor, "the adapter is width / reduction_factor wide");
    f("non_linearity", adapter->non_linearity, "activation in the adapter");
    lora->visit(f);
  }
};

class UniPelt : public Union {
 public:
  UniPelt() {
    parts_ = {&prefix_, &adapter_, &lora_};
    prefix_.options.prefix_length = 10;
    prefix_.options.use_gating = true;
    adapter_.options().gated = true;
    config_.prefix = &prefix_.options;
    config_.adapter = &adapter_.options();
    config_.lora = &lora_.options;
  }
  Config& config() override { return config_; }

 private:
  HubPrefix prefix_;
  Bottleneck adapter_{"unipelt", pfeiffer_options()};
  GatedLora lora_;
  UniPeltConfig config_;
};

}  // namespace

extern const MethodRow kUniPelt;
const MethodRow kUniPelt{.name = "unipelt",
                         .peft_type = nullptr,
                         .title = "UniPELT",
                         .paper = "arXiv 2110.07577",
                         .trains = "a prefix, bottlenecks and low-rank updates, each behind gates",
                         .idea = Idea::Combination,
                         .formula = "prefix tuning, adapters and LoRA, each times g = mean over the prompt of sigmoid(w x + c)",
                         .size = "n d + m d + 2 m L kv_width once, 2 d d/rf + 2 r (in + out) + 4 d a block",
                         .cost = "prefix tuning's, Pfeiffer's and LoRA's together; documents attend one by one; stays at inference",
                         .format = Format::AdapterHub,
                         .mergeable = false,
                         .identity = false,
                         .learning_rate = 1e-3,
                         .make = []() -> std::unique_ptr<Method> { return std::make_unique<UniPelt>(); }};

}  // namespace graft
