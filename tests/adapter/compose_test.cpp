// Several adapters on one model give what their formulas say, merged or not, from a cache or not; the base keeps every bit.
#include "adapter/compose.h"

#include <ATen/CPUGeneratorImpl.h>

#include "adapter/folder.h"
#include "adapter/merge.h"
#include "core/torch.h"
#include "model/decoder.h"
#include "model/loader.h"
#include "support/conformance.h"
#include "support/support.h"

namespace graft {
namespace {

using testing::error_of;

const std::vector<int64_t> kIds{3, 9, 4, 17, 5, 11, 8, 2, 6};
constexpr int64_t kPrompt = 4;

struct Made {
  const char* method;
  Json options = Json::object();
  double weight = 1;
};

Part shaken(Adapted adapted, const std::string& name, uint64_t seed, double weight = 1) {
  at::NoGradGuard no_grad;
  at::Generator generator = at::detail::createCPUGenerator(seed);
  for (auto& p : adapted.method->params()) p.value.add_(at::randn(p.value.sizes(), generator, p.value.options().requires_grad(false)) * 0.1);
  return {std::make_shared<const Adapted>(std::move(adapted)), name, weight};
}

std::vector<Part> parts_of(const Model& base, const std::vector<Made>& made) {
  std::vector<Part> parts;
  for (auto& m : made) {
    auto method = find_method(m.method).make();
    from_json(method->config(), m.options, m.method);
    parts.push_back(shaken(attach(base, find_method(m.method), std::move(method), 5 + parts.size()), fmt::format("{}-{}", m.method, parts.size()), 31 + parts.size(), m.weight));
  }
  return parts;
}

Tensor outputs(const Model& model, const Sites& sites, const std::vector<int64_t>& ids = kIds) {
  at::NoGradGuard no_grad;
  const int64_t n = static_cast<int64_t>(ids.size());
  const Batch batch{ids, {0, n}, {}, {}, {kPrompt}};
  const Tensor all = logits(model, sites, hidden_states(model, sites, lay_out(model, sites, batch)));
  return all.narrow(0, all.size(0) - n, n);
}
Tensor outputs(const Adapted& a) { return outputs(a.model, a.sites); }

double apart(const Tensor& a, const Tensor& b) { return (a - b).abs().max().item<double>(); }

// The logits behind the prompt's end and each token that follows it, from a cache.
Tensor from_cache(const Adapted& a) {
  at::NoGradGuard no_grad;
  KvCache cache = make_cache(a.model, a.sites, 1, static_cast<int64_t>(kIds.size()));
  std::vector<Tensor> rows{next_logits(a.model, a.sites, {{kIds.begin(), kIds.begin() + kPrompt}, {0, kPrompt}, {}}, cache)};
  for (size_t i = kPrompt; i < kIds.size(); ++i) rows.push_back(next_logits(a.model, a.sites, {{kIds[i]}, {0, 1}, {}}, cache));
  return at::cat(rows);
}

Model tiny(const char* family = "llama") { return random_model(testing::tiny_config(family), 3); }

const Json kLora{{"r", 2}, {"target_modules", "all-linear"}};
const Json kHoulsby{{"reduction_factor", 4}};
const Json kHub{{"prefix_length", 2}, {"bottleneck_size", 5}, {"reduction_factor", 4}};
const Json kPrefix{{"num_virtual_tokens", 3}};

// Every weight of the merged model is W + Σ w_i (W_i − W), whatever the methods.
TEST(Composed, ASumIsTheWeightedSumOfTheChanges) {
  for (const char* family : {"llama", "gpt2"}) {
    const Model base = tiny(family);
    const auto parts = parts_of(base, {{"lora", {{"r", 2}, {"target_modules", "all-linear"}, {"bias", "all"}}, 0.7}, {"ln_tuning", Json::object(), -0.4}, {"dora", kLora, 0.5}, {"lora", {{"r", 3}}, 1.2},
                                       {"ia3", Json::object(), 0.3}, {"trainable_tokens", {{"token_indices", {3, 5}}}, 0.6}});
    Model expected = base;
    expected.untie_head();
    std::vector<Tensor*> sum;
    visit_weights(expected, [&](auto&, Tensor& handle, auto&, bool) { sum.push_back(&(handle = handle.clone())); });
    Model before = base;
    before.untie_head();
    for (auto& part : parts) {
      Model own = merged(*part.adapted);
      own.untie_head();
      std::vector<Tensor> originals;
      visit_weights(before, [&](auto&, Tensor& handle, auto&, bool) { originals.push_back(handle); });
      size_t i = 0;
      visit_weights(own, [&](auto&, Tensor& handle, auto&, bool) {
        *sum[i] = *sum[i] + (handle - originals[i]) * part.weight;
        ++i;
      });
    }
    const Adapted joined = composed(base, parts, Compose::Sum);
    const Tensor ours = outputs(joined);
    EXPECT_LT(apart(ours, outputs(expected, Sites(expected.layers()))), 2e-4) << family;
    EXPECT_LT(apart(ours, outputs(merged(joined), Sites(base.layers()))), 2e-4) << family;
    EXPECT_GT(apart(ours, outputs(base, Sites(base.layers()))), 0.05);
  }
}

// Every method, summed and stacked with others: merged equals unmerged where it merges, a cache changes nothing, and alone it is itself.
TEST(Composed, EveryMethodJoinsOthers) {
  const Model base = tiny();
  const auto others = parts_of(base, {{"dora", kLora, 0.8}, {"lora", kLora}});
  int merging = 0;
  for (auto& c : testing::method_cases()) {
    if (c.few || c.row->format == Format::ModelFolder) continue;
    SCOPED_TRACE(c.label);
    auto attached = testing::attached(base, c);
    if (!attached) continue;
    const Part part = shaken(std::move(*attached), c.label, 9);
    EXPECT_LT(apart(outputs(composed(base, {part}, Compose::Sum)), outputs(*part.adapted)), 1e-5);
    const bool rows = part.adapted->sites.kv_row_count() + part.adapted->sites.input_row_count() > 0;
    if (!rows) {
      EXPECT_LT(apart(outputs(composed(base, {{part.adapted, part.name, 0}}, Compose::Sum)), outputs(base, Sites(base.layers()))), 1e-4);
    }
    for (const Compose how : {Compose::Sum, Compose::Stack}) {
      const Adapted joined = composed(base, {others[0], part, others[1]}, how);
      const Tensor whole = outputs(joined);
      EXPECT_LT(apart(from_cache(joined), whole.narrow(0, kPrompt - 1, whole.size(0) - kPrompt + 1)), 2e-4);
      if (!c.row->mergeable) continue;
      EXPECT_LT(apart(outputs(merged(joined), Sites(base.layers())), whole), 5e-4);
      ++merging;
    }
  }
  EXPECT_GT(merging, 60);
}

// One edit at a place, and nothing else that changes it, is that edit itself.
TEST(Composed, WhatStandsAloneIsNotWrapped) {
  const Model base = tiny();
  const auto parts = parts_of(base, {{"dora", {{"r", 2}, {"target_modules", {"q_proj"}}}}, {"hra", {{"r", 2}, {"target_modules", {"v_proj"}}}}, {"ln_tuning"}});
  const Adapted joined = composed(base, parts, Compose::Sum);
  EXPECT_EQ(joined.sites.weight_edit(Site::Q, 1), parts[0].adapted->sites.weight_edit(Site::Q, 1));
  EXPECT_EQ(joined.sites.weight_edit(Site::V, 0), parts[1].adapted->sites.weight_edit(Site::V, 0));
  EXPECT_TRUE(joined.model.blocks[0].q.weight.is_same(base.blocks[0].q.weight));
  EXPECT_EQ(apart(joined.model.blocks[0].norm1.weight, parts[2].adapted->model.blocks[0].norm1.weight), 0);
}

TEST(Composed, LowRankStaysLowRank) {
  const Model base = tiny();
  const auto parts = parts_of(base, {{"lora", kLora, 0.7}, {"lora", {{"r", 3}, {"target_modules", "all-linear"}}, -0.3}});
  const Adapted joined = composed(base, parts, Compose::Sum);
  const auto side = joined.sites.weight_edit(Site::Up, 1)->low_rank(false);
  ASSERT_TRUE(side);
  EXPECT_EQ(side->a.size(0), 5);
  Tensor delta;
  for (auto& part : parts) {
    const auto own = *part.adapted->sites.weight_edit(Site::Up, 1)->low_rank(false);
    const Tensor change = at::mm(own.b, own.a) * own.scale * part.weight;
    delta = delta.defined() ? delta + change : change;
  }
  EXPECT_LT(apart(at::mm(side->b, side->a) * side->scale, delta), 1e-6);
  EXPECT_LT(apart(outputs(composed(base, parts, Compose::Stack)), outputs(joined)), 1e-6);  // which a stack of them is too
}

// A stack is the second adapter on the model that the first was folded into.
TEST(Composed, AStackOfWeightEditsIsOneOnTheOther) {
  const testing::TempFolder folder;
  const Model base = tiny();
  for (const char* second : {"dora", "hra", "ia3"}) {
    auto parts = parts_of(base, {{"lora", kLora}, {second, second == std::string("ia3") ? Json::object() : kLora}});
    auto method = parts[1].adapted->row->make();
    from_json(method->config(), second == std::string("ia3") ? Json::object() : kLora, second);
    const Model below = merged(*parts[0].adapted);
    Adapted above = attach(below, *parts[1].adapted->row, std::move(method), 6, {}, true);
    above.method->load_file_tensors(parts[1].adapted->method->file_tensors(), "");
    const Tensor stack = outputs(composed(base, parts, Compose::Stack));
    EXPECT_LT(apart(stack, outputs(above)), 2e-4) << second;
    EXPECT_GT(apart(stack, outputs(composed(base, parts, Compose::Sum))), 1e-3) << second;
  }
}

TEST(Composed, AStackOfBottlenecksIsOneBehindTheOther) {
  const Model base = tiny();
  const auto parts = parts_of(base, {{"houlsby", kHoulsby}, {"houlsby", kHoulsby, 0.5}});
  const Adapted stack = composed(base, parts, Compose::Stack), sum = composed(base, parts, Compose::Sum);
  at::NoGradGuard no_grad;
  const Tensor h = at::randn({5, base.config.width}), residual = at::randn({5, base.config.width});
  for (const Site site : {Site::AttnOut, Site::MlpOut}) {
    const auto one = [&](size_t i, const Tensor& x) { return parts[i].adapted->sites.hidden(site, 1, x, residual); };
    const Tensor first = one(0, h);
    EXPECT_LT(apart(stack.sites.hidden(site, 1, h, residual), first + 0.5 * (one(1, first) - first)), 1e-5);
    EXPECT_LT(apart(sum.sites.hidden(site, 1, h, residual), first + 0.5 * (one(1, h) - h)), 1e-5);
  }
  EXPECT_GT(apart(outputs(stack), outputs(sum)), 1e-3);
}

// Rows in front do not depend on what else is changed; those of two adapters stand behind one another.
TEST(Composed, RowsInFrontStandBehindOneAnother) {
  const Model base = tiny();
  for (const char* name : {"prefix_tuning", "prompt_tuning"}) {
    const auto parts = parts_of(base, {{name, kPrefix}, {"lora", kLora}, {name, {{"num_virtual_tokens", 2}}}});
    const Model folded = merged(*parts[1].adapted);
    auto method = find_method(name).make();
    from_json(method->config(), {{"num_virtual_tokens", 5}}, name);
    Adapted both = attach(folded, find_method(name), std::move(method), 1);
    {
      at::NoGradGuard no_grad;
      both.method->params()[0].value.copy_(at::cat({parts[0].adapted->method->params()[0].value, parts[2].adapted->method->params()[0].value}));
    }
    for (const Compose how : {Compose::Sum, Compose::Stack}) EXPECT_LT(apart(outputs(composed(base, parts, how)), outputs(both)), 1e-4) << name;
  }
}

// Layers with fewer rows in front than others, gates of single rows, and rows that count no positions beside rows that do.
TEST(Composed, PrefixesOfDifferentKinds) {
  const Model base = tiny();
  auto parts = parts_of(base, {{"prefix_tuning", kPrefix}, {"mam", kHub}, {"unipelt", kHub}});
  Json config = parts[1].adapted->method->file_config(base);
  for (auto& part : config["configs"])
    if (part["architecture"] == "prefix_tuning") part["leave_out"] = {0};
  auto method = find_method("mam").make();
  method->read_file_config(config, "mam");
  parts[1] = shaken(attach(base, find_method("mam"), std::move(method), 8), "mam", 41);
  const Adapted joined = composed(base, parts, Compose::Sum), turned = composed(base, {parts[2], parts[0], parts[1]}, Compose::Sum);
  EXPECT_EQ(joined.sites.kv_row_count(), 7);
  EXPECT_EQ(joined.sites.kv_shift(), 3);
  const Tensor whole = outputs(joined);
  EXPECT_LT(apart(whole, outputs(turned)), 1e-4);  // attention does not see the order of its keys
  for (const Part& one : parts) EXPECT_GT(apart(whole, outputs(*one.adapted)), 1e-3);
  at::NoGradGuard no_grad;
  const Tensor x = at::randn({5, base.config.width});
  const Documents documents{.starts = {0, 5}, .first = {0}, .prompt = {5}, .of_row = at::zeros({5}, at::kLong), .share = at::full({5}, 0.2)};
  const Tensor gate = parts[2].adapted->sites.kv(At(1, &documents), x).factors, all = joined.sites.kv(At(1, &documents), x).factors;
  EXPECT_LT(apart(all.narrow(2, 5, 2).flatten(), gate.view({1, 2, 1}).expand({1, 2, 2}).flatten()), 1e-6);
  EXPECT_EQ(apart(all.narrow(2, 0, 5), at::ones({1, 2, 5, 1, 1})), 0);
  EXPECT_LT(apart(from_cache(joined), whole.narrow(0, kPrompt - 1, whole.size(0) - kPrompt + 1)), 1e-4);
}

TEST(Composed, TermsBesideTheAttentionAddUp) {
  const Model base = tiny();
  const auto parts = parts_of(base, {{"llama_adapter", {{"adapter_len", 3}}}});
  const Part half{parts[0].adapted, "half", 0.5};
  EXPECT_LT(apart(outputs(composed(base, {half, half}, Compose::Sum)), outputs(*parts[0].adapted)), 1e-5);
  EXPECT_GT(apart(outputs(composed(base, {half}, Compose::Sum)), outputs(*parts[0].adapted)), 1e-4);
}

TEST(Composed, WhatCannotJoinIsNamed) {
  const Model base = tiny();
  const auto says = [&](const std::vector<Made>& made, Compose how, std::initializer_list<const char*> words) {
    const std::string message = error_of([&] { composed(base, parts_of(base, made), how); }, Fault::Usage);
    for (const char* word : words) EXPECT_NE(message.find(word), std::string::npos) << message;
  };
  says({{"lora", kLora}, {"prefix_tuning", kPrefix, 0.5}}, Compose::Sum, {"'prefix_tuning-1'", "the weight 0.5", "keys and values"});
  says({{"prompt_tuning", kPrefix, 2}}, Compose::Stack, {"'prompt_tuning-0'", "the weight 2", "embedding rows"});
  says({{"unipelt", kHub}, {"dora", kLora}}, Compose::Stack, {"'dora-1'", "'unipelt-0'", "q_proj"});
  const auto joined = composed(base, parts_of(base, {{"lora", kLora}, {"houlsby", kHoulsby}}), Compose::Sum);
  EXPECT_NE(error_of([&] { merged(joined); }, Fault::Usage).find("houlsby"), std::string::npos);
}

TEST(Composed, SwitchingLeavesTheBaseUntouched) {
  for (const char* family : {"llama", "gpt2"}) {
    const Model base = tiny(family);
    const Tensor before = outputs(base, Sites(base.layers()));
    const std::string print = fingerprint(base);
    const auto parts = parts_of(base, {{"lora", {{"r", 2}, {"modules_to_save", {"lm_head"}}}, 0.5}, {"ln_tuning"}, {"houlsby", kHoulsby}});
    const Tensor first = outputs(composed(base, {parts[0], parts[1]}, Compose::Sum));
    outputs(composed(base, {parts[1], parts[2]}, Compose::Stack));
    EXPECT_EQ(apart(outputs(composed(base, {parts[0], parts[1]}, Compose::Sum)), first), 0);
    EXPECT_EQ(apart(outputs(composed(base, {}, Compose::Sum)), before), 0);
    EXPECT_EQ(fingerprint(base), print);
    EXPECT_EQ(apart(outputs(base, Sites(base.layers())), before), 0);
  }
}

// Gradients reach the parts' own parameters, dropout included.
TEST(Composed, PartsCanBeTrained) {
  const Model base = tiny();
  const auto parts = parts_of(base, {{"lora", {{"r", 2}, {"lora_dropout", 0.1}, {"target_modules", "all-linear"}}, 0.5}, {"lora", kLora}, {"houlsby", kHoulsby, 0.5}, {"prefix_tuning", kPrefix}});
  for (const auto& [how, dropout] : {std::pair(Compose::Sum, true), std::pair(Compose::Sum, false), std::pair(Compose::Stack, true)}) {
    Adapted joined = composed(base, parts, how);
    joined.sites.training = dropout;
    loss_sum(joined.model, joined.sites, testing::tiny_batch(base)).backward();
    for (auto& part : parts)
      for (auto& p : part.adapted->method->params()) {
        EXPECT_TRUE(p.value.grad().defined() && p.value.grad().abs().max().item<double>() > 0) << part.name << " " << p.name;
        p.value.mutable_grad().reset();
      }
  }
}

}  // namespace
}  // namespace graft
