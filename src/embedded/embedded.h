// What graft carries so that a demonstration needs no download: a corpus, a tokenizer, the shape of a small Llama to be
// pretrained on the corpus, and three downstream tasks. Everything is generated; the same configuration gives the
// same bytes on every machine.
#pragma once
#include <filesystem>

#include "core/config.h"

namespace graft {

struct EmbeddedConfig : Config {
  int64_t seed = 1;
  int64_t documents = 60000;
  int64_t dev_documents = 400;
  int64_t forgetting_documents = 120;
  int64_t vocab_size = 1024;
  int64_t hidden_size = 128;
  int64_t intermediate_size = 352;
  int64_t num_hidden_layers = 4;
  int64_t num_attention_heads = 4;
  int64_t num_key_value_heads = 2;
  int64_t max_position_embeddings = 512;
  int64_t task_train = 4000;
  int64_t task_dev = 150;
  int64_t task_test = 240;
  void visit(Fields& f) override {
    f("seed", seed, "seed of everything that is generated", at_least(0));
    f("documents", documents, "documents of the pretraining corpus (about 100 tokens each)", at_least(1));
    f("dev_documents", dev_documents, "held-out documents for the pretraining loss", at_least(1));
    f("forgetting_documents", forgetting_documents, "held-out documents on which forgetting is measured", at_least(1));
    f("vocab_size", vocab_size, "tokens of the byte-level BPE tokenizer, 3 special ones and 256 bytes among them", between(260, 65536));
    f("hidden_size", hidden_size, "width of the base model", at_least(1));
    f("intermediate_size", intermediate_size, "width of its MLP", at_least(1));
    f("num_hidden_layers", num_hidden_layers, "layers of the base model", at_least(1));
    f("num_attention_heads", num_attention_heads, "query heads; must divide hidden_size into even head widths", at_least(1));
    f("num_key_value_heads", num_key_value_heads, "key and value heads; must divide num_attention_heads", at_least(1));
    f("max_position_embeddings", max_position_embeddings, "longest text in tokens", at_least(8));
    f("task_train", task_train, "training rows of each task", at_least(1));
    f("task_dev", task_dev, "development rows of each task", at_least(1));
    f("task_test", task_test, "test rows of each task", at_least(1));
  }
};

// Fills the folder `out` (replaced as a whole when it is complete):
//   corpus/train.jsonl, corpus/dev.jsonl, forgetting.jsonl   rows {"text"}; no document stands in two of them
//   base/config.json, generation_config.json, tokenizer.json, tokenizer_config.json, special_tokens_map.json
//   tasks/describe/, tasks/rewrite/   train, dev, test .jsonl with {"prompt", "completion"} (and "references")
//   tasks/review/                     the same with {"text", "label"}, and labels.txt
// The base has no weights yet: training from random weights on corpus/ makes them.
// Throws Fault::Usage for an impossible shape or too many rows, Fault::Input when it cannot write.
void write_embedded(const std::filesystem::path& out, EmbeddedConfig config);

}  // namespace graft
