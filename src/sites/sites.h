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

class Sites {
 public:
  explicit Sites(int64_t layers);

  // --- what a model calls ---
  // y = W x + b and whatever edit sits there. `layer` is ignored for sites outside the blocks. Where the values of y are not read
  // (a part of a model that runs again for its backward pass) they may be left out.
  Tensor linear(Site site, int64_t layer, const Linear& base, const Tensor& x, bool values_needed = true) const;
  // Several linears on the same input, so that low-rank edits can share their products.
  struct Member {
    Site site;
    const Linear* base;
  };
  std::vector<Tensor> linears(int64_t layer, std::span<const Member> members, const Tensor& x, bool values_needed = true) const;
  Tensor hidden(Site site, int64_t layer, const Tensor& h, const Tensor& residual = {}) const;
  kernels::PrefixRows kv(int64_t layer) const;
  Tensor input_rows() const;               // [rows, width] or undefined
  Tensor embed(const Tensor& weight, const Tensor& ids) const;  // rows of the token embedding
  void visited(Site site, int64_t layer) const;  // a site that only carries base parameters (norms)

  int64_t input_row_count() const;  // virtual tokens in front of every document
  int64_t kv_row_count() const;     // prefix rows; positions of real tokens start behind them
  bool has_edit(Site site, int64_t layer) const;

  // --- what a method calls --- two edits on one place are an error that names the place
  void put(Site site, int64_t layer, std::shared_ptr<WeightEdit> edit);
  void put(Site site, int64_t layer, std::shared_ptr<HiddenEdit> edit);
  void put(int64_t layer, std::shared_ptr<KvEdit> edit);
  void put(std::shared_ptr<InputEdit> edit);
  void put(std::shared_ptr<EmbedEdit> edit);
  const WeightEdit* weight_edit(Site site, int64_t layer) const;
  const EmbedEdit* embed_edit() const { return embed_.get(); }

  bool training = false;
  // Called for every visit when set: how tests see that a family forgets no site.
  std::function<void(Site, int64_t layer)> observer;

 private:
  size_t slot(Site site, int64_t layer) const { return static_cast<size_t>(is_per_layer(site) ? layer : layers_) * kSites + static_cast<size_t>(site); }
  int64_t layers_;
  std::vector<std::shared_ptr<WeightEdit>> weight_;
  std::vector<std::shared_ptr<HiddenEdit>> hidden_;
  std::vector<std::shared_ptr<KvEdit>> kv_;
  std::shared_ptr<InputEdit> input_;
  std::shared_ptr<EmbedEdit> embed_;
};

}  // namespace graft
