// LoRA adapters that become one: what is exact, what is drawn, what is refused, and what PEFT makes of the same.
#include "adapter/combine.h"

#include <ATen/CPUGeneratorImpl.h>

#include <cmath>
#include <set>

#include "adapter/compose.h"
#include "adapter/merge.h"
#include "core/files.h"
#include "core/torch.h"
#include "model/decoder.h"
#include "model/loader.h"
#include "support/conformance.h"
#include "support/support.h"

namespace graft {
namespace {

using testing::error_of;
using testing::TempFolder;

class Combined : public ::testing::Test {
 protected:
  // A LoRA with random values, saved under its name.
  AdapterFile lora(const std::string& name, const Json& options, const char* method = "lora") {
    auto m = find_method(method).make();
    from_json(m->config(), options, method);
    Adapted adapted = attach(base_, find_method(method), std::move(m), 1);
    at::NoGradGuard no_grad;
    for (auto& p : adapted.method->params()) p.value.add_(at::randn(p.value.sizes(), generator_, p.value.options().requires_grad(false)) * 0.1);
    save_adapter(adapted, folder_ / name, "somewhere");
    return read_adapter(folder_ / name);
  }
  static CombineOptions options(const std::string& type, std::vector<double> weights = {0.7, -0.3}) {
    CombineOptions o{.type = type, .weights = std::move(weights)};
    if (prunes(type)) o.density = 0.5;
    return o;
  }
  Tensor logits_of(const Adapted& a) {
    at::NoGradGuard no_grad;
    const Batch batch{{3, 9, 4, 17, 5, 11}, {0, 6}, {}};
    return logits(a.model, a.sites, hidden_states(a.model, a.sites, lay_out(a.model, a.sites, batch)));
  }
  Adapted written(const Combination& made) {
    save_lora(made.updates, folder_ / "made", made.base_model, made.copies);
    return load_adapter(base_, folder_ / "made");
  }
  Adapted sum(const std::vector<AdapterFile>& files, const std::vector<double>& weights) {
    std::vector<Part> parts;
    for (size_t i = 0; i < files.size(); ++i) parts.push_back({std::make_shared<const Adapted>(load_adapter(base_, files[i].folder)), "", weights[i]});
    return composed(base_, parts, Compose::Sum);
  }
  std::string refusal(const std::vector<AdapterFile>& files, const CombineOptions& o, Fault fault = Fault::Usage) {
    return error_of([&] { combine(files, o); }, fault);
  }

