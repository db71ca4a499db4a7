#include "support/cases.h"

#include <map>

#include "core/check.h"
#include "model/loader.h"

namespace graft::testing {

Json tiny_config(const std::string& model_type) {
  const Json usual{{"vocab_size", 61}, {"hidden_size", 16}, {"intermediate_size", 24}, {"num_hidden_layers", 2}, {"num_attention_heads", 4},
                   {"num_key_value_heads", 2}, {"max_position_embeddings", 64}, {"initializer_range", 0.2}};
  // What the family has beside, switched on where it changes the maths. Windows are shorter than the documents.
  static const std::map<std::string, Json> options{
      {"llama", {{"attention_bias", true}, {"mlp_bias", true}, {"tie_word_embeddings", true}}},
      {"mistral", {{"sliding_window", 3}, {"head_dim", 6}}},
      {"qwen2", {{"use_sliding_window", true}, {"sliding_window", 3}, {"max_window_layers", 1}}},
      {"qwen3", {{"head_dim", 6}, {"attention_bias", true}}},
      {"smollm3", {{"no_rope_layers", {1, 0}}, {"mlp_bias", true}}},
      {"gemma", {{"head_dim", 4}, {"attention_bias", true}}},
      {"gemma2", {{"head_dim", 4}, {"sliding_window", 3}, {"attention_bias", true}, {"attn_logit_softcapping", 2.0}, {"final_logit_softcapping", 3.0}, {"query_pre_attn_scalar", 8}}},
      {"gemma3_text", {{"head_dim", 4}, {"sliding_window", 3}, {"sliding_window_pattern", 2}, {"attention_bias", true}, {"query_pre_attn_scalar", 8}}},
      {"phi", {{"qk_layernorm", true}}},
      {"phi3", {{"sliding_window", 4}}},
      {"gpt2", Json::object()},
      {"gpt_neox", {{"rotary_pct", 0.5}}},
      {"opt", {{"ffn_dim", 24}, {"word_embed_proj_dim", 12}, {"init_std", 0.2}}},
      {"olmo2", {{"attention_bias", true}}},
      {"granite", {{"mlp_bias", true}, {"embedding_multiplier", 2.0}, {"residual_multiplier", 0.5}, {"logits_scaling", 2.0}, {"attention_multiplier", 0.3}}},
      {"stablelm", {{"qk_layernorm", true}, {"use_qkv_bias", true}, {"partial_rotary_factor", 0.5}}},
      {"falcon", {{"new_decoder_architecture", true}, {"num_kv_heads", 2}, {"bias", true}}},
      {"bloom", Json::object()},
      {"starcoder2", {{"sliding_window", 3}}},
      {"cohere", {{"use_qk_norm", true}, {"attention_bias", true}, {"logit_scale", 0.5}}},
  };
  const auto found = options.find(model_type);
  if (found == options.end()) return {};
  Json config = usual;
  for (const char* own_names : {"gpt_neox", "opt", "falcon"})
    if (model_type == own_names) config.erase("num_key_value_heads");
  if (model_type == "gpt2")
    config = {{"vocab_size", 61}, {"n_embd", 16}, {"n_layer", 2}, {"n_head", 4}, {"n_positions", 64}, {"initializer_range", 0.2}};
  if (model_type == "bloom") config = {{"vocab_size", 61}, {"hidden_size", 16}, {"n_layer", 2}, {"n_head", 4}, {"initializer_range", 0.2}};
  config["model_type"] = model_type;
  config.update(found->second);
  return config;
}

std::unique_ptr<Method> Case::make() const {
  auto method = row->make();
  from_json(method->config(), options, row->name);
  return method;
}

std::vector<Case> method_cases() {
  // Families name these two modules in several ways.
  const std::string embedding = R"((.*\.)?(embed_tokens|wte|embed_in|word_embeddings))", head = R"((.*\.)?(lm_head|embed_out))";
  Json some_tokens = Json::array();
  for (int64_t id = 0; id < 30; ++id) some_tokens.push_back(id);
  // Two neighbours of the batch under test, in the first of its documents alone.
  const Batch batch = tiny_batch(random_model(tiny_config("llama"), 3));
  const Json invocation{batch.ids[2], batch.ids[3]};
  // Options by the table's names; a row that is absent here runs with its defaults.
  const std::multimap<std::string, Json> options{
      {"lora", {{"r", 2}, {"target_modules", "all-linear"}}},
      {"lora", {{"r", 3}, {"lora_alpha", 16}, {"bias", "all"}, {"layers_to_transform", {1}}}},
      {"lora", {{"r", 2}, {"target_modules", embedding}, {"use_rslora", true}, {"few", true}}},
      {"lora", {{"r", 2}, {"target_modules", head}, {"exclude_modules", ".*layers.*"}, {"few", true}}},
      {"lora", {{"r", 2}, {"init_lora_weights", "pissa"}, {"few", true}}},
      {"lora", {{"r", 3}, {"init_lora_weights", "olora"}, {"use_rslora", true}, {"few", true}}},
      {"lora", {{"r", 2}, {"init_lora_weights", "pissa_niter_2"}, {"few", true}}},
      {"lora", {{"r", 4}, {"init_lora_weights", "orthogonal"}, {"few", true}}},
      {"lora", {{"r", 2}, {"trainable_token_indices", some_tokens}, {"few", true}}},
      {"rslora", {{"r", 2}, {"target_modules", "all-linear"}}},
      {"dora", {{"r", 2}, {"target_modules", "all-linear"}}},
      {"dora", {{"r", 2}, {"target_modules", embedding}, {"few", true}}},
      {"adalora", {{"init_r", 3}, {"target_r", 2}, {"lora_alpha", 64}, {"target_modules", "all-linear"}}},
      {"vera", {{"r", 6}, {"d_initial", 1.0}, {"target_modules", "all-linear"}}},
      {"vera", {{"r", 5}, {"save_projection", false}, {"projection_prng_key", 7}, {"few", true}}},
      {"loha", {{"r", 2}, {"alpha", 20}, {"target_modules", "all-linear"}}},
      {"lokr", {{"r", 2}, {"alpha", 20}, {"target_modules", "all-linear"}}},
      {"lokr", {{"r", 1}, {"alpha", 20}, {"decompose_both", true}, {"decompose_factor", 4}, {"few", true}}},
      {"lokr", {{"r", 1}, {"alpha", 20}, {"init_weights", "lycoris"}, {"few", true}}},
      {"hira", {{"r", 3}, {"target_modules", "all-linear"}}},
      {"delora", {{"r", 3}, {"delora_lambda", 2}, {"target_modules", "all-linear"}}},
      {"delora", {{"r", 2}, {"delora_lambda", 3}, {"bias", "all"}, {"few", true}}},
      {"gralora", {{"r", 4}, {"alpha", 8}, {"target_modules", "all-linear"}}},
      {"gralora", {{"r", 4}, {"alpha", 12}, {"hybrid_r", 2}, {"gralora_k", 4}, {"exclude_modules", ".*layers\\.0.*"}, {"few", true}}},
      {"miss", {{"r", 5}, {"target_modules", "all-linear"}}},
      {"miss", {{"r", 4}, {"init_weights", "bat"}}},
      {"miss", {{"r", 4}, {"init_weights", "mini"}, {"mini_r", 2}, {"few", true}}},
      {"randlora", {{"r", 5}, {"randlora_alpha", 20}, {"target_modules", "all-linear"}}},
      {"randlora", {{"r", 5}, {"randlora_alpha", 20}, {"sparse", true}, {"save_projection", false}, {"few", true}}},
      {"vblora", {{"r", 2}, {"num_vectors", 9}, {"vector_length", 2}, {"topk", 3}, {"init_vector_bank_bound", 0.5}, {"target_modules", "all-linear"}}},
      {"unilora", {{"r", 2}, {"theta_d_length", 200}, {"init_theta_d_bound", 1.0}, {"target_modules", "all-linear"}}},
      {"unilora", {{"r", 3}, {"theta_d_length", 90}, {"init_theta_d_bound", 2.0}, {"save_indices", true}, {"few", true}}},
      {"kasa", {{"r", 2}, {"target_modules", "all-linear"}}},
      {"tinylora", {{"r", 3}, {"u", 5}, {"target_modules", "all-linear"}}},
      {"tinylora", {{"u", 4}, {"weight_tying", 0.6}, {"save_projection", false}, {"few", true}}},
      {"peanut", {{"r", 3}, {"act_fn", "silu"}, {"target_modules", "all-linear"}}},
      {"peanut", {{"r", 4}, {"depth", 2}, {"act_fn", "tanh"}, {"scaling", 1.5}, {"few", true}}},
      {"deft", {{"r", 3}, {"target_modules", "all-linear"}}},
      {"deft", {{"r", 3}, {"alpha", 5}, {"decomposition_method", "qr"}, {"few", true}}},
      {"glora", {{"r", 2}, {"config_D_E", "vector"}, {"target_modules", "all-linear"}}},
      {"glora", {{"config_A_B", "vector"}, {"config_C", "vector"}, {"layers_to_transform", {1}}, {"few", true}}},
      {"glora", {{"config_A_B", "constant"}, {"config_C", "none"}, {"config_D_E", "none"}, {"few", true}}},
      {"oft", {{"oft_block_size", 4}, {"target_modules", "all-linear"}}},
      {"oft", {{"oft_block_size", 0}, {"r", 4}, {"use_cayley_neumann", false}, {"few", true}}},
      {"oft", {{"oft_block_size", 4}, {"block_share", true}, {"num_cayley_neumann_terms", 2}, {"coft", true}, {"eps", 50}, {"few", true}}},
      {"boft", {{"target_modules", "all-linear"}}},
      {"boft", {{"boft_block_size", 2}, {"boft_n_butterfly_factor", 3}, {"few", true}}},
      {"hra", {{"r", 4}, {"target_modules", "all-linear"}}},
      {"hra", {{"r", 6}, {"few", true}}},
      {"psoft", {{"r", 3}, {"psoft_alpha", 2}, {"target_modules", "all-linear"}}},
      {"psoft", {{"r", 4}, {"ab_svd_init", "pissa_init"}, {"use_cayley_neumann", true}, {"psoft_mag_a", false}, {"few", true}}},
      {"psoft", {{"r", 3}, {"psoft_svd", "lowrank"}, {"psoft_orth", false}, {"few", true}}},
      {"fourierft", {{"n_frequency", 40}, {"scaling", 10}, {"target_modules", "all-linear"}}},
      {"waveft", {{"n_frequency", 40}, {"scaling", 4}, {"target_modules", "all-linear"}}},
      {"waveft", {{"n_frequency", 20}, {"scaling", 4}, {"use_idwt", false}, {"proportional_parameters", true}, {"few", true}}},
      {"c3a", {{"block_size", 4}, {"target_modules", "all-linear"}}},
      {"shira", {{"r", 1}, {"target_modules", "all-linear"}}},
      {"road", {{"group_size", 2}, {"target_modules", "all-linear"}}},
      {"road", {{"group_size", 4}, {"variant", "road_2"}, {"few", true}}},
      {"road", {{"group_size", 4}, {"variant", "road_4"}, {"few", true}}},
      {"beft", {{"target_modules", "all-linear"}}},
      {"beft", {{"few", true}}},
      {"trainable_tokens", {{"token_indices", some_tokens}}},
      {"lora_plus", {{"r", 2}, {"target_modules", "all-linear"}}},
      {"lora_plus", {{"r", 2}, {"target_modules", embedding}, {"few", true}}},
      {"lora_fa", {{"r", 2}, {"target_modules", "all-linear"}}},
      {"riemannian_lora", {{"r", 2}, {"target_modules", "all-linear"}}},
      {"pissa", {{"r", 2}}},
      {"olora", {{"r", 2}}},
      {"mica", {{"r", 2}, {"target_modules", "all-linear"}}},
      {"mica", {{"r", 2}, {"target_modules", embedding}, {"few", true}}},
      {"eva", {{"r", 2}, {"target_modules", "all-linear"}, {"calibration_rows", 30}}},
      {"corda", {{"r", 2}, {"calibration_rows", 24}}},
      {"corda", {{"r", 2}, {"corda_method", "kpm"}, {"calibration_rows", 6}, {"few", true}}},
      {"lora_ga", {{"r", 2}, {"calibration_rows", 6}}},
      {"houlsby", {{"reduction_factor", 4}}},
      {"pfeiffer", {{"reduction_factor", 4}, {"non_linearity", "gelu"}}},
      {"parallel", {{"reduction_factor", 4}, {"non_linearity", "swish"}}},
      {"parallel", {{"reduction_factor", {{"0", 4.0}, {"default", 2.0}}}, {"scaling", "learned"}, {"non_linearity", "swish"}, {"few", true}}},
      {"compacter", {{"reduction_factor", 4}, {"phm_dim", 2}}},
      {"compacterpp", {{"reduction_factor", 2}, {"phm_rank", 2}}},
      {"adapterdrop", {{"reduction_factor", 4}, {"drop_layers", 1}, {"non_linearity", "gelu"}}},
      {"adapterdrop", {{"reduction_factor", 4}, {"drop_layers", 1}, {"robust", true}, {"non_linearity", "gelu"}, {"few", true}}},
      {"adapterplus", {{"reduction_factor", 4}}},
      {"llama_adapter", {{"adapter_len", 4}, {"adapter_layers", 2}}},
      {"cpt", {{"cpt_token_ids", {5, 9, 2, 7, 3}}, {"cpt_tokens_type_mask", {1, 2, 3, 4, 5}}}},
      {"cpt", {{"cpt_token_ids", {5, 9, 2, 7, 3, 8}}, {"cpt_tokens_type_mask", {1, 2, 4, 5, 6, 8}}, {"opt_weighted_loss_type", "decay"}, {"opt_loss_decay_factor", 0.5}, {"few", true}}},
      {"loreft", {{"r", 2}}},
      {"loreft", {{"r", 3}, {"suffix_positions", 2}, {"layers", {1}}, {"non_linearity", "gelu"}, {"few", true}}},
      {"noreft", {{"r", 2}, {"prefix_positions", 2}, {"suffix_positions", 4}, {"tied_weights", true}}},
      {"direft", {{"r", 2}, {"prefix_positions", 0}, {"suffix_positions", 2}}},
      {"mam", {{"prefix_length", 3}, {"bottleneck_size", 5}, {"reduction_factor", 4}, {"non_linearity", "swish"}}},
      {"unipelt", {{"prefix_length", 3}, {"bottleneck_size", 5}, {"reduction_factor", 4}, {"r", 2}, {"non_linearity", "gelu"}}},
      {"prefix_tuning", {{"num_virtual_tokens", 3}}},
      {"prefix_tuning", {{"num_virtual_tokens", 3}, {"prefix_projection", true}, {"encoder_hidden_size", 6}}},
      {"prompt_tuning", {{"num_virtual_tokens", 3}, {"prompt_tuning_init", "SAMPLE_VOCAB"}}},
      {"p_tuning", {{"num_virtual_tokens", 3}, {"encoder_hidden_size", 6}}},
      {"p_tuning", {{"num_virtual_tokens", 3}, {"encoder_hidden_size", 4}, {"encoder_reparameterization_type", "LSTM"}, {"few", true}}},
      {"bdlora", {{"r", 4}, {"target_modules", "all-linear"}}},
      {"bdlora", {{"r", 4}, {"nblocks", 4}, {"target_modules", "all-linear"}, {"match_strict", false}, {"target_modules_bd_a", {"v_proj", "c_attn"}}, {"few", true}}},
      {"velora", {{"r", 2}, {"num_groups", 5}, {"scale", 1.5}, {"target_modules", "all-linear"}}},
      {"velora", {{"r", 2}, {"num_groups", 4}, {"init_type", "random"}, {"lora_bias", true}, {"few", true}}},
      {"velora", {{"r", 2}, {"num_groups", 3}, {"init_type", "batch_average_once"}, {"few", true}}},
      {"alora", {{"r", 2}, {"alora_invocation_tokens", invocation}}},
      {"monteclora", {{"r", 2}, {"sample_scaler", 0.1}, {"target_modules", "all-linear"}, {"training", true}}},
      {"pvera", {{"r", 6}, {"d_initial", 1.0}, {"target_modules", "all-linear"}, {"training", true}}},
      {"pvera", {{"r", 5}, {"d_initial", 1.0}, {"save_projection", false}, {"few", true}}},
      {"supertuning", {{"sparsity", 0.9}, {"target_modules", "all-linear"}}},
      {"supertuning", {{"sparsity", 0.8}, {"select_top", false}, {"r", 2}, {"save_precomputed_indices", false}, {"few", true}}},
      {"osf", {{"effective_rank", 0.7}}},
      {"osf", {{"effective_rank", 5}, {"target_modules", "all-linear"}, {"few", true}}},
      {"lisa", {{"lisa_activated_layers", 1}, {"lisa_interval_steps", 2}}},
      {"galore", {{"rank", 3}, {"update_proj_gap", 2}}},
      {"last_k_layers", {{"k", 1}, {"train_norm", true}}},
  };
  std::vector<Case> cases;
  for (auto& row : methods()) {
    const auto [begin, end] = options.equal_range(row.name);
    if (begin == end) cases.push_back({&row, row.name, Json::object()});
    int number = 0;
    for (auto it = begin; it != end; ++it, ++number) cases.push_back({&row, number ? fmt::format("{}_{}", row.name, number + 1) : row.name, it->second});
  }
  for (auto& c : cases) {
    c.few = c.options.contains("few");
    c.training = c.options.contains("training");
    c.options.erase("few");
    c.options.erase("training");
  }
  return cases;
}

}  // namespace graft::testing
