// Starts of LoRA's relatives and what they do to gradients, against HF PEFT (tools/golden/starts.py).
#include <map>

#include "core/files.h"
#include "core/torch.h"
#include "data/examples.h"
#include "methods/common/calibration.h"
#include "model/decoder.h"
#include "model/loader.h"
#include "support/formula.h"
#include "support/support.h"

namespace graft::testing {
namespace {

const Json& starts_golden() {
  static const Json json = read_json(source_folder() / "tests/methods/golden/starts.json");
  return json;
}

std::vector<Json> golden_starts(bool with_modules) {
  std::vector<Json> cases;
  for (auto& c : starts_golden()["cases"])
    if (c.contains("modules") == with_modules) cases.push_back(c);
  return cases;
}

Batch golden_batch(int64_t number) {
  const auto ids = starts_golden()["ids"].get<std::vector<int64_t>>();
  const int64_t rows = starts_golden()["rows"], length = starts_golden()["length"], prompt = starts_golden()["prompt"];
  const int64_t batches = static_cast<int64_t>(ids.size()) / (rows * length);
  Batch batch;
  for (int64_t r = 0; r < rows; ++r)
    append_document(batch, {ids.data() + (number % batches * rows + r) * length, static_cast<size_t>(length)}, prompt);
  return batch;
}

Adapted golden_attached(const std::string& kind, const std::string& base, const Json& options,
                        const std::filesystem::path& folder = {}) {
  Model model = random_model(starts_golden()["bases"][base], 1);
  formula_weights(model);
  auto method = find_method(kind).make();
  from_json(method->config(), options, kind);
  Calibration data;
  data.batches = [](int64_t step) { return std::vector<Batch>{golden_batch(step)}; };
  data.id = [&] { return base; };
  data.folder = folder;
  data.quiet = true;
  return attach(model, find_method(kind), std::move(method), 1, {}, false, &data);
}

// The file's tensors; of a start that changes the base the rank is doubled, and the first half is what trains.
std::map<std::string, Tensor> factors_of(const Adapted& adapted) {
  std::map<std::string, Tensor> factors;
  for (auto& [name, value] : adapted.method->file_tensors()) factors[name] = value.detach();
  return factors;
}

Tensor probe(int64_t count) {
  return formula_values("probe", {count}).to(at::kFloat);
}

void expect_near(const Tensor& ours, const Json& theirs, double tolerance, const std::string& what) {
  const Tensor expected = at::tensor(theirs.get<std::vector<double>>(), at::kDouble);
  ASSERT_EQ(ours.numel(), expected.numel()) << what;
  const double scale = std::max(1e-3, expected.abs().max().item<double>());
  EXPECT_LT((ours.to(at::kDouble) - expected).abs().max().item<double>() / scale, tolerance) << what;
}

class LoraStarts : public ::testing::TestWithParam<size_t> {};

// In "weight_svd" the factor is a singular value of the weight that PEFT only estimates.
TEST_P(LoraStarts, EqualPefts) {
  const Json c = golden_starts(true)[GetParam()];
  const std::string kind = c["kind"];
  Json options = c["options"];
  const int64_t rows = static_cast<int64_t>(starts_golden()["ids"].size()) / starts_golden()["length"].get<int64_t>();
  if (kind != "mica") options["calibration_rows"] = kind == "eva" ? 100 * rows : rows;
  Adapted adapted = golden_attached(kind, c["base"], options);
  const auto factors = factors_of(adapted);
  const Json config = adapted.method->file_config(adapted.model);
  const bool doubled = kind == "corda" || kind == "lora_ga";
  EXPECT_EQ(factors.size(), 2 * c["modules"].size());
  for (auto& [path, theirs] : c["modules"].items()) {
    const std::string name = "base_model.model." + path + ".lora_";
    ASSERT_TRUE(factors.count(name + "A.weight")) << path;
    const int64_t r = theirs["r"];
    Tensor a = factors.at(name + "A.weight"), b = factors.at(name + "B.weight");
    ASSERT_EQ(a.size(0), doubled ? 2 * r : r) << path;
    if (doubled) a = a.narrow(0, 0, r), b = b.narrow(1, 0, r);
    const Tensor p_in = probe(a.size(1)), p_out = probe(b.size(0));
    if (kind == "corda") {
      expect_near(at::mv(b, at::mv(a, p_in)), theirs["ba"], 2e-3, path + " BA");
    } else {
      expect_near(at::mv(a.t(), at::mv(a, p_in)), theirs["aa"], 2e-4, path + " AA");
      expect_near(at::mv(b, at::mv(b.t(), p_out)), theirs["bb"], options.value("scale", "") == "weight_svd" ? 6e-2 : 2e-4,
                  path + " BB");
    }
    if (kind == "eva") {
      const double alpha = config["alpha_pattern"].value(path, config["lora_alpha"].get<double>());
      EXPECT_EQ(config["rank_pattern"].value(path, config["r"].get<int64_t>()), r) << path;
      EXPECT_NEAR(alpha / static_cast<double>(r), theirs["scale"].get<double>(), 1e-9) << path;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, LoraStarts, ::testing::Range<size_t>(0, golden_starts(true).size()), [](const auto& tested) {
  const Json c = golden_starts(true)[tested.param];
  return fmt::format("{}_{}_{}", c["base"].get<std::string>(), c["kind"].get<std::string>(), tested.param);
});

TEST(LoraStarts, NeedDataAndSaySo) {
  const Model model = random_model(starts_golden()["bases"]["llama"], 1);
  for (const char* kind : {"eva", "corda", "lora_ga"}) {
    const std::string text = error_of([&] { attach(model, find_method(kind), find_method(kind).make(), 1); }, Fault::Usage);
    EXPECT_NE(text.find("training data"), std::string::npos) << text;
  }
}

TEST(LoraStarts, AreKeptOnDiskAndReadAgain) {
  const Json options{{"r", 2}, {"calibration_rows", 6}};
  for (const char* kind : {"eva", "corda", "lora_ga"}) {
    const TempFolder folder;
    const auto fresh = factors_of(golden_attached(kind, "llama", options)),
               first = factors_of(golden_attached(kind, "llama", options, folder.path()));
    std::vector<std::filesystem::path> files;
    for (auto& entry : std::filesystem::directory_iterator(folder.path())) files.push_back(entry.path());
    ASSERT_EQ(files.size(), 1u) << kind;
    const auto again = factors_of(golden_attached(kind, "llama", options, folder.path()));
    for (auto& [name, value] : fresh) {
      EXPECT_TRUE(at::equal(value, first.at(name))) << kind << " " << name;
      EXPECT_TRUE(at::equal(value, again.at(name))) << kind << " " << name;
    }
    // The kept file is what is read: zeros in it arrive.
    NamedTensors zeros;
    {
      const SafetensorsFile kept(files[0]);
      for (auto& [name, info] : kept.tensors()) zeros.emplace_back(name, at::zeros_like(kept.tensor(name)));
    }
    save_safetensors(files[0], zeros);
    for (auto& [name, value] : factors_of(golden_attached(kind, "llama", options, folder.path())))
      EXPECT_EQ(value.abs().max().item<double>(), 0) << kind << " " << name;
    // Other options or data have a file of their own.
    golden_attached(kind, "llama", {{"r", 3}, {"calibration_rows", 6}}, folder.path());
    golden_attached(kind, "gpt2", options, folder.path());
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 3) << kind;
  }
}

TEST(LoraGradients, EqualPeftsOptimizers) {
  for (const Json& c : golden_starts(false)) {
    const std::string kind = c["kind"];
    if (!c.contains("gradients")) continue;
    Adapted adapted = golden_attached(kind, "llama", c["options"]);
    NamedTensors values;
    for (auto& [name, value] : adapted.method->file_tensors())
      values.emplace_back(name, (formula_values(name, value.sizes().vec()) * 0.3).to(at::kFloat));
    adapted.method->load_file_tensors(values, "golden");
    adapted.method->start_training(10);
    const Batch batch = golden_batch(0);
    (loss_sum(adapted.model, adapted.sites, batch) / static_cast<double>(batch.supervised())).backward();
    adapted.method->adjust_gradients();
    EXPECT_EQ(adapted.method->params().size(), c["gradients"].size()) << kind;
    for (auto& p : adapted.method->params())
      expect_near(at::mv(p.value.grad(), probe(p.value.size(1))), c["gradients"][p.name], 2e-3, kind + " " + p.name);
  }
}

TEST(LoraPlus, RatesArePefts) {
  for (const Json& c : golden_starts(false)) {
    if (!c.contains("rates")) continue;
    const double lr = c["lr"];
    Adapted adapted = golden_attached("lora_plus", "llama", c["options"]);
    EXPECT_EQ(adapted.method->params().size(), c["rates"].size());
    for (auto& p : adapted.method->params()) {
      const double theirs = c["rates"].value(p.name, c["rates"].value("base_model.model.lm_head.modules_to_save.weight", 0.0));
      EXPECT_NEAR(p.own_lr > 0 ? p.own_lr : lr * p.lr_factor, theirs, 1e-12) << p.name;
    }
  }
}

}  // namespace
}  // namespace graft::testing