  Model base_ = random_model(testing::tiny_config("llama"), 3);
  TempFolder folder_;
  at::Generator generator_ = at::detail::createCPUGenerator(4);
};

double gap(const Tensor& a, const Tensor& b) { return (a - b).abs().max().item<double>(); }

#define EXPECT_SAYS(message, part) EXPECT_NE(message.find(part), std::string::npos) << message

// tools/golden/combinations.py: what PEFT makes of the same adapters, of every type.
TEST_F(Combined, EveryTypeIsPeftsOwn) {
  const Json golden = read_json(testing::source_folder() / "tests/adapter/golden/combinations.json");
  for (auto& [base, of_base] : golden["bases"].items()) {
    std::vector<AdapterFile> files;
    for (auto& adapter : of_base["adapters"]) {
      const auto folder = folder_ / fmt::format("{}{}", base, files.size());
      make_folder(folder);
      NamedTensors tensors;
      for (auto& [name, shape] : adapter["tensors"].items()) {
        Tensor t = at::empty(shape.get<std::vector<int64_t>>(), at::kFloat);
        for (int64_t i = 0; i < t.numel(); ++i)
          t.mutable_data_ptr<float>()[i] =
              static_cast<float>(0.2 * std::sin(1.7 * static_cast<double>(tensors.size()) + 0.9 * static_cast<double>(i) + 0.3 * static_cast<double>(files.size())));
        tensors.emplace_back(name, t);
      }
      save_safetensors(folder / "adapter_model.safetensors", tensors);
      write_json(folder / "adapter_config.json", adapter["config"]);
      files.push_back(read_adapter(folder));
    }
    std::set<std::string> types;
    for (auto& c : of_base["cases"]) {
      CombineOptions o{.type = c["type"], .weights = golden["weights"], .seed = golden["seed"]};
      const Json& extra = c["options"];
      if (extra.contains("density")) o.density = extra["density"];
      if (extra.contains("svd_rank")) o.svd_rank = extra["svd_rank"];
      o.majority_sign = extra.value("majority_sign_method", "total");
      const Combination made = combine(files, o);
      types.insert(o.type);
      ASSERT_EQ(made.updates.size(), c["values"].size());
      for (auto& update : made.updates) {
        const Tensor product = at::mm(update.b.to(at::kDouble), update.a.to(at::kDouble)).flatten();
        const Json& expected = c["values"].at(update.path);
        for (int64_t i = 0; i < 10; ++i)
          EXPECT_NEAR(product[i * (product.numel() / 10)].item<double>(), expected[static_cast<size_t>(i)].get<double>(), 2e-6) << base << " " << o.type << " " << update.path;
      }
    }
    EXPECT_EQ(types.size(), combination_types().size());
  }
}

// Different ranks, scales, targets and an embedding: the joined updates are the weighted sum, and so is a decomposition of enough rank.
TEST_F(Combined, CatAndFullDecompositionAreTheWeightedSum) {
  const std::vector<AdapterFile> files{lora("a", {{"r", 2}, {"lora_alpha", 5}, {"target_modules", "all-linear"}, {"rank_pattern", {{"q_proj", 3}}}, {"alpha_pattern", {{"v_proj", 7}}}}),
                                       lora("b", {{"r", 4}, {"use_rslora", true}, {"target_modules", {"embed_tokens", "q_proj", "up_proj"}}})};
  const Tensor expected = logits_of(sum(files, {0.7, -0.3}));
  const Combination cat = combine(files, options("cat"));
  EXPECT_EQ(cat.updates[0].path, "model.embed_tokens");
  for (auto& update : cat.updates) EXPECT_EQ(update.a.size(0), 7) << update.path;
  EXPECT_LT(cat.difference, 1e-6);
  EXPECT_LT(gap(logits_of(written(cat)), expected), 1e-4);
  CombineOptions full = options("svd");
  full.svd_rank = 7;
  const Combination svd = combine(files, full);
  EXPECT_LT(svd.difference, 1e-6);
  EXPECT_LT(gap(logits_of(written(svd)), expected), 1e-4);
  const Combination cut = combine(files, options("svd"));  // rank 4
  EXPECT_GT(cut.difference, 0.05);
  EXPECT_LT(cut.difference, 1);
}

// The decomposition by way of the factors is the best of its rank.
TEST_F(Combined, TheDecompositionIsTheBestOfItsRank) {
  const std::vector<AdapterFile> files{lora("a", {{"r", 3}, {"target_modules", {"q_proj"}}}), lora("b", {{"r", 3}, {"target_modules", {"q_proj"}}})};
  const Combination cat = combine(files, options("cat")), svd = combine(files, options("svd"));
  for (size_t i = 0; i < cat.updates.size(); ++i) {
    const Tensor delta = at::mm(cat.updates[i].b, cat.updates[i].a).to(at::kDouble);
    const auto [u, s, vh] = at::linalg_svd(delta, false);
    const Tensor best = at::mm(u.narrow(1, 0, 3) * s.narrow(0, 0, 3), vh.narrow(0, 0, 3));
    EXPECT_LT(gap(at::mm(svd.updates[i].b, svd.updates[i].a).to(at::kDouble), best), 1e-6);
    EXPECT_LT(gap(at::mm(svd.updates[i].a, svd.updates[i].a.t()), at::eye(3)), 1e-5);
  }
}

// Every entry that no rule drops counts as in the plain sum, and what is left out is reported.
TEST_F(Combined, RulesMeetWhereTheyShould) {
  const std::vector<AdapterFile> files{lora("a", {{"r", 2}}), lora("b", {{"r", 2}, {"lora_alpha", 3}})};
  const Tensor linear = combine(files, options("linear")).updates[0].a;
  const auto first = [&](CombineOptions o, double density) {
    o.density = density;
    return combine(files, o).updates[0].a;
  };
  for (const char* type : {"magnitude_prune", "dare_linear"}) {
    EXPECT_EQ(gap(first(options(type), 1), linear), 0) << type;
    EXPECT_GT(gap(first(options(type), 0.5), linear), 1e-3) << type;
  }
  const auto dare = [&](uint64_t seed) {
    CombineOptions o = options("dare_ties");
    o.seed = seed;
    return combine(files, o).updates[0].a;
  };
  EXPECT_EQ(gap(dare(3), dare(3)), 0);
  EXPECT_GT(gap(dare(3), dare(4)), 1e-3);
  CombineOptions frequency = options("ties");
  frequency.majority_sign = "frequency";
  EXPECT_GT(std::abs(combine(files, frequency).difference - combine(files, options("ties")).difference), 1e-3);
  for (auto& type : combination_types())
    if (type != "cat") {
      EXPECT_GT(combine(files, options(type)).difference, 1e-3) << type;
    }
  // One adapter is scaled.
  const Combination half = combine({files[0]}, options("svd", {0.5}));
  EXPECT_EQ(half.type, "linear");
  EXPECT_LT(gap(logits_of(written(half)), logits_of(sum({files[0]}, {0.5}))), 1e-5);
}

TEST_F(Combined, WhatDoesNotFitIsRefused) {
  const AdapterFile a = lora("a", {{"r", 2}}), b = lora("b", {{"r", 4}});
  EXPECT_SAYS(refusal({a, b}, options("linear")), "has the rank 2 in");
  EXPECT_SAYS(refusal({a, b}, options("linear")), "--combination-type cat, svd");
  EXPECT_SAYS(refusal({a, b}, options("tie")), "unknown combination_type 'tie'");
  CombineOptions o = options("ties");
  o.density.reset();
  EXPECT_SAYS(refusal({a, a}, o), "needs --density");
  for (const double density : {0.0, -0.1, 1.5}) {
    o.density = density;
    EXPECT_SAYS(refusal({a, a}, o), "above 0 and at most 1");
  }
  o = options("svd");
  o.density = 0.5;
  EXPECT_SAYS(refusal({a, a}, o), "has no --density");
  o = options("cat");
  o.svd_rank = 3;
  EXPECT_SAYS(refusal({a, a}, o), "has no --svd-rank");
  o = options("svd");
  o.svd_rank = 0;
  EXPECT_SAYS(refusal({a, a}, o), "--svd-rank");
  o = options("ties");
  o.majority_sign = "loud";
  EXPECT_SAYS(refusal({a, a}, o), "'loud'");
}

TEST_F(Combined, OnlyPlainLoraIsTaken) {
  const AdapterFile a = lora("a", {{"r", 2}});
  const std::vector<std::tuple<const char*, Json, const char*>> refused{
      {"dora", {{"r", 2}}, "use_dora"},
      {"lora", {{"r", 2}, {"lora_bias", true}}, "lora_bias"},
      {"lora", {{"r", 2}, {"bias", "all"}}, "bias = \"all\""},
      {"lora", {{"r", 2}, {"modules_to_save", {"lm_head"}}}, "modules_to_save"},
      {"lora", {{"r", 2}, {"trainable_token_indices", {3}}}, "trainable_token_indices"},
      {"loha", {{"r", 2}}, "only LoRA adapters"},
      {"kasa", {{"r", 2}}, "only LoRA adapters"},
      {"prefix_tuning", {{"num_virtual_tokens", 2}}, "only LoRA adapters"}};
  Json config = testing::tiny_config("llama");
  config["attention_bias"] = true;
  base_ = random_model(config, 3);
  for (auto& [method, options_of, word] : refused) EXPECT_SAYS(refusal({a, lora("other", options_of, method)}, options("cat")), word);
  AdapterFile pissa = a;
  pissa.folder = folder_ / "pissa";
  std::filesystem::copy(a.folder, pissa.folder, std::filesystem::copy_options::recursive);
  Json json = read_json(pissa.folder / "adapter_config.json");
  json["init_lora_weights"] = "pissa";
  write_json(pissa.folder / "adapter_config.json", json);
  EXPECT_SAYS(refusal({a, pissa}, options("cat")), "init_lora_weights = \"pissa\"");
  AdapterFile half = a;
  half.tensors.erase(half.tensors.begin());
  EXPECT_SAYS(refusal({a, half}, options("cat"), Fault::Input), "do not belong together");
}

}  // namespace
}  // namespace graft
