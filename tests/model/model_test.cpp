// Loading, generation with a cache, and a real model's losses.
#include "model/decoder.h"

#include <cstdio>
#include <fstream>
#include <map>

#include "core/files.h"
#include "core/rng.h"
#include "core/safetensors.h"
#include "core/torch.h"
#include "data/examples.h"
#include "eval/generate.h"
#include "model/loader.h"
#include "model/rope.h"
#include "support/conformance.h"
#include "support/support.h"
#include "tokenizer/tokenizer.h"

namespace graft {
namespace {

double text_loss(const Model& model, const Tokenizer& tokenizer, const std::string& text) {
  Batch batch;
  append_document(batch, tokenizer.encode(text), 1);
  return token_losses(model, Sites(model.layers()), batch).mean().item<double>();
}

TEST(Stories260k, LossesEqualThePublishedOnes) {
  NEEDS_SHARED_DATA();
  const auto folder = testing::shared_data() / "stories260k";
  const Model model = load_model(folder);
  const Tokenizer tokenizer = Tokenizer::load(folder);
  EXPECT_EQ(parameter_count(model), 260032);
  const std::pair<const char*, double> rows[] = {
      {"Once upon a time, there was a little girl named Lily. She loved to play outside in the park.", 0.1804},
      {"One day, Tom and his mom went to the store. Tom saw a big red ball and he wanted it.", 1.1805},
      {"The dog was very happy. He ran and jumped and played with his friends all day.", 1.5981},
      {"Lily and Ben are friends. They like to play with toys and read books.", 0.8690},
      {"The monetary committee raised interest rates by fifty basis points amid inflation fears.", 4.8789}};
  for (auto& [text, loss] : rows) EXPECT_NEAR(text_loss(model, tokenizer, text), loss, 6e-5) << text;
}

TEST(Stories260k, ContinuesAStory) {
  NEEDS_SHARED_DATA();
  const auto folder = testing::shared_data() / "stories260k";
  const Model model = load_model(folder);
  const Tokenizer tokenizer = Tokenizer::load(folder);
  GenerateConfig config;
  config.max_new_tokens = 60;
  const auto ids = tokenizer.encode("Once upon a time");
  auto all = ids;
  const auto continued = generate(model, Sites(model.layers()), {ids}, {2}, config);
  all.insert(all.end(), continued[0].begin(), continued[0].end());
  const std::string text = tokenizer.decode(all, true);
  EXPECT_EQ(text.substr(0, 120), std::string("Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball.").substr(0, 120));
}

TEST(Model, OwnHandlesShareWeightsAndNothingElse) {
  for (auto& family : families()) {
    Model model = random_model(testing::tiny_config(family.model_type), 3);
    const std::string before = fingerprint(model);
    Model own = with_own_handles(model);
    std::map<std::string, Tensor> handles;
    visit_weights(model, [&](const std::string& name, Tensor& handle, const std::vector<int64_t>&, bool) { handles[name] = handle; });
    visit_weights(own, [&](const std::string& name, Tensor& handle, const std::vector<int64_t>&, bool) {
      EXPECT_EQ(handle.const_data_ptr(), handles.at(name).const_data_ptr()) << family.model_type << ' ' << name;
      EXPECT_NE(handle.storage().unsafeGetStorageImpl(), handles.at(name).storage().unsafeGetStorageImpl()) << family.model_type << ' ' << name;
    });
    handles.clear();
    model = Model{};
    EXPECT_EQ(fingerprint(own), before) << family.model_type;
  }
}

// With a cache, batched and ragged, the same tokens as by running everything again for each token.
TEST(Generation, CacheEqualsRecomputation) {
  for (auto& family : families())
    for (auto& c : testing::method_cases()) {
      const Model base = random_model(testing::tiny_config(family.model_type), 3);
      const std::optional<Adapted> attached = testing::attached(base, c, 0.2);
      if (!attached) continue;
      const Adapted& adapted = *attached;
      const std::vector<std::vector<int64_t>> prompts{{5}, {1, 2, 3, 4, 5, 6}, {7, 8, 9}};
      GenerateConfig config;
      config.max_new_tokens = 8;
      const auto fast = generate(adapted.model, adapted.sites, prompts, {}, config);
      for (size_t i = 0; i < prompts.size(); ++i) {
        auto ids = prompts[i];
        for (int64_t n = 0; n < config.max_new_tokens; ++n) {
          at::NoGradGuard no_grad;
          Batch batch;
          append_document(batch, ids, 1);
          batch.prompts = {static_cast<int64_t>(prompts[i].size())};
          const Tensor h = hidden_states(adapted.model, adapted.sites, lay_out(adapted.model, adapted.sites, batch));
          ids.push_back(logits(adapted.model, adapted.sites, h.narrow(0, h.size(0) - 1, 1)).argmax().item<int64_t>());
        }
        EXPECT_EQ(std::vector<int64_t>(ids.begin() + static_cast<int64_t>(prompts[i].size()), ids.end()), fast[i]) << family.model_type << " " << c.label << " prompt " << i;
      }
    }
}

// Where positions, windows or biases depend on how long the text has become: across the limit of "longrope" all is computed
// again; ALiBi and partly rotated heads in the cache.
TEST(Generation, CacheEqualsRecomputationInOtherShapes) {
  const Json rope{{"rope_type", "longrope"}, {"factor", 4.0}, {"short_factor", {1.0, 1.1}}, {"long_factor", {2.0, 3.0}}, {"original_max_position_embeddings", 8}};
  const std::pair<const char*, Json> variants[] = {{"phi3", {{"rope_scaling", rope}, {"original_max_position_embeddings", 8}, {"sliding_window", nullptr}}},
                                                   {"llama", {{"rope_scaling", rope}}},
                                                   {"falcon", {{"alibi", true}, {"new_decoder_architecture", false}, {"parallel_attn", false}}},
                                                   {"phi", {{"qk_layernorm", false}}},
                                                   {"opt", {{"do_layer_norm_before", false}}}};
  for (auto& [family, change] : variants) {
    Json config = testing::tiny_config(family);
    config.update(change);
    const Model model = random_model(config, 3);
    const Sites sites(model.layers());
    const std::vector<std::vector<int64_t>> prompts{{5}, {1, 2, 3, 4, 5, 6}, {7, 8, 9}};
    GenerateConfig generation;
    generation.max_new_tokens = 12;
    const auto fast = generate(model, sites, prompts, {}, generation);
    for (size_t i = 0; i < prompts.size(); ++i) {
      auto ids = prompts[i];
      for (int64_t n = 0; n < generation.max_new_tokens; ++n) {
        at::NoGradGuard no_grad;
        Batch batch;
        append_document(batch, ids, 1);
        const Tensor h = hidden_states(model, sites, lay_out(model, sites, batch));
        ids.push_back(logits(model, sites, h.narrow(0, h.size(0) - 1, 1)).argmax().item<int64_t>());
      }
      EXPECT_EQ(std::vector<int64_t>(ids.begin() + static_cast<int64_t>(prompts[i].size()), ids.end()), fast[i]) << family << " prompt " << i;
    }
  }
}

TEST(Generation, SamplingFollowsTheSeedAndTopKOneIsGreedy) {
  const Model model = random_model(testing::tiny_config("llama"), 3);
  const Sites sites(model.layers());
  GenerateConfig greedy, one, warm;
  greedy.max_new_tokens = one.max_new_tokens = warm.max_new_tokens = 12;
  one.temperature = warm.temperature = 1.5;
  one.top_k = 1;
  EXPECT_EQ(generate(model, sites, {{1, 2}}, {}, greedy), generate(model, sites, {{1, 2}}, {}, one));
  const auto a = generate(model, sites, {{1, 2}}, {}, warm);
  EXPECT_EQ(a, generate(model, sites, {{1, 2}}, {}, warm));
  warm.seed = 1;
  EXPECT_NE(a, generate(model, sites, {{1, 2}}, {}, warm));
}

class Folder : public ::testing::Test {
 protected:
  void SetUp() override { save_model(random_model(testing::tiny_config("llama"), 3), folder_.path(), {}, at::kFloat); }
  std::string load_error(Fault fault = Fault::Input) {
    return testing::error_of([&] { load_model(folder_.path()); }, fault);
  }
  void change_config(const std::function<void(Json&)>& change) {
    Json json = read_json(folder_ / "config.json");
    change(json);
    write_json(folder_ / "config.json", json);
  }
  NamedTensors tensors() {
    NamedTensors all;
    const SafetensorsFile file(folder_ / "model.safetensors");
    for (auto& [name, info] : file.tensors()) all.emplace_back(name, file.tensor(name).clone());
    return all;
  }
  testing::TempFolder folder_;
};

TEST_F(Folder, ShardsPrefixesHalfPrecisionAndSurplusTensorsLoad) {
  const Model model = load_model(folder_.path());
  const Batch batch = testing::tiny_batch(model);
  const auto loss = [&](const Model& m) { return loss_sum(m, Sites(m.layers()), batch).item<double>(); };
  testing::TempFolder sharded;
  save_model(model, sharded.path(), {}, at::kFloat, 4096);
  EXPECT_TRUE(std::filesystem::exists(sharded / "model.safetensors.index.json"));
  EXPECT_DOUBLE_EQ(loss(load_model(sharded.path())), loss(model));
  NamedTensors bare_names;
  for (auto& [name, value] : tensors()) bare_names.emplace_back(name.starts_with("model.") ? name.substr(6) : name, value);
  bare_names.emplace_back("layers.0.self_attn.rotary_emb.inv_freq", at::zeros({2}));
  save_safetensors(folder_ / "model.safetensors", bare_names);
  EXPECT_DOUBLE_EQ(loss(load_model(folder_.path())), loss(model));
  save_model(model, folder_.path(), {}, at::kBFloat16);
  EXPECT_NEAR(loss(load_model(folder_.path())), loss(model), 0.3);
}

// The addresses at which this process has the file mapped.
bool is_mapped(const at::Tensor& tensor, const std::filesystem::path& file) {
  const auto address = reinterpret_cast<uintptr_t>(tensor.const_data_ptr());
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    unsigned long begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx", &begin, &end) == 2 && begin <= address && address < end) return line.ends_with(file.string());
  }
  return false;
}

TEST_F(Folder, WeightsOfTheWantedTypeAreViewsOfTheFile) {
  const auto file = folder_ / "model.safetensors";
  for (const auto stored : {at::kFloat, at::kBFloat16}) {
    save_model(random_model(testing::tiny_config("gpt2"), 3), folder_.path(), {}, stored);
    for (const auto wanted : {at::kFloat, at::kBFloat16}) {
      Model model = load_model(folder_.path(), {wanted, "cpu"});
      int64_t views = 0, all = 0;
      visit_weights(model, [&](const std::string& name, Tensor& weight, const std::vector<int64_t>&, bool) {
        EXPECT_EQ(weight.scalar_type(), wanted) << name;
        views += is_mapped(weight, file);
        ++all;
      });
      EXPECT_EQ(views, stored == wanted ? all : 0) << stored << " as " << wanted;
    }
  }
}

TEST_F(Folder, BadFoldersAreInputErrorsThatNameTheThing) {
  change_config([](Json& j) { j["model_type"] = "gpt99"; });
  EXPECT_NE(load_error().find("'gpt99' is not supported"), std::string::npos);
  change_config([](Json& j) { j["model_type"] = "llama"; j["num_attention_heads"] = 3; });
  EXPECT_NE(load_error().find("must be"), std::string::npos);
  change_config([](Json& j) { j["num_attention_heads"] = 4; j["rope_scaling"] = {{"rope_type", "magic"}, {"factor", 2.0}}; });
  EXPECT_NE(load_error().find("'magic'"), std::string::npos);
  change_config([](Json& j) { j.erase("rope_scaling"); j["hidden_size"] = "wide"; });
  EXPECT_NE(load_error().find("hidden_size must be a positive integer"), std::string::npos);
  change_config([](Json& j) { j["hidden_size"] = 16; j["intermediate_size"] = 25; });
  EXPECT_NE(load_error().find("do not belong together"), std::string::npos);
  change_config([](Json& j) { j["intermediate_size"] = 24; });
  auto all = tensors();
  all[0].second = all[0].second.to(at::kInt);
  save_safetensors(folder_ / "model.safetensors", all);
  EXPECT_NE(load_error().find("stored as I32"), std::string::npos);
  all.erase(all.begin());
  save_safetensors(folder_ / "model.safetensors", all);
  EXPECT_NE(load_error().find("is missing"), std::string::npos);
}

// Nothing that changes the results is ignored: what a family does not have is refused by name.
TEST(FamilyConfigs, OptionsThatAreNotThereAreErrorsThatNameThem) {
  const std::tuple<const char*, Json, const char*> refused[] = {
      {"llama", {{"sliding_window", 4}}, "sliding_window = 4 is not an option of the family llama"},
      {"llama", {{"quantization_config", {{"bits", 4}}}}, "quantization_config"},
      {"llama", {{"hidden_act", "nothing"}}, "hidden_act must be one of"},
      {"llama", {{"partial_rotary_factor", 0.5}}, "partial_rotary_factor"},
      {"llama", {{"rope_scaling", {{"rope_type", "linear"}}}}, "factor must be"},
      {"llama", {{"rope_scaling", {{"rope_type", "linear"}, {"factor", 2.0}, {"mrope_section", {1, 1}}}}}, "mrope_section"},
      {"llama", {{"rope_scaling", {{"rope_type", "longrope"}, {"factor", 2.0}, {"short_factor", {1.0}}, {"long_factor", {1.0, 2.0}}}}}, "short_factor"},
      {"llama", {{"rope_scaling", "linear"}}, "rope_scaling must be a mapping"},
      {"llama", {{"num_hidden_layers", 2000000000}}, "num_hidden_layers must be at most"},
      {"gpt2", {{"n_layer", 2000000000}}, "n_layer must be at most"},
      {"bloom", {{"n_head", 2000000000}}, "n_head must be at most"},
      {"mistral", {{"layer_types", {"full_attention", "sliding_attention"}}}, "layer_types"},
      {"mistral", {{"sliding_window", -1}}, "sliding_window"},
      {"qwen2", {{"layer_types", {"chunked_attention", "full_attention"}}}, "layer_types"},
      {"qwen2", {{"layer_types", {"full_attention"}}}, "layer_types"},
      {"qwen2", {{"use_sliding_window", false}, {"layer_types", {"full_attention", "sliding_attention"}}}, "sliding_window"},
      {"gemma", {{"use_bidirectional_attention", true}}, "use_bidirectional_attention"},
      {"gemma2", {{"hidden_act", "relu"}}, "hidden_act"},
      {"gemma3_text", {{"attn_logit_softcapping", 3.0}}, "attn_logit_softcapping"},
      {"gemma3_text", {{"rope_parameters", {{"rope_theta", 1e4}}}}, "rope_parameters"},
      {"phi", {{"partial_rotary_factor", 0.3}}, "must be rotated"},
      {"phi", {{"head_dim", 8}}, "head_dim"},
      {"phi3", {{"rope_scaling", {{"rope_type", "linear"}, {"factor", 2.0}}}}, "longrope"},
      {"gpt2", {{"add_cross_attention", true}}, "add_cross_attention"},
      {"gpt_neox", {{"num_key_value_heads", 2}}, "num_key_value_heads"},
      {"falcon", {{"parallel_attn", false}}, "parallel_attn"},
      {"falcon", {{"num_ln_in_parallel_attn", 3}}, "num_ln_in_parallel_attn"},
      {"smollm3", {{"no_rope_layers", {1}}}, "no_rope_layers"},
      {"bloom", {{"alibi", 3}}, "alibi"}};
  for (auto& [family, change, words] : refused) {
    Json config = testing::tiny_config(family);
    config.update(change);
    const std::string message = testing::error_of([&] { random_model(config, 1); }, Fault::Input);
    EXPECT_NE(message.find(words), std::string::npos) << family << " " << change << ": " << message;
  }
  const std::string unknown = testing::error_of([] { find_family("mamba"); }, Fault::Input);
  for (auto& row : families()) EXPECT_NE(unknown.find(row.model_type), std::string::npos);
}

// "proportional" has no family of ours that uses it by default: the first part of the frequencies, the others stand still.
TEST(FamilyConfigs, ProportionalRopeTurnsTheFirstPart) {
  Json config = testing::tiny_config("llama");
  config["rope_parameters"] = {{"rope_type", "proportional"}, {"rope_theta", 100.0}, {"partial_rotary_factor", 0.5}, {"factor", 2.0}};
  const Model model = random_model(config, 1);
  const Tensor f = rope_frequencies(model.config.ropes[0], model.config, 9);
  ASSERT_EQ(f.numel(), 2);
  EXPECT_FLOAT_EQ(f[0].item<float>(), 0.5f);
  EXPECT_FLOAT_EQ(f[1].item<float>(), 0.0f);
}

}  // namespace
}  // namespace graft
