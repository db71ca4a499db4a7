#include "embedded/grammar/corpus.h"

#include "embedded/grammar/english.h"
#include "embedded/grammar/rules.h"

namespace graft {
namespace {

const std::string_view kRoot = R"(
text = 4* [story] | 4* [town] | 3* [nature_text] | 2* [number_text] | 5* [scene]
)";

}  // namespace

const Grammar& prose_grammar() {
  static const Grammar grammar({kRoot, kWordRules, kStoryRules, kTownRules, kNatureRules, kSceneRules, kNumberRules});
  return grammar;
}

std::string make_document(Rng& rng) {
  const uint64_t texts = 1 + rng.below(4);
  std::string document;
  for (uint64_t i = 0; i < texts; ++i) {
    Telling telling(prose_grammar(), rng, rng.below(10) < 7);
    if (i > 0) document += '\n';
    document += telling.tell("text");
  }
  return document;
}

}  // namespace graft
