#include "methods/method.h"

namespace graft {

// One declaration and one entry for each method, in the order of the ideas. Where several rows share a PEFT type, a file of that
// type is read by the first of them, or by the one whose peft_key it sets.
extern const MethodRow
    kLora, kRsLora, kDora, kAdaLora,
    kLoraPlus, kLoraFa, kRiemannianLora, kPissa, kOlora, kMica,
    kEva, kCorda, kLoraGa, kBdLora, kVeLora, kALora, kMonteCLora,
    kVera, kPvera, kLoha, kLokr, kHira, kDelora, kGralora, kMiss, kRandlora, kVblora,
    kUnilora, kTinylora, kKasa, kPeanut, kDeft, kGlora,
    kOft, kBoft, kHra, kPsoft, kOsf,
    kFourierFt, kWaveFt, kC3a, kShira, kSuperTuning,
    kIa3, kRoad, kBeft,
    kHoulsby, kPfeiffer, kParallel,
    kCompacter, kCompacterPp, kAdapterDrop, kAdapterPlus,
    kPrefixTuning, kPromptTuning, kPTuning,
    kLlamaAdapter, kCpt,
    kLoReft, kNoReft, kDiReft,
    kMam, kUniPelt,
    kFull, kBitFit, kLnTuning, kLastKLayers, kTrainableTokens,
    kLisa, kGaLore;

namespace {

std::vector<MethodRow>& table() {
  static std::vector<MethodRow> rows{
      // Low rank.
      kLora, kRsLora, kDora, kAdaLora,
      kLoraPlus, kLoraFa, kRiemannianLora, kPissa, kOlora, kMica,
      kEva, kCorda, kLoraGa, kBdLora, kVeLora, kALora, kMonteCLora,
      kVera, kPvera, kLoha, kLokr, kHira, kDelora, kGralora, kMiss, kRandlora, kVblora,
      kUnilora, kTinylora, kKasa, kPeanut, kDeft, kGlora,
      // Orthogonal.
      kOft, kBoft, kHra, kPsoft, kOsf,
      // Spectral.
      kFourierFt, kWaveFt, kC3a, kShira, kSuperTuning,
      // Scaling.
      kIa3, kRoad, kBeft,
      // Bottleneck adapters.
      kHoulsby, kPfeiffer, kParallel,
      kCompacter, kCompacterPp, kAdapterDrop, kAdapterPlus,
      // Prompts.
      kPrefixTuning, kPromptTuning, kPTuning,
      kLlamaAdapter, kCpt,
      // Representations.
      kLoReft, kNoReft, kDiReft,
      // Combinations.
      kMam, kUniPelt,
      // Selective.
      kFull, kBitFit, kLnTuning, kLastKLayers, kTrainableTokens,
      kLisa, kGaLore,
  };
  return rows;
}

}  // namespace

std::span<const MethodRow> methods() { return table(); }
void add_method(const MethodRow& row) { table().push_back(row); }

const char* idea_title(Idea idea) {
  switch (idea) {
    case Idea::LowRank: return "low-rank updates";
    case Idea::Orthogonal: return "orthogonal transformations";
    case Idea::Spectral: return "spectral and sparse updates";
    case Idea::Scaling: return "factors and offsets of channels";
    case Idea::Adapter: return "bottleneck adapters";
    case Idea::Prompt: return "prompts and prefixes";
    case Idea::Representation: return "edits of representations";
    case Idea::Combination: return "combinations";
    case Idea::Selective: return "a part of the base";
  }
  return "";
}

}  // namespace graft
