// What LoRA's relatives do in training, against PEFT's layers; where an activated LoRA acts.
#include <map>

#include "core/torch.h"
#include "eval/generate.h"
#include "kernels/dropout.h"
#include "model/loader.h"
#include "support/conformance.h"
#include "support/support.h"

namespace graft::testing {
namespace {

Json relatives_golden() {
  return read_json(source_folder() / "tests/methods/golden/lora_relatives.json");
}

// The golden script's values.
Tensor waves(at::IntArrayRef shape, double phase) {
  return (at::sin(at::arange(c10::multiply_integers(shape), at::kDouble) * 1.3 + phase) * 0.5).to(at::kFloat).reshape(shape);
}

// One layer whose query projection is the golden script's only module.
struct OneModule {
  OneModule(const std::string& method, const Json& options) : model(random_model(with_one_layer(), 3)) {
    const MethodRow& row = find_method(method);
    auto made = row.make();
    Json all = options;
    all["target_modules"] = {"q_proj"};
    from_json(made->config(), all, method);
    adapted.emplace(attach(model, row, std::move(made), 1));
    edit = adapted->sites.weight_edit(Site::Q, 0).get();
    base.weight = waves({16, 16}, 0);
  }
  static Json with_one_layer() {
    Json config = tiny_config("llama");
    config["num_hidden_layers"] = 1;
    return config;
  }
  Tensor param(const std::string& ending) const {
    for (auto& p : adapted->method->params())
      if (p.name.ends_with(ending)) return p.value;
    throw std::runtime_error("no parameter " + ending);
  }
  void set(const std::string& ending, const Tensor& value) const {
    at::NoGradGuard no_grad;
    param(ending).copy_(value);
  }

