// What the low-rank methods leave to a seed, against PEFT's and NumPy's own numbers; KaSA's extra losses; dropout of weight
// updates.
#include <map>

#include "adapter/folder.h"
#include "core/rng.h"
#include "core/torch.h"
#include "kernels/dropout.h"
#include "methods/common/numpy_random.h"
#include "model/loader.h"
#include "support/conformance.h"
#include "support/support.h"

namespace graft::testing {
namespace {

Json low_rank_golden() {
  return read_json(source_folder() / "tests/methods/golden/low_rank.json");
}

Adapted attached_to(const Model& model, const std::string& name, const Json& options) {
  const MethodRow& row = find_method(name);
  auto method = row.make();
  from_json(method->config(), options, name);
  return attach(model, row, std::move(method), 1);
}

// The first and the last eight entries, or all of few.
void expect_ends(const Tensor& value, const Json& expected, double allowed) {
  const Tensor flat = value.detach().flatten().to(at::kDouble);
  const auto n = static_cast<int64_t>(expected.size());
  ASSERT_EQ(n, std::min<int64_t>(flat.numel(), 16));
  for (int64_t i = 0; i < n; ++i)
    EXPECT_NEAR(flat[i < 8 ? i : flat.numel() - n + i].item<double>(), expected[static_cast<size_t>(i)].get<double>(), allowed)
        << i;
}

TEST(LowRank, FrozenPartsAreThoseOfTheSeed) {
  const Json golden = low_rank_golden();
  int tensors = 0;
  for (auto& c : golden["seeded"]) {
    const std::string method = c["method"], family = c["family"];
    Adapted adapted = attached_to(random_model(golden["models"][family], 3), method, c["options"]);
    const NamedTensors stored = adapted.method->file_tensors();
    const std::map<std::string, Tensor> ours(stored.begin(), stored.end());
    for (auto& [name, values] : c["tensors"].items()) {
      SCOPED_TRACE(method + " on " + family + ": " + name);
      ASSERT_TRUE(ours.contains(name));
      expect_ends(ours.at(name), values, 1e-6);
      ++tensors;
    }
  }
  EXPECT_GE(tensors, 80);
}

TEST(LowRank, KasaAddsThePapersTwoTerms) {
  const Json golden = low_rank_golden(), &c = golden["kasa"];
  Adapted adapted = attached_to(random_model(golden["models"]["llama"], 3), "kasa", c["options"]);
  {
    at::NoGradGuard no_grad;
    for (auto& p : adapted.method->params())
      p.value.copy_(((at::arange(p.value.numel()).remainder(7) - 3) * 0.1).view(p.value.sizes()));
  }
  const Tensor loss = adapted.method->extra_loss();
  EXPECT_NEAR(loss.item<double>(), c["loss"].get<double>(), 1e-5);
  loss.backward();
  EXPECT_EQ(c["gradients"].size(), adapted.method->params().size());
  for (auto& p : adapted.method->params()) {
    SCOPED_TRACE(p.name);
    expect_ends(p.value.grad(), c["gradients"].at(p.name), 1e-5);
  }
}

TEST(LowRank, NumpysGenerator) {
  const Json golden = low_rank_golden();
  for (auto& c : golden["numpy"]) {
    NumpyRandom random(c["seed"].get<uint64_t>());
    const auto chosen = random.choice(c["population"], c["size"]);
    ASSERT_EQ(static_cast<int64_t>(chosen.size()), c["size"].get<int64_t>());
    for (size_t i = 0; i < c["chosen"].size(); ++i)
      EXPECT_EQ(chosen[i < c["chosen"].size() / 2 ? i : chosen.size() - c["chosen"].size() + i], c["chosen"][i].get<int64_t>())
          << c["seed"] << ": " << i;
    std::vector<int64_t> values;
    for (int64_t i = 0; i < 1000; ++i) values.push_back(i);
    random.shuffle(values);
    EXPECT_EQ(Json(std::vector<int64_t>(values.begin(), values.begin() + 16)), c["shuffled"]) << c["seed"];
  }
}

// The update of four rows by an adapter with random values, with or without its dropout.
struct Updates {
  Model model = random_model(tiny_config("llama"), 3);
  Tensor x = at::randn({4, 16}, at::detail::createCPUGenerator(2));
  Adapted adapted;
  Updates(const std::string& method, const Json& options) : adapted(attached_to(model, method, options)) {
    at::NoGradGuard no_grad;
    at::Generator generator = at::detail::createCPUGenerator(4);
    for (auto& p : adapted.method->params()) p.value.normal_(0, 0.5, generator);
  }
  Tensor operator()(bool training) const {
    at::NoGradGuard no_grad;
    const Linear& base = adapted.model.blocks[0].q;
    const Tensor plain = at::matmul(x, base.weight.t()) + base.bias;
    return adapted.sites.weight_edit(Site::Q, 0)->linear(base, x, training) - plain;
  }
};

TEST(LowRank, DropoutOfTheInputKeepsTheMean) {
  kernels::seed_dropout(1);
  for (const auto& [method, option] : std::map<std::string, std::string>{
           {"vera", "vera_dropout"}, {"hira", "hira_dropout"}, {"gralora", "gralora_dropout"}, {"deft", "deft_dropout"}}) {
    const Updates updates(method, {{"r", 4}, {option, 0.4}});
    const Tensor whole = updates(false);
    Tensor sum = at::zeros_like(whole);
    for (int i = 0; i < 3000; ++i) sum += updates(true);
    EXPECT_GT((updates(true) - whole).abs().max().item<double>(), 0.05) << method;
    EXPECT_LT((sum / 3000 - whole).abs().max().item<double>(), 0.1 * whole.abs().max().item<double>()) << method;
  }
}

TEST(LowRank, DropoutLeavesOutRowsOrAll) {
  kernels::seed_dropout(1);
  for (const bool scaled : {false, true}) {
    const Updates updates("lokr", {{"r", 2}, {"rank_dropout", 0.5}, {"rank_dropout_scale", scaled}});
    const Tensor whole = updates(false), some = updates(true);
    const Tensor kept = some.abs().sum(0) > 1e-4;
    const double share = kept.to(at::kDouble).mean().item<double>();
    EXPECT_GT(share, 0.1);
    EXPECT_LT(share, 0.9);
    EXPECT_LT((some - whole * kept / (scaled ? share : 1)).abs().max().item<double>(), 1e-4);
  }
  const Updates updates("loha", {{"r", 2}, {"module_dropout", 0.5}});
  const Tensor whole = updates(false);
  int all = 0, none = 0;
  for (int i = 0; i < 100; ++i) {
    const Tensor some = updates(true);
    none += some.abs().max().item<double>() < 1e-6;
    all += (some - whole).abs().max().item<double>() < 1e-4;
  }
  EXPECT_EQ(all + none, 100);
  EXPECT_GT(all, 25);
  EXPECT_GT(none, 25);
}

TEST(LowRank, AFileOfChosenVectorsIsFinal) {
  const Model model = random_model(tiny_config("llama"), 3);
  Adapted adapted = attached_to(
      model, "vblora", {{"r", 2}, {"num_vectors", 300}, {"vector_length", 4}, {"topk", 3}, {"save_only_topk_weights", true}});
  const TempFolder folder;
  save_adapter(adapted, folder / "a", folder.path());
  const Adapted loaded = load_adapter(model, folder / "a");
  const Linear& base = model.blocks[1].v;
  const auto weight = [&](const Adapted& a) { return a.sites.weight_edit(Site::V, 1)->merged(base)->weight; };
  EXPECT_GT((weight(adapted) - base.weight).abs().max().item<double>(), 1e-5);
  EXPECT_LT((weight(loaded) - weight(adapted)).abs().max().item<double>(), 1e-6);
  EXPECT_NE(error_of([&] { loaded.method->start_training(10); }, Fault::Usage).find("save_only_topk_weights"), std::string::npos);
}

}  // namespace
}  // namespace graft::testing
