// Methods that edit hidden states, stand in front of documents or combine these: what they refuse, and where they start.
#include <gtest/gtest.h>

#include <ATen/CPUGeneratorImpl.h>

#include "adapter/folder.h"
#include "core/files.h"
#include "core/json.h"
#include "core/torch.h"
#include "methods/common/init.h"
#include "model/loader.h"
#include "support/conformance.h"
#include "support/support.h"

namespace graft {
namespace {

using testing::error_of;
using testing::TempFolder;

Adapted with_options(const Model& base, const std::string& name, const Json& options) {
  auto method = find_method(name).make();
  from_json(method->config(), options, name);
  return attach(base, find_method(name), std::move(method), 1);
}

TEST(Edits, WrongOptionsAreNamed) {
  const Model base = random_model(testing::tiny_config("llama"), 3);  // 2 layers, 16 wide, keys and values 8 wide
  const struct {
    const char* method;
    Json options;
    const char* message;
  } cases[] = {
      {"pfeiffer", {{"leave_out", {0, 1}}}, "leave_out holds all layers"},
      {"pfeiffer", {{"leave_out", {2}}}, "leave_out holds 2, but this model has the layers 0..1"},
      {"pfeiffer", {{"reduction_factor", 0}}, "reduction_factor must be a number of at least 1/64"},
      {"compacter", {{"reduction_factor", 4}, {"leave_out", {1, 0}}}, "leave_out holds all layers"},
      {"compacter", {{"reduction_factor", 4}, {"init_weights", "mam_adapter"}}, "init_weights must be bert"},
      {"compacter", {{"reduction_factor", 4}, {"phm_dim", 3}}, "phm_dim must divide the model's width 16"},
      {"compacter", {{"reduction_factor", 8}}, "phm_dim must divide the bottleneck's width 2"},
      {"adapterdrop", {{"drop_layers", 2}}, "drop_layers must be below the model's 2 layers"},
      {"adapterdrop", {{"drop_layers", 2}, {"robust", true}}, "drop_layers must be below the model's 2 layers"},  // a step without any adapter
      {"llama_adapter", {{"adapter_layers", 3}}, "adapter_layers must be at most the model's 2 layers"},
      {"llama_adapter", {{"target_modules", "attn"}}, "the attention of this model is called 'self_attn'"},
      {"cpt", {{"cpt_token_ids", Json::array()}}, "cpt_token_ids holds no token"},
      {"cpt", {{"cpt_token_ids", {5, 61}}}, "cpt_token_ids holds 61, but the vocabulary has 61 tokens"},
      {"cpt", {{"cpt_token_ids", {5, 6}}, {"cpt_tokens_type_mask", {4, 8}}}, "names answers only"},
      {"loreft", {{"r", 17}}, "r must be at most the model's width 16"},
      {"loreft", {{"prefix_positions", 0}}, "there is nothing to edit"},
      {"noreft", {{"layers", Json::array()}}, "layers is an empty list"},
      {"direft", {{"layers", {2}}}, "layers holds 2, but this model has the layers 0..1"},
      {"unipelt", {{"r", 9}}, "r must be in 1..min(in, out) = 8"},
      {"unipelt", {{"attn_matrices", "x"}}, "attn_matrices must name some of q, k, v"},
  };
  for (auto& c : cases) {
    const std::string message = error_of([&] { with_options(base, c.method, c.options); }, Fault::Usage);
    EXPECT_NE(message.find(c.message), std::string::npos) << c.method << " " << json_line(c.options) << ": " << message;
  }
}

// An option of a file whose value is of another type than the reference writes.
TEST(Edits, FilesWithOptionsOfAnotherTypeAreRefused) {
  const Model base = random_model(testing::tiny_config("llama"), 3);
  const std::pair<const char*, const char*> cases[] = {{"compacter", "/config/phm_layer"},        {"compacter", "/config/use_gating"},        {"loreft", "/config/orthogonality"},
                                                       {"loreft", "/config/subtract_projection"}, {"loreft", "/config/output_reft"},          {"mam", "/config/configs/0/dropout"},
                                                       {"mam", "/config/configs/0/use_gating"},   {"mam", "/config/configs/0/leave_out"},     {"unipelt", "/config/configs/2/use_gating"},
                                                       {"unipelt", "/config/configs/1/leave_out"}};
  for (auto& [method, place] : cases) {
    const TempFolder folder;
    Adapted adapted = with_options(base, method, std::string(method) == "compacter" ? Json{{"reduction_factor", 4}} : std::string(method) == "unipelt" ? Json{{"r", 2}} : Json::object());
    save_adapter(adapted, folder / "a", folder.path());
    const Json config = read_json(folder / "a/adapter_config.json");
    for (const Json& value : {Json(nullptr), Json("word")}) {
      Json changed = config;
      changed[Json::json_pointer(place)] = value;
      write_json(folder / "a/adapter_config.json", changed);
      EXPECT_NE(error_of([&] { load_adapter(base, folder / "a"); }, Fault::Usage), "") << method << " " << place << " = " << json_line(value);
    }
  }
}

TEST(Edits, CutNormalValuesAreThoseOfANormalDistributionWithinTwoDeviations) {
  at::Generator generator = at::detail::createCPUGenerator(4);
  const Tensor values = cut_normal({100'000}, 0.01, at::TensorOptions(at::kFloat), generator);
  EXPECT_LE(values.abs().max().item<double>(), 0.02);
  EXPECT_NEAR(values.std().item<double>(), 0.00879626, 1e-4);  // 0.01 √(1 − 4 φ(2) / (2 Φ(2) − 1))
  EXPECT_LT((values.abs() > 0.0199).sum().item<int64_t>(), 200);  // and do not gather at the ends
}

}  // namespace
}  // namespace graft
