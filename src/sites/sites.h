// The board of sites: one slot for each layer and site, resolved when a method is attached, looked up by index.
#pragma once
#include <array>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "kernels/attention.h"
#include "sites/edit.h"
#include "sites/site.h"

namespace graft {

// Where a model calls: the layer, and the documents that its rows belong to (none: each row by itself).
struct At {
  At(int64_t of_layer, const Documents* of_pass = nullptr) : layer(of_layer), documents(of_pass) {}  // NOLINT: a layer alone is enough for most
  int64_t layer;
  const Documents* documents;
};

// What stands in front of every document in a layer, and what is attended to beside it.
struct KvRows {
  kernels::PrefixRows front;
  Tensor factors;  // of keys and values, as KvEdit has them, or undefined
};

class Sites {
 public:
  explicit Sites(int64_t layers);

  // --- what a model calls ---
  // y = W x + b and whatever edit sits there. `layer` is ignored for sites outside the blocks. Where the values of y are not read
  // (a part of a model that runs again for its backward pass) they may be left out.
  Tensor linear(Site site, At at, const Linear& base, const Tensor& x, bool values_needed = true) const;
  // Several linears on the same input, so that low-rank edits can share their products.
  struct Member {
    Site site;
    const Linear* base;
  };
  std::vector<Tensor> linears(At at, std::span<const Member> members, const Tensor& x, bool values_needed = true) const;
  Tensor hidden(Site site, At at, const Tensor& h, const Tensor& residual = {}) const;
  KvRows kv(At at, const Tensor& x) const;  // x: the attention's input
  using Sides = std::vector<std::shared_ptr<SideEdit>>;
  const Sides& sides(int64_t layer) const { return sides_[static_cast<size_t>(layer)]; }
  Tensor input_rows() const;               // [rows, width] or undefined
  Tensor embed(const Tensor& weight, const Tensor& ids) const;  // rows of the token embedding
  void visited(Site site, int64_t layer) const;  // a site that only carries base parameters (norms)

  int64_t input_row_count() const;  // virtual tokens in front of every document
  int64_t kv_row_count() const;     // prefix rows
  int64_t kv_shift() const;         // what they shift the positions of real tokens by
  std::vector<InputEdit::Learned> learned_rows() const;
  bool has_edit(Site site, int64_t layer) const;
  Reads reads() const { return reads_; }  // the most that any edit reads

  // --- what a method calls --- two edits on one place are an error that names the place
  void put(Site site, int64_t layer, std::shared_ptr<WeightEdit> edit);
  void put(Site site, int64_t layer, std::shared_ptr<HiddenEdit> edit);
  void put(int64_t layer, std::shared_ptr<KvEdit> edit);
  void put(int64_t layer, std::shared_ptr<SideEdit> edit);  // any number: each is a term of its own
  void put(std::shared_ptr<InputEdit> edit);
  void put(std::shared_ptr<EmbedEdit> edit);

  // --- what stands at a place, or null ---
  const std::shared_ptr<WeightEdit>& weight_edit(Site site, int64_t layer) const { return weight_[slot(site, layer)]; }
  const std::shared_ptr<HiddenEdit>& hidden_edit(Site site, int64_t layer) const { return hidden_[slot(site, layer)]; }
  const std::shared_ptr<KvEdit>& kv_edit(int64_t layer) const { return kv_[static_cast<size_t>(layer)]; }
  const std::shared_ptr<InputEdit>& input_edit() const { return input_; }
  const std::shared_ptr<EmbedEdit>& embed_edit() const { return embed_; }

  bool training = false;
  // Called for every visit when set: how tests see that a family forgets no site.
  std::function<void(Site, int64_t layer)> observer;

 private:
  size_t slot(Site site, int64_t layer) const { return static_cast<size_t>(is_per_layer(site) ? layer : layers_) * kSites + static_cast<size_t>(site); }
  int64_t layers_;
  std::vector<std::shared_ptr<WeightEdit>> weight_;
  std::vector<std::shared_ptr<HiddenEdit>> hidden_;
  std::vector<std::shared_ptr<KvEdit>> kv_;
  std::vector<Sides> sides_;
  std::shared_ptr<InputEdit> input_;
  std::shared_ptr<EmbedEdit> embed_;
  Reads reads_ = Reads::Row;
};

}  // namespace graft
