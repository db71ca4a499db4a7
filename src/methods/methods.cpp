#include "methods/method.h"

namespace graft {

// One declaration and one entry for each method.
extern const MethodRow kFull, kLastKLayers, kBitFit, kLnTuning, kLora, kRsLora, kDora, kIa3, kHoulsby, kPfeiffer, kParallel, kPrefixTuning,
    kPromptTuning, kPTuning;

std::span<const MethodRow> methods() {
  static const std::vector<MethodRow> rows{kFull,    kLastKLayers, kBitFit,   kLnTuning,     kLora,         kRsLora, kDora,
                                           kIa3,     kHoulsby,     kPfeiffer, kParallel,     kPrefixTuning, kPromptTuning, kPTuning};
  return rows;
}

}  // namespace graft
