// Methods that change what is trained while they train: LISA's blocks, GaLore's projections.
#include <cmath>
#include <set>

#include "core/torch.h"
#include "data/examples.h"
#include "model/decoder.h"
#include "model/loader.h"
#include "support/conformance.h"
#include "support/support.h"
#include "train/trainer.h"

namespace graft {
namespace {

constexpr double kRate = 1e-3;

Model deep_llama() {
  Json config = testing::tiny_config("llama");
  config["num_hidden_layers"] = 5;
  config["tie_word_embeddings"] = false;
  return random_model(config, 3);
}

Batch some_rows(int64_t number) {
  Batch batch;
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < 15; ++i) ids.push_back((7 * i + 3 * number + i * i) % 61);
  append_document(batch, ids, 1);
  return batch;
}

Adapted with_options(const Model& model, const char* name, const Json& options, uint64_t seed = 1) {
  auto method = find_method(name).make();
  from_json(method->config(), options, name);
  return attach(model, find_method(name), std::move(method), seed);
}

OptimConfig constant_rate(const char* optimizer) {
  OptimConfig config;
  config.learning_rate = kRate;
  config.schedule = "constant";
  config.optimizer = optimizer;
  config.clip = 0;
  return config;
}

// "model.layers.3.…" → 3; others −1.
int64_t layer_of(const std::string& name) {
  const std::string prefix = "model.layers.";
  return name.starts_with(prefix) ? std::stoll(name.substr(prefix.size())) : -1;
}

TEST(Lisa, TrainsTheDrawnBlocksAndWhatLiesOutside) {
  const Model model = deep_llama();
  std::set<std::set<int64_t>> draws;
  for (const uint64_t seed : {1, 2}) {
    Adapted adapted = with_options(model, "lisa", {{"lisa_activated_layers", 2}, {"lisa_interval_steps", 3}}, seed);
    Trainer trainer(adapted, constant_rate("adamw"), 12, 1);
    std::set<int64_t> of_interval;
    for (int64_t step = 0; step < 12; ++step) {
      std::vector<Tensor> before;
      for (auto& p : adapted.method->params()) before.push_back(p.value.detach().clone());
      trainer.step({some_rows(step)});
      std::set<int64_t> changed;
      for (size_t i = 0; i < before.size(); ++i)
        if (!at::equal(before[i], adapted.method->params()[i].value)) changed.insert(layer_of(adapted.method->params()[i].name));
      EXPECT_EQ(changed.size(), 3u) << step;
      EXPECT_TRUE(changed.count(-1)) << step;
      if (step % 3 == 0) of_interval = changed;
      EXPECT_EQ(changed, of_interval) << step;
      draws.insert(changed);
    }
  }
  EXPECT_GE(draws.size(), 3u);
}

TEST(Lisa, ABlockBeginsWithoutOldMoments) {
  const Model model = deep_llama();
  Adapted adapted = with_options(model, "lisa", {{"lisa_activated_layers", 1}, {"lisa_interval_steps", 2}});
  Trainer trainer(adapted, constant_rate("adamw"), 40, 1);
  int64_t last = -1, begun_again = 0;
  std::set<int64_t> seen;
  for (int64_t step = 0; step < 40; ++step) {
    std::vector<Tensor> before;
    for (auto& p : adapted.method->params()) before.push_back(p.value.detach().clone());
    int64_t drawn = -1;
    for (auto& p : adapted.method->params())
      if (p.value.requires_grad()) drawn = std::max(drawn, layer_of(p.name));
    trainer.step({some_rows(step)});
    for (size_t i = 0; i < before.size(); ++i) {
      if (layer_of(adapted.method->params()[i].name) != drawn || drawn == last) continue;
      // Adam's first step moves every entry by the learning rate; one with old moments does not.
      const Tensor moved = (adapted.method->params()[i].value.detach() - before[i]).abs();
      EXPECT_GT(at::sum(moved.gt(0.97 * kRate) * moved.lt(1.03 * kRate)).item<double>(), 0.9 * static_cast<double>(moved.numel()))
          << step;
      begun_again += seen.count(drawn);
    }
    seen.insert(drawn);
    last = drawn;
  }
  EXPECT_GT(begun_again, 0);
}

std::map<std::string, Tensor> weights_of(const Model& model) {
  Model copy = model;
  std::map<std::string, Tensor> weights;
  visit_weights(copy, [&](const std::string& name, Tensor& handle, const std::vector<int64_t>&, bool) {
    weights[name] = handle.detach().clone();
  });
  return weights;
}

// What the paper says, from the gradients of full fine-tuning.
TEST(GaLore, OneStepIsTheProjectedStepOfFullFineTuning) {
  const Model model = deep_llama();
  const int64_t rank = 3;
  const double scale = 0.5;
  Adapted full = with_options(model, "full", Json::object());
  const Batch batch = some_rows(0);
  (loss_sum(full.model, full.sites, batch) / static_cast<double>(batch.supervised())).backward();
  Adapted adapted = with_options(model, "galore", {{"rank", rank}, {"scale", scale}});
  Trainer trainer(adapted, constant_rate("sgd"), 5, 1);
  const auto before = weights_of(adapted.model);
  trainer.step({batch});
  const auto after = weights_of(adapted.model);
  int64_t projected = 0;
  for (auto& p : full.method->params()) {
    const Tensor g = p.value.grad();
    Tensor expected = before.at(p.name) - kRate * g;
    if (p.name.find("_proj.weight") != std::string::npos) {
      const auto [u, s, vh] = at::linalg_svd(g, false);
      const Tensor part = at::mm(u.narrow(1, 0, rank) * s.narrow(0, 0, rank), vh.narrow(0, 0, rank));
      expected = before.at(p.name) - kRate * scale * part;
      ++projected;
      EXPECT_GT((after.at(p.name) - before.at(p.name)).abs().max().item<double>(), 1e-6) << p.name;
    }
    EXPECT_LT((after.at(p.name) - expected).abs().max().item<double>(), 1e-6) << p.name;
  }
  EXPECT_EQ(projected, 35);
}

TEST(GaLore, DirectionsAreRenewedAndThenKept) {
  Adapted adapted = with_options(deep_llama(), "galore", {{"rank", 2}, {"update_proj_gap", 3}});
  Trainer trainer(adapted, constant_rate("adamw"), 9, 1);
  const auto projections = [&] {
    std::vector<Tensor> found;
    for (auto& [name, value] : adapted.method->state())
      if (name.starts_with("projection.")) found.push_back(value.clone());
    return found;
  };
  for (int64_t step = 0; step < 9; ++step) {
    const auto before = projections();
    const auto weights = weights_of(adapted.model);
    trainer.step({some_rows(step)});
    const auto after = projections();
    ASSERT_EQ(after.size(), 35u);
    for (size_t i = 0; i < after.size(); ++i) EXPECT_EQ(at::equal(before[i], after[i]), step % 3 != 0) << step;
    // Every step moves every matrix, within the rows or columns that the directions span.
    const auto moved = weights_of(adapted.model);
    const Tensor step_of_one =
        moved.at("model.layers.2.mlp.down_proj.weight") - weights.at("model.layers.2.mlp.down_proj.weight");
    const Tensor s = std::get<1>(at::linalg_svd(step_of_one, false));
    EXPECT_GT(s[1].item<double>(), 1e-6);
    EXPECT_LT(s[2].item<double>(), 1e-2 * s[0].item<double>());
  }
}

}  // namespace
}  // namespace graft
