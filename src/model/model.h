// A decoder-only language model as plain data: named tensors and a row of the family table. Copying a Model copies
// handles, not weights; a method that trains a base tensor replaces the handle in its own copy, so that the loaded base
// is shared between runs and never changes.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "model/config.h"
#include "sites/linear.h"
#include "sites/sites.h"

namespace graft {

struct Norm {
  Tensor weight, bias;  // [width]; bias undefined for root-mean-square norms
  std::string path;     // empty: there is no such norm
  bool gain = true;     // false: it only normalises
};

struct Embedding {
  Tensor weight;  // [rows, width]
  std::string path;
};

// The parts of a block. The path of a part that the family does not have is empty.
struct Block {
  std::string path;                    // "model.layers.0"
  Norm norm1, post_norm1, norm2, post_norm2;  // before and behind attention; before and behind the MLP
  std::vector<Norm> q_norms, k_norms;  // one, or one for each head
  Linear q, k, v, qkv, o, gate, up, gate_up, down;
};

struct FamilyRow;

struct Model {
  const FamilyRow* family = nullptr;
  ModelConfig config;
  at::ScalarType compute = at::kFloat;  // what it calculates in; matrices may be stored in a shorter type (LoadOptions::keep_stored), trained ones in a wider
  Embedding tokens, positions;  // positions: learned ones, else undefined
  Norm embed_norm;
  Linear project_in, project_out;  // between embeddings or head and the blocks where their widths differ
  std::vector<Block> blocks;
  Norm final_norm;
  Linear head;                  // weight undefined when tied: see head_linear

  int64_t layers() const { return static_cast<int64_t>(blocks.size()); }
  at::ScalarType dtype() const { return compute; }
  at::Device device() const { return tokens.weight.device(); }
  // The head with its weight, shared with the token embedding where the model ties them.
  Linear head_linear() const;
  // The head gets a handle of its own; nothing happens where it has one.
  void untie_head();
};

// Every linear with its site, in the order of Hugging Face's modules; the head last (layer -1).
void visit_linears(Model& model, const std::function<void(Site, int64_t layer, Linear&)>& visit);
// Every norm that has a gain with its site; norms of queries or keys may share one. The final norm last (layer -1).
void visit_norms(Model& model, const std::function<void(Site, int64_t layer, Norm&)>& visit);
// Every stored tensor once: its name in the file, the handle, its shape as stored, and whether it is stored transposed.
using WeightVisitor = std::function<void(const std::string& name, Tensor& handle, const std::vector<int64_t>& shape, bool conv1d)>;
void visit_weights(Model& model, const WeightVisitor& visit);
// The sites that this model has: each is visited once per layer (or once per pass) in a forward pass.
std::vector<Site> declared_sites(const Model& model);
int64_t parameter_count(const Model& model);
// Identity of a base: of its configuration and of a sample of its values.
std::string fingerprint(const Model& model);
// A copy whose floating-point tensors have this dtype and lie on this device (shared where they already do).
Model converted(const Model& model, at::ScalarType dtype, at::Device device);
// A copy that shares the weights' memory and nothing else: no count of references that another thread changes too.
Model with_own_handles(const Model& model);

}  // namespace graft
