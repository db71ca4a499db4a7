// What a method can do at a site. Each kind is small; a plain method overrides one function.
#pragma once
#include <optional>

#include "sites/linear.h"

namespace graft {

// A low-rank side path as the runtime can fuse it: y += scale · (x aᵀ) bᵀ.
struct LowRank {
  Tensor a, b;  // [r, in], [out, r]
  double scale = 1;
};

// Replaces y = W x + b at a linear site. x [tokens, in] → [tokens, out].
struct WeightEdit {
  virtual ~WeightEdit() = default;
  // `training` switches dropout on.
  virtual Tensor linear(const Linear& base, const Tensor& x, bool training) const = 0;
  // The same map as one plain linear, computed in the weight's dtype; nullopt where that is impossible.
  virtual std::optional<Linear> merged(const Linear& base) const = 0;
  // When the edit is just a low-rank side path for this pass: lets a group of sites share its A products.
  virtual std::optional<LowRank> low_rank(bool /*training*/) const { return std::nullopt; }
};

// Replaces the look-up of token rows. weight [vocab, width], ids [n] → [n, width], before any factor or positions.
struct EmbedEdit {
  virtual ~EmbedEdit() = default;
  virtual Tensor embed(const Tensor& weight, const Tensor& ids) const = 0;
  // The same look-up as one plain matrix [vocab, width].
  virtual Tensor merged(const Tensor& weight) const = 0;
};

// Changes a hidden state in place of the residual stream's contribution. h, residual [tokens, width] → [tokens, width].
// `residual` is the stream before the sub-layer (before its norm); undefined at sites without one.
struct HiddenEdit {
  virtual ~HiddenEdit() = default;
  virtual Tensor hidden(const Tensor& h, const Tensor& residual, bool training) const = 0;
};

// Extra keys and values that every document sees in one layer: [rows, kv_heads, head_dim] each.
struct KvEdit {
  virtual ~KvEdit() = default;
  struct Rows {
    Tensor k, v;
  };
  virtual Rows rows() const = 0;
  virtual int64_t count() const = 0;
};

// Extra embedding rows in front of every document: [rows, width].
struct InputEdit {
  virtual ~InputEdit() = default;
  virtual Tensor rows(bool training) const = 0;
  virtual int64_t count() const = 0;
};

}  // namespace graft
