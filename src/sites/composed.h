// Edits made of several at one place, for several adapters on one model. With weights w_i:
//   sum     y = y_0 + Σ w_i (y_i − y_0), where y_i is what edit i alone makes of the place
//   stack   y_i = y_{i−1} + w_i (e_i(y_{i−1}) − y_{i−1}): each acts on what those in front of it made
#pragma once
#include <memory>

#include "sites/edit.h"

namespace graft {

// y = W x + b + Σ w_i (e_i(W_i, x) − W_i x − b_i). With the base's own W_i that is the sum; where W_i is what the edits in front of i made of W, the stack.
// Low-rank edits stay one: their A matrices above one another, their scaled B side by side.
struct ComposedWeight : WeightEdit {
  struct Part {
    std::shared_ptr<WeightEdit> edit;
    Linear base;
    double weight = 1;
  };
  std::vector<Part> parts;

  Tensor linear(const Linear& base, const Tensor& x, bool training) const override { return linear_in(base, x, {}, training); }
  Tensor linear_in(const Linear& base, const Tensor& x, const Documents& documents, bool training) const override;
  Reads reads() const override;
  std::optional<Linear> merged(const Linear& base) const override;
  std::optional<LowRank> low_rank(bool training) const override;
};

// The same for rows of the token embedding.
struct ComposedEmbed : EmbedEdit {
  struct Part {
    std::shared_ptr<EmbedEdit> edit;
    Tensor base;  // [vocab, width]
    double weight = 1;
  };
  std::vector<Part> parts;

  Tensor embed(const Tensor& weight, const Tensor& ids) const override;
  Tensor merged(const Tensor& weight) const override;
};

struct ComposedHidden : HiddenEdit {
  struct Part {
    std::shared_ptr<HiddenEdit> edit;
    double weight = 1;
  };
  std::vector<Part> parts;
  bool stacked = false;

  Tensor hidden(const Tensor& h, const Tensor& residual, const Documents& documents, bool training) const override;
  Reads reads() const override;
};

// Rows of one behind those of the other.
struct ComposedKv : KvEdit {
  std::vector<std::shared_ptr<KvEdit>> parts;

  Rows rows() const override;
  int64_t count() const override;
  int64_t shift() const override;
  Tensor factors(const Tensor& x, const Documents& documents) const override;
  Reads reads() const override;
};
struct ComposedInput : InputEdit {
  std::vector<std::shared_ptr<InputEdit>> parts;

  Tensor rows(bool training) const override;
  int64_t count() const override;
  std::vector<Learned> learned() const override;
};

// A term beside the attention, times a weight.
struct WeightedSide : SideEdit {
  std::shared_ptr<SideEdit> edit;
  double weight = 1;
  Tensor rows() const override { return edit->rows(); }
  Tensor gate() const override;
  bool behind_output() const override { return edit->behind_output(); }
};

}  // namespace graft
