#include "core/check.h"
#include "model/family.h"

namespace graft {

// One declaration and one entry for each family.
extern const FamilyRow kLlama;
extern const FamilyRow kMistral;
extern const FamilyRow kQwen2;
extern const FamilyRow kQwen3;
extern const FamilyRow kSmolLm3;
extern const FamilyRow kGemma;
extern const FamilyRow kGemma2;
extern const FamilyRow kGemma3;
extern const FamilyRow kPhi;
extern const FamilyRow kPhi3;
extern const FamilyRow kGpt2;
extern const FamilyRow kGptNeoX;
extern const FamilyRow kOpt;
extern const FamilyRow kOlmo2;
extern const FamilyRow kGranite;
extern const FamilyRow kStableLm;
extern const FamilyRow kFalcon;
extern const FamilyRow kBloom;
extern const FamilyRow kStarcoder2;
extern const FamilyRow kCohere;

std::span<const FamilyRow> families() {
  static const std::vector<FamilyRow> rows{
      kLlama, kMistral, kQwen2, kQwen3, kSmolLm3, kGemma, kGemma2, kGemma3, kPhi, kPhi3, kGpt2,
      kGptNeoX, kOpt, kOlmo2, kGranite, kStableLm, kFalcon, kBloom, kStarcoder2, kCohere};
  return rows;
}

const FamilyRow& find_family(const std::string& model_type) {
  std::vector<std::string> names;
  for (auto& row : families()) {
    if (row.model_type == model_type) return row;
    names.push_back(row.model_type);
  }
  input_error("config", fmt::format("the model_type '{}' is not supported", model_type), fmt::format("known: {}", fmt::join(names, ", ")));
}

}  // namespace graft
