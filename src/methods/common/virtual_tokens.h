// Configuration fields which the files of all virtual-token methods share.
#pragma once
#include "methods/method.h"

namespace graft {

// PEFT writes the structure of the base into these files.
inline Json virtual_token_structure(const Model& model, int64_t token_dim, int64_t attention_heads) {
  return {{"token_dim", token_dim}, {"num_attention_heads", attention_heads}, {"num_layers", model.layers()}, {"num_transformer_submodules", 1}};
}
inline std::vector<std::string> virtual_token_structure_keys() {
  return {"token_dim", "num_attention_heads", "num_layers", "num_transformer_submodules", "tokenizer_kwargs", "tokenizer_name_or_path"};
}

// In these files the base's own modules stand one level higher than in other methods'.
inline const std::string kPromptPrefix = "base_model.";

// After reading a file the first `own` parameters, a network that made the rows, give way to the rows themselves.
inline Tensor only_rows(std::vector<Param>& params, size_t& own, Tensor rows) {
  rows.requires_grad_();
  params.erase(params.begin(), params.begin() + static_cast<std::ptrdiff_t>(own));
  params.insert(params.begin(), {"prompt_embeddings", rows});
  own = 1;
  return rows;
}

// The rows [virtual tokens, width] in front of every document, as a plain tensor or computed from other parameters.
struct InputRows : InputEdit {
  std::function<Tensor(bool training)> compute;
  int64_t number = 0;
  Tensor rows(bool training) const override { return compute(training); }
  int64_t count() const override { return number; }
};

}  // namespace graft
