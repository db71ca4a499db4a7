// The edits of LoRA and DoRA at linears and at the token embedding.
#pragma once
#include <memory>

#include "sites/edit.h"

namespace graft {

// y = W x + b + s · (B A drop(x) + bias); with a magnitude, DoRA:
// y = W x + b + (m/n − 1) ⊙ (W x') + (m/n) ⊙ s·B A x',  n = ‖rows of W + s·BA‖, a constant in the backward pass, x' = drop(x).
struct LoraEdit : WeightEdit {
  Tensor a, b;             // [r, in], [out, r]
  Tensor bias, magnitude;  // [out] or undefined
  double scale = 1, dropout = 0;
  bool held = false;  // keep the norms of the last pass: see Method::hold_constants

  Tensor row_norms(const Linear& base) const;
  Tensor linear(const Linear& base, const Tensor& x, bool training) const override;
  std::optional<Linear> merged(const Linear& base) const override;
  std::optional<LowRank> low_rank(bool training) const override;

 private:
  mutable Tensor held_norms_;
};

// Row t of the embedding gets s · (B A[:, t])ᵀ; with a magnitude all columns are rescaled: (m/n) ⊙ (row + ...).
struct LoraEmbedEdit : EmbedEdit {
  Tensor a, b;       // [r, vocab], [width, r]
  Tensor magnitude;  // [width] or undefined
  double scale = 1;
  bool held = false;

  Tensor column_norms(const Tensor& weight) const;
  Tensor embed(const Tensor& weight, const Tensor& ids) const override;
  Tensor merged(const Tensor& weight) const override;

 private:
  mutable Tensor held_norms_;
};

// The head of a model with tied weights that follows the embedding's update: A = (the embedding's B)ᵀ, B = (its A)ᵀ.
struct LoraTiedHeadEdit : WeightEdit {
  std::shared_ptr<LoraEmbedEdit> embedding;

  Tensor linear(const Linear& base, const Tensor& x, bool training) const override;
  std::optional<Linear> merged(const Linear& base) const override;
};

}  // namespace graft
