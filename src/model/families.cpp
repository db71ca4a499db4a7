#include "core/check.h"
#include "model/family.h"

namespace graft {

// One declaration and one entry for each family.
extern const FamilyRow kLlama;
extern const FamilyRow kGpt2;

std::span<const FamilyRow> families() {
  static const std::vector<FamilyRow> rows{kLlama, kGpt2};
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
