// What most weight methods do at a linear: y = W x + b + ΔW x. A method gives ΔW; or ΔW x, where that is cheaper than ΔW; or two
// factors of ΔW, where it is a thin product.
#pragma once
#include <memory>
#include <vector>

#include "sites/edit.h"

namespace graft {

// What training leaves out, by chance: entries of x before ΔW, rows of ΔW, all of ΔW.
struct Drops {
  double input = 0, rows = 0, whole = 0;
  bool rows_scaled = false;  // what stays of the rows is divided by its share
  bool any() const { return input > 0 || rows > 0 || whole > 0; }
};

// ΔW as a function of a few trained tensors, and of W where the method needs it. Neither ΔW nor what leads to it is kept for the
// backward pass: that computes it again. float32: one product with W + ΔW; narrower bases: two, so that small updates do not
// drown.
struct DeltaEdit : WeightEdit {
  std::vector<Tensor> trained;  // the leaves that delta() depends on
  Drops drops;

  // ΔW [out, in] from W, both in the trained tensors' dtype.
  virtual Tensor delta(const Tensor& weight) const = 0;

  Tensor linear(const Linear& base, const Tensor& x, bool training) const override;
  std::optional<Linear> merged(const Linear& base) const override;

 protected:
  virtual Tensor without_drops(const Linear& base, const Tensor& x) const;
  virtual Tensor side(const Linear& base, const Tensor& x) const;  // ΔW x in the dtype of x
};

// ΔW as what it does to x: W x + b and the update of x are computed side by side.
struct UpdateEdit : DeltaEdit {
  // ΔW x for rows x [n, in] in the trained tensors' dtype → [n, out]. Must be linear in x.
  virtual Tensor update(const Tensor& x) const = 0;

  Tensor delta(const Tensor& weight) const override;  // the update of the unit vectors

 protected:
  Tensor without_drops(const Linear& base, const Tensor& x) const override;
  Tensor side(const Linear& base, const Tensor& x) const override;
};

// ΔW = scale · B A with B [out, r] and A [r, in] as functions of the trained tensors: x goes through the factors.
struct FactorsEdit : DeltaEdit {
  virtual LowRank factors() const = 0;

  Tensor delta(const Tensor& weight) const override;
  std::optional<LowRank> low_rank(bool training) const override;

 protected:
  Tensor without_drops(const Linear& base, const Tensor& x) const override;
  Tensor side(const Linear& base, const Tensor& x) const override;
};

}  // namespace graft
