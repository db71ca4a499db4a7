// One LoRA adapter from several, without their base: what HF PEFT's add_weighted_adapter makes, under its names.
#pragma once
#include "adapter/convert.h"
#include "adapter/folder.h"

namespace graft {

// With weights w_i, A_i, B_i and s_i = lora_alpha / r (or / √r), ΔW_i = s_i B_i A_i. The result has the scale 1.
//   cat    A = [w_i s_i A_i] above one another, B = [B_i] side by side: Σ w_i ΔW_i exactly, with the ranks' sum
//   svd    the largest singular values of Σ w_i ΔW_i: A = Vᵀ, B = U S
//   linear A = Σ ±√|w_i s_i| A_i, B = Σ √|w_i s_i| B_i, the sign at A: not the weighted sum, since each A meets each B
// and, in place of linear's plain sum of A and of B (or, with _svd behind the name, of the ΔW_i in front of the decomposition):
//   magnitude_prune   each summand keeps the share `density` of its entries, the largest
//   ties              the same; then of each entry only the summands with the majority's sign, as their mean (arXiv 2306.01708)
//   dare_linear       each summand keeps entries at random, with probability `density`, divided by it (arXiv 2311.03099)
//   dare_ties         that, then the majority's sign
struct CombineOptions {
  std::string type = "svd";
  std::vector<double> weights;             // one for each adapter
  std::optional<double> density = {};      // in (0, 1], where the type prunes
  std::string majority_sign = "total";     // "total": of the entries' sum, "frequency": of the signs' sum
  std::optional<int64_t> svd_rank = {};    // null: the largest of the adapters' ranks
  uint64_t seed = 0;                       // of the entries that are kept at random
};
const std::vector<std::string>& combination_types();
bool prunes(const std::string& type);
bool elects_signs(const std::string& type);
bool decomposes(const std::string& type);

struct Combination {
  std::vector<FactoredUpdate> updates = {};  // in the order of the modules in a model
  NamedTensors copies = {};                  // whole embeddings that the files bring along
  std::string type = {}, base_model = {};
  double difference = 0;  // largest ‖ΔW − Σ w_i ΔW_i‖ / ‖Σ w_i ΔW_i‖ over the modules
};

// Throws Fault::Usage for anything but plain LoRA and for options that do not fit, with the adapter's folder.
Combination combine(const std::vector<AdapterFile>& files, const CombineOptions& options);

}  // namespace graft
