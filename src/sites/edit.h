// What a method can do at a site. Each kind is small; a plain method overrides one function.
#pragma once
#include <map>
#include <optional>
#include <vector>

#include "sites/linear.h"

namespace graft {

// What an edit must know beside the rows that it gets. Position: where they stand in their documents, so that all rows come to it.
// Batch: all rows together, each as often as it stands there, so that documents do not share their beginnings. Document: what stands
// behind rows in their documents too.
enum class Reads : uint8_t { Row, Position, Batch, Document };

// The documents that a pass' rows belong to. A position counts a document's own tokens from 0; virtual rows stand in front of it.
// The prompt is what stands in front of the first token that is learned, or what a generation starts from. Where nothing is learned, or all
// of a document is, the whole document is its prompt.
struct Documents {
  std::vector<int64_t> starts{0};  // [documents + 1] first row of each
  std::vector<int64_t> first;      // [documents] position of each document's first row: above 0 where it goes on from a cache or from another one
  std::vector<int64_t> prompt;     // [documents] positions that belong to the prompt
  std::vector<int64_t> ids = {};   // [rows] tokens, -1 at virtual rows; empty behind a prompt that is carried
  Tensor of_row;                   // [rows] int64: each row's document
  Tensor share;                    // [rows] float32: 1 / prompt at rows of the prompt, else 0; undefined where no edit reads whole documents
  // Where edits keep what later tokens need of the prompt, [documents, ...] under their own address; null where no token follows.
  std::map<const void*, Tensor>* carried = nullptr;
  bool behind_prompt = false;      // the rows are single tokens that go on from a cache: what was carried holds for them

  int64_t count() const { return static_cast<int64_t>(first.size()); }
};

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
  // The same for an edit that reads more than single rows.
  virtual Tensor linear_in(const Linear& base, const Tensor& x, const Documents& /*documents*/, bool training) const { return linear(base, x, training); }
  virtual Reads reads() const { return Reads::Row; }
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
  virtual Tensor hidden(const Tensor& h, const Tensor& residual, const Documents& documents, bool training) const = 0;
  virtual Reads reads() const { return Reads::Row; }
};

// Extra keys and values that every document sees in one layer: [rows, kv_heads, head_dim] each.
struct KvEdit {
  virtual ~KvEdit() = default;
  struct Rows {
    Tensor k, v;
  };
  virtual Rows rows() const = 0;
  virtual int64_t count() const = 0;
  // How many positions a document's own tokens stand behind those that they have without these rows.
  virtual int64_t shift() const { return count(); }
  // Factors of the keys and the values for each document, [documents, 2] or, of single rows, [documents, 2, rows, 1, 1], from the attention's input
  // x [rows, width]; undefined: none.
  virtual Tensor factors(const Tensor& /*x*/, const Documents& /*documents*/) const { return {}; }
  virtual Reads reads() const { return Reads::Row; }
};

// Rows that one layer attends to beside its own keys, with a softmax of their own: attention + gate · softmax(q K_pᵀ) V_p, where K_p and V_p are the
// layer's projections of these rows, without positions.
struct SideEdit {
  virtual ~SideEdit() = default;
  virtual Tensor rows() const = 0;  // [n, width]
  virtual Tensor gate() const = 0;  // [1]
  // The term joins behind the output projection instead of in front of it.
  virtual bool behind_output() const { return false; }
};

// Extra embedding rows in front of every document: [rows, width].
struct InputEdit {
  virtual ~InputEdit() = default;
  virtual Tensor rows(bool training) const = 0;
  virtual int64_t count() const = 0;
  // Rows whose next token is learned in every document too: its gradient joins, the loss does not show it.
  struct Learned {
    int64_t row, next_token;
    double weight;
  };
  virtual std::vector<Learned> learned() const { return {}; }
};

}  // namespace graft
