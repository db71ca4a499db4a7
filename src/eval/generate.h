// Text generation with a key/value cache: greedy or sampled, many sequences at a time.
#pragma once
#include <functional>
#include <vector>

#include "core/config.h"
#include "model/family.h"

namespace graft {

struct GenerateConfig : Config {
  int64_t max_new_tokens = 128, top_k = 0, batch = 64;
  double temperature = 0, top_p = 1;
  int64_t seed = 0;
  void visit(Fields& f) override {
    f("max_new_tokens", max_new_tokens, "longest continuation in tokens", at_least(1));
    f("temperature", temperature, "0: greedy; else logits are divided by it before sampling", at_least(0));
    f("top_k", top_k, "sample from the k likeliest tokens only; 0: all", at_least(0));
    f("top_p", top_p, "sample from the likeliest tokens that together reach this probability", between(1e-6, 1));
    f("seed", seed, "seed of the sampling", at_least(0));
    f("batch", batch, "sequences generated at a time", at_least(1));
  }
};

// Continuations of `prompts` (token ids, each with one token or more) without the prompts; a stop token ends one and is not
// returned. A continuation also ends where the model has no further position. `on_token(prompt, id)` sees each token.
std::vector<std::vector<int64_t>> generate(const Model& model, const Sites& sites, const std::vector<std::vector<int64_t>>& prompts,
                                           const std::vector<int64_t>& stop_ids, const GenerateConfig& config,
                                           const std::function<void(size_t, int64_t)>& on_token = {});

}  // namespace graft
