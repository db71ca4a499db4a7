// Adapters that PEFT and AdapterHub wrote give their logits; files that are not right are refused with a reason.
#include <ATen/Parallel.h>

#include <cmath>

#include "adapter/convert.h"
#include "adapter/folder.h"
#include "adapter/merge.h"
#include "core/files.h"
#include "core/torch.h"
#include "methods/common/targets.h"
#include "model/decoder.h"
#include "model/loader.h"
#include "support/conformance.h"
#include "support/support.h"

namespace graft {
namespace {

using testing::error_of;
using testing::TempFolder;

// Tiny tensors: more than one thread only costs time.
struct OneThread : ::testing::Environment {
  void SetUp() override { at::set_num_threads(1); }
};
const auto* const one_thread = ::testing::AddGlobalTestEnvironment(new OneThread);

const std::filesystem::path kGolden = std::filesystem::path(__FILE__).parent_path() / "golden";

// tools/golden/adapters.py: scale · sin(1.7 k + 0.9 i), plus 1 for gains.
Tensor formula(const std::vector<int64_t>& shape, double k, double scale, bool gain) {
  Tensor t = at::empty(shape, at::kFloat);
  float* out = t.mutable_data_ptr<float>();
  for (int64_t i = 0; i < t.numel(); ++i)
    out[i] = static_cast<float>(scale * std::sin(1.7 * k + 0.9 * static_cast<double>(i)) + (gain ? 1 : 0));
  return t;
}
bool is_gain(const std::string& name) {
  return name.ends_with("weight") && (name.find("norm") != std::string::npos || name.find(".ln_") != std::string::npos);
}
bool is_adapter_gain(const std::string& name) {
  for (const char* ending : {"ia3_l", "lora_magnitude_vector", "ln_tuning_layers.weight", ".scaling"})
    if (name.ends_with(ending)) return true;
  return is_gain(name) && name.find(".lora_") == std::string::npos;
}

Model formula_model(const Json& config) {
  Model model = random_model(config, 1);
  std::map<std::string, std::pair<Tensor*, std::pair<std::vector<int64_t>, bool>>> handles;
  visit_weights(model, [&](const std::string& name, Tensor& handle, const std::vector<int64_t>& shape, bool conv1d) {
    handles[name] = {&handle, {shape, conv1d}};
  });
  double k = 0;
  for (auto& [name, entry] : handles) {
    const Tensor stored = formula(entry.second.first, k++, 0.3, is_gain(name));
    *entry.first = entry.second.second ? stored.t() : stored;
  }
  return model;
}

void write_adapter(const Json& golden, const Model& base, const std::filesystem::path& folder) {
  make_folder(folder);
  std::map<std::string, Tensor> tensors;
  double k = 0;
  for (auto& [name, shape] : golden["tensors"].items()) {  // in the order of the names
    const double number = k++;
    if (name.ends_with(".zeros"))
      tensors[name] = at::zeros(shape.get<std::vector<int64_t>>());
    else if (name.find(".base_layer.weight") == std::string::npos)
      tensors[name] = formula(shape.get<std::vector<int64_t>>(), number, 0.2, is_adapter_gain(name));
    else
      tensors[name] = name.find("lm_head") == std::string::npos || base.config.tied_head ? base.tokens.weight : base.head.weight;
  }
  if (golden["config"].value("ensure_weight_tying", false)) {
    Tensor a, b;
    for (auto& [name, value] : tensors)
      if (name.ends_with("lora_embedding_A"))
        a = value;
      else if (name.ends_with("lora_embedding_B"))
        b = value;
    for (auto& [name, value] : tensors)
      if (name.ends_with("lm_head.lora_A.weight"))
        value = b.t();
      else if (name.ends_with("lm_head.lora_B.weight"))
        value = a.t();
  }
  const bool hub = golden["config"].contains("config");
  write_json(folder / "adapter_config.json", golden["config"]);
  save_safetensors(folder / (hub ? "adapter.safetensors" : "adapter_model.safetensors"),
                   NamedTensors(tensors.begin(), tensors.end()));
}

Tensor logits_of(const Model& model, const Sites& sites, const std::vector<int64_t>& ids) {
  at::NoGradGuard no_grad;
  const Batch batch{ids, {0, static_cast<int64_t>(ids.size())}, {}};
  const Tensor all = logits(model, sites, hidden_states(model, sites, lay_out(model, sites, batch)));
  return all.narrow(0, all.size(0) - batch.tokens(), batch.tokens());
}

TEST(Adapters, OthersFilesGiveTheirLogits) {
  const Json golden = read_json(kGolden / "peft_adapters.json");
  const auto ids = golden["ids"].get<std::vector<int64_t>>();
  int checked = 0;
  for (auto& c : golden["cases"]) {
    SCOPED_TRACE(fmt::format("{} on {}", c["label"].get<std::string>(), c["base"].get<std::string>()));
    const TempFolder folder;
    const Model base = formula_model(golden["bases"][c["base"].get<std::string>()]);
    write_adapter(c, base, folder / "adapter");
    Adapted adapted = load_adapter(base, folder / "adapter");
    const auto worst = [&](const Adapted& a) {
      const Tensor ours = logits_of(a.model, a.sites, ids);
      double difference = 0;
      for (size_t row = 0; row < 3; ++row)
        for (int64_t column = 0; column < 6; ++column)
          difference = std::max(difference, std::abs(ours[static_cast<int64_t>(row * 4)][column].item<double>() -
                                                     c["logits"][row][column].get<double>()));
      return difference;
    };
    EXPECT_LT(worst(adapted), 1e-4);
    save_adapter(adapted, folder / "again", folder.path());  // what graft writes of it says the same
    EXPECT_LT(worst(load_adapter(base, folder / "again")), 1e-4);
    if (adapted.row->mergeable) {
      const Model folded = merged(adapted);
      EXPECT_LT((logits_of(folded, Sites(folded.layers()), ids) - logits_of(adapted.model, adapted.sites, ids))
                    .abs()
                    .max()
                    .item<double>(),
                1e-4);
      save_model(folded, folder / "merged", {}, at::kFloat);  // tied or not, the folder says it
      const Model loaded = load_model(folder / "merged");
      EXPECT_EQ(loaded.config.tied_head, folded.config.tied_head);
      EXPECT_LT((logits_of(loaded, Sites(loaded.layers()), ids) - logits_of(folded, Sites(folded.layers()), ids))
                    .abs()
                    .max()
                    .item<double>(),
                1e-5);
    }
    ++checked;
  }
  EXPECT_GE(checked, 90);
}

TEST(Adapters, AdaLoraSharesOutRanksAsTheReference) {
  const Json golden = read_json(kGolden / "adalora.json");
  const Model base = formula_model(read_json(kGolden / "peft_adapters.json")["bases"]["llama"]);
  const MethodRow& row = find_method("adalora");
  const auto make = [&] {
    auto method = row.make();
    from_json(method->config(), golden["options"], "adalora");
    return attach(base, row, std::move(method), 1);
  };
  Adapted adapted = make();
  adapted.method->start_training(10);
  at::NoGradGuard no_grad;
  const auto sorted = [](Adapted& a) {
    std::map<std::string, Tensor> params;
    for (auto& p : a.method->params()) params[p.name] = p.value;
    return params;
  };
  double k = 0;
  for (auto& [name, value] : sorted(adapted)) value.copy_(formula(value.sizes().vec(), k++, 0.5, false));
  for (int64_t step = 1; step <= 10; ++step) {
    k = 0;
    for (auto& [name, value] : sorted(adapted)) {
      Tensor parameter = value;
      parameter.mutable_grad() = formula(value.sizes().vec(), k++ + 10 * static_cast<double>(step), 0.1, false);
      parameter.sub_(parameter.grad(), 0.5);
    }
    adapted.method->after_step(step);
    for (auto& [name, values] : golden["steps"][static_cast<size_t>(step - 1)].items()) {
      const Tensor e = sorted(adapted).at(name);
      for (size_t i = 0; i < values.size(); ++i)
        EXPECT_NEAR(e[static_cast<int64_t>(i)].item<double>(), values[i].get<double>(), 2e-6) << name << " at step " << step;
    }
    if (step == 5) {  // a resumed run goes on the same way
      Adapted resumed = make();
      resumed.method->start_training(10);
      for (auto& [name, value] : sorted(resumed)) value.copy_(sorted(adapted).at(name));
      resumed.method->load_state(adapted.method->state(), "state");
      adapted = std::move(resumed);
    }
  }
  EXPECT_EQ(adapted.method->file_config(adapted.model)["rank_pattern"], golden["rank_pattern"]);
  const TempFolder folder;
  save_adapter(adapted, folder / "pruned", folder.path());
  const Adapted loaded = load_adapter(base, folder / "pruned");
  int64_t ranks = 0;
  for (auto& p : loaded.method->params())
    if (p.name.ends_with("lora_E")) ranks += p.value.size(0);
  EXPECT_EQ(ranks, 8);
  const std::vector<int64_t> ids{1, 2, 3, 4};
  EXPECT_LT(
      (logits_of(loaded.model, loaded.sites, ids) - logits_of(adapted.model, adapted.sites, ids)).abs().max().item<double>(),
      1e-5);
}

class Files : public ::testing::Test {
 protected:
  void SetUp() override {
    auto method = find_method("lora").make();
    from_json(method->config(), {{"r", 2}}, "lora");
    Adapted adapted = attach(base_, find_method("lora"), std::move(method), 1);
    save_adapter(adapted, folder_ / "a", folder_.path());
  }
  Json config() { return read_json(folder_ / "a/adapter_config.json"); }
  void with(const Json& change) {
    Json json = config();
    json.update(change);
    write_json(folder_ / "a/adapter_config.json", json);
  }
  // The message with which an adapter of this configuration is refused.
  std::string refusal(const Json& change, Fault fault = Fault::Usage) {
    const Json before = config();
    with(change);
    const std::string message = error_of([&] { load_adapter(base_, folder_ / "a"); }, fault);
    write_json(folder_ / "a/adapter_config.json", before);
    return message;
  }
  const Model base_ = random_model(testing::tiny_config("llama"), 3);
  const TempFolder folder_;
};

#define EXPECT_SAYS(message, part) EXPECT_NE(message.find(part), std::string::npos) << message

TEST_F(Files, FieldsThatAreNotUnderstoodAreNamedWithTheirWriter) {
  EXPECT_SAYS(refusal({{"new_trick", 3}, {"peft_version", "0.99.0"}}),
              "(written by PEFT 0.99.0): the field 'new_trick' = 3 is not understood");
  for (const char* field :
       {"layer_replication", "alora_invocation_tokens", "target_parameters", "use_qalora", "arrow_config"})
    EXPECT_SAYS(refusal({{field, {1}}}), fmt::format("'{}'", field));
  for (const char* start : {"loftq", "corda", "lora_ga", "pissa_niter_4", "word"})
    EXPECT_SAYS(refusal({{"init_lora_weights", start}}), start);
  EXPECT_SAYS(refusal({{"rank_pattern", {{"q_porj", 2}}}}), "'q_porj' matches no adapted module");
  EXPECT_SAYS(refusal({{"alpha_pattern", {{"q_proj", 2}, {".*q_proj", 3}}}}), "with different values");
  EXPECT_SAYS(refusal({{"modules_to_save", 3}}), "modules_to_save");
  EXPECT_SAYS(refusal({{"modules_to_save", {"o_proj"}}, {"target_modules", {"o_proj"}}}), "no module is left to adapt");
  EXPECT_SAYS(refusal({{"target_modules", {"mlp"}}}), "neither a linear module nor the token embedding");
  EXPECT_SAYS(refusal({{"target_modules", ".*_proj"}, {"layers_to_transform", 1}}), "regular expression");
  EXPECT_SAYS(refusal({{"trainable_token_indices", {1, 1}}}), "each must stand once");
}

TEST_F(Files, AdaptersWithNamesLieInSubFolders) {
  make_folder(folder_ / "named");
  std::filesystem::copy(folder_ / "a", folder_ / "named/one", std::filesystem::copy_options::recursive);
  EXPECT_EQ(read_adapter(folder_ / "named").tensors.size(), read_adapter(folder_ / "a").tensors.size());
  std::filesystem::copy(folder_ / "a", folder_ / "named/two", std::filesystem::copy_options::recursive);
  EXPECT_SAYS(error_of([&] { read_adapter(folder_ / "named"); }, Fault::Input), "one, two");
  std::filesystem::rename(folder_ / "a/adapter_model.safetensors", folder_ / "a/adapter_model.bin");
  EXPECT_SAYS(error_of([&] { read_adapter(folder_ / "a"); }, Fault::Input), "pickle");
}

TEST_F(Files, APlainLoraComesFromAnyUpdateWithAReportedError) {
  auto method = find_method("dora").make();
  from_json(method->config(), {{"r", 2}, {"target_modules", "all-linear"}}, "dora");
  Adapted dora = attach(base_, find_method("dora"), std::move(method), 1);
  {
    at::NoGradGuard no_grad;
    double k = 0;
    for (auto& p : dora.method->params()) p.value.add_(formula(p.value.sizes().vec(), k++, 0.2, false));
  }
  const Model changed = merged(dora);
  EXPECT_SAYS(error_of([&] { factor_updates(base_, changed, &dora, {}); }, Fault::Usage), "--rank");
  const LoraConversion exact = factor_updates(base_, changed, &dora, 64), rough = factor_updates(base_, changed, &dora, 1);
  EXPECT_LT(exact.error, 1e-5);
  EXPECT_GT(rough.error, 0.05);
  EXPECT_TRUE(exact.lost.empty());
  save_lora(exact.updates, folder_ / "exact", folder_.path());
  const Adapted lora = load_adapter(base_, folder_ / "exact");
  const std::vector<int64_t> ids{1, 2, 3, 4, 5};
  EXPECT_LT(
      (logits_of(lora.model, lora.sites, ids) - logits_of(changed, Sites(changed.layers()), ids)).abs().max().item<double>(),
      1e-4);
  // The error that is reported for a module is the one of its factors.
  for (auto& u : rough.updates) {
    const Model &before = base_, &after = changed;
    if (u.site != Site::Q) continue;
    const Tensor delta = after.blocks[u.layer].q.weight - before.blocks[u.layer].q.weight;
    EXPECT_NEAR((delta - at::mm(u.b, u.a)).norm().item<double>() / delta.norm().item<double>(), u.error, 1e-4);
  }
}

TEST_F(Files, GgufHoldsTheUpdateInLlamaCppsOrder) {
  Adapted lora = load_adapter(base_, folder_ / "a");
  {
    at::NoGradGuard no_grad;
    double k = 0;
    for (auto& p : lora.method->params()) p.value.add_(formula(p.value.sizes().vec(), k++, 0.2, false));
  }
  save_gguf_lora(factor_updates(base_, merged(lora), &lora, {}), base_, folder_ / "a.gguf");
  const std::string bytes = read_file(folder_ / "a.gguf");
  EXPECT_EQ(bytes.substr(0, 8), std::string("GGUF\3\0\0\0", 8));
  for (const char* text :
       {"general.architecture", "adapter.lora.alpha", "blk.0.attn_q.weight.lora_a", "blk.1.attn_v.weight.lora_b"})
    EXPECT_NE(bytes.find(text), std::string::npos) << text;
  EXPECT_EQ(bytes.size() % 32, 0u);
}

}  // namespace
}  // namespace graft