  Model model;
  std::optional<Adapted> adapted;
  const WeightEdit* edit = nullptr;
  Linear base;
};

void expect_values(const Tensor& ours, const Json& expected, double allowed, double relative = 0) {
  const Tensor flat = ours.detach().flatten().to(at::kDouble);
  ASSERT_EQ(flat.numel(), static_cast<int64_t>(expected.size()));
  for (int64_t i = 0; i < flat.numel(); ++i) {
    const double value = expected[static_cast<size_t>(i)].get<double>();
    EXPECT_NEAR(flat[i].item<double>(), value, allowed + relative * std::abs(value)) << i;
  }
}

TEST(LoraRelatives, VeLoraLearnsAsPeftDoes) {
  const Json golden = relatives_golden()["velora"];
  const OneModule one("velora", {{"r", 2}, {"lora_alpha", 3}, {"num_groups", 5}, {"scale", 1.5}});
  one.set("lora_A.weight", waves({2, 16}, 0.2));
  one.set("lora_B.weight", waves({16, 2}, 0.4));
  const Tensor x = waves({6, 16}, 0.6).requires_grad_(), y = one.edit->linear(one.base, x, true);
  (y * waves({6, 16}, 0.8)).sum().backward();
  expect_values(y, golden["y"], 1e-5);
  expect_values(x.grad(), golden["dx"], 1e-5);
  expect_values(one.param("lora_A.weight").grad(), golden["da"], 1e-5);
  expect_values(one.param("lora_B.weight").grad(), golden["db"], 1e-5);
  const NamedTensors state = one.adapted->method->state();
  ASSERT_EQ(state.size(), 1u);
  expect_values(state[0].second, golden["vector"], 1e-6);
}

OneModule monteclora() {
  OneModule one("monteclora", {{"r", 2},
                               {"lora_alpha", 3},
                               {"num_samples", 3},
                               {"use_entropy", true},
                               {"dirichlet_prior", 0.3},
                               {"sample_scaler", 0.5},
                               {"kl_loss_weight", 0.1}});
  one.set("lora_A.weight", waves({2, 16}, 0.2));
  one.set("lora_B.weight", waves({16, 2}, 0.4));
  one.set("std_prior", waves({2}, 1.0));
  one.set("expert_weights_prior", waves({3}, 1.2));
  return one;
}

TEST(LoraRelatives, MonteCLoraAddsPeftsTerm) {
  const Json golden = relatives_golden()["monteclora"];
  const OneModule one = monteclora();
  NamedTensors state = one.adapted->method->state();
  for (auto& [name, value] : state)
    value = name.ends_with("expert_weights") ? at::tensor({0.2F, 0.5F, 0.3F}) : at::diag(at::tensor({0.7F, 1.9F}));
  one.adapted->method->load_state(state, "test");
  const Tensor loss = one.adapted->method->extra_loss();
  EXPECT_NEAR(loss.item<double>(), golden["loss"].get<double>(), 1e-5);
  loss.backward();
  expect_values(one.param("std_prior").grad(), golden["d_std_prior"], 1e-5);
  expect_values(one.param("expert_weights_prior").grad(), golden["d_expert_weights_prior"], 1e-5);
}

TEST(LoraRelatives, MonteCLoraDrawsAsPeftDoes) {
  const Json golden = relatives_golden()["monteclora"];
  const OneModule one = monteclora();
  at::NoGradGuard no_grad;
  kernels::seed_dropout(5);
  const int draws = 4000;
  Tensor squares = at::zeros({2}), variances = at::zeros({2}), weights = at::zeros({3});
  for (int i = 0; i < draws; ++i) {
    squares += (one.edit->low_rank(true)->a - one.param("lora_A.weight")).square().mean(1);
    for (auto& [name, value] : one.adapted->method->state()) {
      if (name.ends_with("expert_weights"))
        weights += std::get<0>(value.sort());
      else
        variances += value.diagonal();
    }
  }
  expect_values((squares / draws).sqrt(), golden["noise"], 0, 0.05);
  expect_values(variances / draws, golden["variances"], 0, 0.05);
  expect_values(weights / draws, golden["weights"], 0, 0.05);
  EXPECT_TRUE(at::equal(one.edit->low_rank(false)->a, one.param("lora_A.weight")));
}

// Its gradient follows what the last pass drew.
TEST(LoraRelatives, MonteCLorasTermFollowsTheDraws) {
  const OneModule one = monteclora();
  kernels::seed_dropout(5);
  one.edit->low_rank(true);
  const Method& method = *one.adapted->method;
  method.extra_loss().backward();
  // From a file the same values are constants: what is missing is 3/2 · 0.1 · d(v − log v), v = c e^{2 σ}.
  const OneModule loaded = monteclora();
  loaded.adapted->method->load_state(method.state(), "test");
  loaded.adapted->method->extra_loss().backward();
  EXPECT_NEAR(loaded.adapted->method->extra_loss().item<double>(), method.extra_loss().item<double>(), 1e-5);
  for (auto& [name, value] : method.state()) {
    if (!name.ends_with("gaussian_var_prior")) continue;
    EXPECT_TRUE(at::allclose(one.param("std_prior").grad() - loaded.param("std_prior").grad(), 0.3 * (value.diagonal() - 1), 1e-4, 1e-5));
  }
  at::NoGradGuard no_grad;
  for (const char* name : {"std_prior", "expert_weights_prior"}) {
    const Tensor value = one.param(name), gradient = value.grad();
    for (int64_t i = 0; i < value.size(0); ++i) {
      const double kept = value[i].item<double>(), step = 1e-2;
      value[i] = kept + step;
      const double up = method.extra_loss().item<double>();
      value[i] = kept - step;
      const double down = method.extra_loss().item<double>();
      value[i] = kept;
      EXPECT_NEAR(gradient[i].item<double>(), (up - down) / (2 * step), 2e-3) << name << " " << i;
    }
  }
}

TEST(LoraRelatives, PveraDrawsAsPeftDoes) {
  const Json golden = relatives_golden()["pvera"];
  const OneModule one("pvera", {{"r", 3}});
  NamedTensors tensors = one.adapted->method->file_tensors();
  for (auto& [name, value] : tensors) {
    if (name.ends_with("pvera_A")) value = waves({6, 16}, 0.2);
    if (name.ends_with("pvera_B")) value = waves({16, 3}, 0.4);
    if (name.ends_with("lambda_d")) value = waves({6}, 0.6);
    if (name.ends_with("lambda_b")) value = waves({16}, 0.8);
  }
  one.adapted->method->load_file_tensors(tensors, "test");
  at::NoGradGuard no_grad;
  kernels::seed_dropout(5);
  const Tensor y = one.edit->linear(one.base, waves({1, 16}, 1.0).repeat({80000, 1}), true);
  expect_values(y.mean(0), golden["mean"], 0.02);
  expect_values(y.std(0), golden["deviation"], 1e-3, 0.03);
  const Tensor twice = one.edit->linear(one.base, waves({1, 16}, 1.0).repeat({2, 1}), false);
  EXPECT_TRUE(at::equal(twice[0], twice[1]));
}

TEST(SuperTuning, PlacesOfAFileWin) {
  const OneModule one("supertuning", {{"sparsity", 0.98}});
  NamedTensors tensors = one.adapted->method->file_tensors();
  ASSERT_EQ(tensors.size(), 2u);
  for (auto& [name, value] : tensors) value = name.ends_with("values") ? at::full({5}, 2.0F) : at::arange(17, 22, at::kInt);
  one.adapted->method->load_file_tensors(tensors, "test");
  const Tensor change = one.edit->merged(one.base)->weight - one.base.weight;
  EXPECT_TRUE(at::allclose(change[1].narrow(0, 1, 5), at::full({5}, 2.0F)));
  EXPECT_EQ(at::count_nonzero(change).item<int64_t>(), 5);
  for (auto& [name, value] : tensors)
    if (!name.ends_with("values")) value = at::full({5}, 256, at::kInt);
  const std::string error = error_of([&] { one.adapted->method->load_file_tensors(tensors, "test"); }, Fault::Input);
  EXPECT_NE(error.find("outside the 16 × 16 weight"), std::string::npos) << error;
}

class Activated : public ::testing::Test {
 protected:
  Activated() : base_(random_model(tiny_config("llama"), 3)) {
    const MethodRow& row = find_method("alora");
    auto method = row.make();
    from_json(method->config(),
              {{"r", 4}, {"lora_alpha", 40}, {"alora_invocation_tokens", {7, 9}}, {"target_modules", "all-linear"}}, "alora");
    adapted_.emplace(attach(base_, row, std::move(method), 1));
    at::NoGradGuard no_grad;
    for (auto& p : adapted_->method->params()) p.value.add_(waves(p.value.sizes(), static_cast<double>(p.name.size())));
  }
  // Where the hidden states of these documents differ from the base's.
  std::vector<bool> changed(const std::vector<std::vector<int64_t>>& documents) const {
    at::NoGradGuard no_grad;
    Batch batch;
    for (auto& ids : documents) append_document(batch, ids, 1);
    const Tensor ours = hidden_states(adapted_->model, adapted_->sites, lay_out(adapted_->model, adapted_->sites, batch)),
                 theirs = hidden_states(base_, Sites(base_.layers()), lay_out(base_, Sites(base_.layers()), batch));
    const Tensor differs = (ours - theirs).abs().amax(1) > 1e-4;
    std::vector<bool> result;
    for (int64_t row = 0; row < differs.size(0); ++row) result.push_back(differs[row].item<bool>());
    return result;
  }
  Model base_;
  std::optional<Adapted> adapted_;
};

TEST_F(Activated, FromTheLastInvocationOn) {
  EXPECT_EQ(changed({{3, 7, 9, 4, 7, 9, 5, 7}, {7, 7, 8}, {9, 7, 9}}),
            (std::vector<bool>{false, false, false, false, true, true, true, true, false, false, false, false, true, true}));
}

TEST_F(Activated, AGenerationStaysOnItsPromptsSide) {
  const std::vector<std::vector<int64_t>> prompts{{3, 7, 9, 4}, {4, 5}, {7, 9}, {1, 2, 3, 7, 9}};
  GenerateConfig config;
  config.max_new_tokens = 8;
  const auto ours = generate(adapted_->model, adapted_->sites, prompts, {}, config),
             theirs = generate(base_, Sites(base_.layers()), prompts, {}, config);
  EXPECT_EQ(ours[1], theirs[1]);  // no invocation
  int differ = 0;
  for (const size_t i : {0, 2, 3}) {
    std::vector<int64_t> ids = prompts[i];
    for (int64_t n = 0; n < config.max_new_tokens; ++n) {
      at::NoGradGuard no_grad;
      Batch batch;
      append_document(batch, ids, 1);
      const Tensor h = hidden_states(adapted_->model, adapted_->sites, lay_out(adapted_->model, adapted_->sites, batch));
      ids.push_back(logits(adapted_->model, adapted_->sites, h.narrow(0, h.size(0) - 1, 1)).argmax().item<int64_t>());
    }
    EXPECT_EQ(std::vector<int64_t>(ids.begin() + static_cast<int64_t>(prompts[i].size()), ids.end()), ours[i]) << i;
    differ += ours[i] != theirs[i];
  }
  EXPECT_GT(differ, 0);
}

}  // namespace
}  // namespace graft::testing
