#include "embedded/embedded.h"

#include <set>

#include "core/check.h"
#include "core/files.h"
#include "core/rng.h"
#include "embedded/bpe_trainer.h"
#include "embedded/grammar/corpus.h"
#include "embedded/tasks/task.h"

namespace graft {
namespace fs = std::filesystem;
namespace {

const std::vector<std::string> kSpecialTokens = {"<s>", "</s>", "<pad>"};

void check_shape(const EmbeddedConfig& c) {
  if (c.hidden_size % (2 * c.num_attention_heads) != 0)
    usage_error("embedded", fmt::format("num_attention_heads must divide hidden_size = {} into even head widths but is {}", c.hidden_size, c.num_attention_heads));
  if (c.num_attention_heads % c.num_key_value_heads != 0)
    usage_error("embedded", fmt::format("num_key_value_heads must divide num_attention_heads = {} but is {}", c.num_attention_heads, c.num_key_value_heads));
}

void write_rows(const fs::path& path, const std::vector<Json>& rows) {
  std::string text;
  for (const Json& row : rows) text += json_line(row) + "\n";
  write_file(path, text);
}

// `count` documents that are not in `seen`, as JSONL; each is added to `pieces` where that is given.
void write_documents(const fs::path& path, int64_t count, uint64_t seed, std::set<uint64_t>& seen, PieceCounts* pieces) {
  Rng rng(seed);
  std::string text;
  for (int64_t made = 0, attempts = 0; made < count; ++attempts) {
    if (attempts > 4 * count + 1000)
      usage_error("embedded", fmt::format("the grammar has too few different documents for {}", count), "ask for fewer documents");
    const std::string document = make_document(rng);
    if (!seen.insert(hash_bytes(document)).second) continue;
    if (pieces) pieces->add(document);
    text += json_line({{"text", document}}) + "\n";
    ++made;
  }
  write_file(path, text);
}

void write_tokenizer(const fs::path& folder, const PieceCounts& pieces, const EmbeddedConfig& config) {
  const BpeVocabulary vocabulary = train_bpe(pieces, config.vocab_size, kSpecialTokens);
  if (static_cast<int64_t>(vocabulary.tokens.size()) != config.vocab_size)
    usage_error("embedded", fmt::format("the corpus yields only {} tokens, but vocab_size is {}", vocabulary.tokens.size(), config.vocab_size),
                "ask for more documents or a smaller vocabulary");
  write_json(folder / "tokenizer.json", tokenizer_json(vocabulary, kSpecialTokens, kSpecialTokens[0]));
  const Json special = {{"bos_token", kSpecialTokens[0]}, {"eos_token", kSpecialTokens[1]}, {"pad_token", kSpecialTokens[2]}};
  write_json(folder / "special_tokens_map.json", special);
  Json settings = special;
  settings.update({{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false},
                   {"model_max_length", config.max_position_embeddings}, {"add_bos_token", true}});
  write_json(folder / "tokenizer_config.json", settings);
}

void write_model_config(const fs::path& folder, const EmbeddedConfig& c) {
  write_json(folder / "config.json", {{"architectures", {"LlamaForCausalLM"}},
                                      {"model_type", "llama"},
                                      {"vocab_size", c.vocab_size},
                                      {"hidden_size", c.hidden_size},
                                      {"intermediate_size", c.intermediate_size},
                                      {"num_hidden_layers", c.num_hidden_layers},
                                      {"num_attention_heads", c.num_attention_heads},
                                      {"num_key_value_heads", c.num_key_value_heads},
                                      {"head_dim", c.hidden_size / c.num_attention_heads},
                                      {"hidden_act", "silu"},
                                      {"rms_norm_eps", 1e-5},
                                      {"rope_theta", 10000.0},
                                      {"max_position_embeddings", c.max_position_embeddings},
                                      {"attention_bias", true},
                                      {"mlp_bias", true},
                                      {"tie_word_embeddings", true},
                                      {"initializer_range", 0.02},
                                      {"torch_dtype", "float32"},
                                      {"bos_token_id", 0},
                                      {"eos_token_id", 1},
                                      {"pad_token_id", 2}});
  write_json(folder / "generation_config.json", {{"bos_token_id", 0}, {"eos_token_id", 1}, {"pad_token_id", 2}, {"do_sample", false}});
}

void write_task(const fs::path& folder, const Task& task) {
  make_folder(folder);
  write_rows(folder / "train.jsonl", task.train);
  write_rows(folder / "dev.jsonl", task.dev);
  write_rows(folder / "test.jsonl", task.test);
  if (task.labels.empty()) return;
  std::string labels;
  for (const auto& label : task.labels) labels += label + "\n";
  write_file(folder / "labels.txt", labels);
}

}  // namespace

void write_embedded(const fs::path& out, EmbeddedConfig config) {
  from_json(config, to_json(config), "embedded");  // ranges, for callers that set fields themselves
  check_shape(config);
  const auto seed = static_cast<uint64_t>(config.seed);
  const TaskSizes sizes{config.task_train, config.task_dev, config.task_test};
  const std::vector<Task> tasks = {describe_task(sizes, seed), rewrite_task(sizes, seed), review_task(sizes, seed)};

  PartialFolder folder(out);
  make_folder(folder.path() / "corpus");
  make_folder(folder.path() / "base");
  std::set<uint64_t> seen;
  PieceCounts pieces;
  write_documents(folder.path() / "forgetting.jsonl", config.forgetting_documents, mix_seed(seed, "forgetting"), seen, nullptr);
  write_documents(folder.path() / "corpus" / "dev.jsonl", config.dev_documents, mix_seed(seed, "corpus dev"), seen, nullptr);
  write_documents(folder.path() / "corpus" / "train.jsonl", config.documents, mix_seed(seed, "corpus"), seen, &pieces);
  write_tokenizer(folder.path() / "base", pieces, config);
  write_model_config(folder.path() / "base", config);
  for (const Task& task : tasks) write_task(folder.path() / "tasks" / task.name, task);
  folder.commit_files();
}

}  // namespace graft
