#include "methods/method.h"

namespace graft {

// One declaration and one entry for each method.
extern const MethodRow kFull, kLastKLayers, kBitFit, kLnTuning, kLora, kRsLora, kDora, kAdaLora, kIa3, kHoulsby, kPfeiffer, kParallel, kPrefixTuning,
    kPromptTuning, kPTuning;

// Where several rows share a PEFT type, a file of that type is read by the first of them.
std::span<const MethodRow> methods() {
  static const std::vector<MethodRow> rows{kFull,    kLora,      kRsLora,   kDora,  kAdaLora, kIa3,          kHoulsby, kPfeiffer,
                                           kParallel, kPrefixTuning, kPromptTuning, kPTuning, kBitFit, kLnTuning, kLastKLayers};
  return rows;
}

}  // namespace graft
