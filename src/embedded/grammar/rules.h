// The rules of the embedded corpus, in the language of grammar.h: the words, and the worlds that use them.
#pragma once
#include <string_view>

namespace graft {

extern const std::string_view kWordRules;     // people, things, places, food, animals, verbs, feelings
extern const std::string_view kStoryRules;    // short stories about people and animals
extern const std::string_view kTownRules;     // restaurants, shops, letters, talk between people
extern const std::string_view kNatureRules;   // animals, weather, seasons, how things are and why
extern const std::string_view kSceneRules;    // loose sentences, lists, portraits, diaries
extern const std::string_view kNumberRules;   // counting, sums, prices, times of day

}  // namespace graft
