// The answer of a comparison in words, from the numbers of results.json.
#pragma once
#include "core/json.h"

namespace graft {

// {verdict, pick, tied, headline, reasons, uncertainty, lr, options} from `metrics`, `methods`, `pairs` and `runs` of
// results.json.
//   verdict   "winner"  one method beat every other (adjusted p < 0.05)
//             "leader"  one method has rank 1 alone, but was not shown to beat every other
//             "tied"    several have rank 1: nobody was shown to be better than any of them
//             "single"  only one method has a result;  "none"  no method has
//   pick      the method to use; null for "none". Among tied methods: those that lost no run and whose mean lies within the
//             detectable difference of the best mean are ranked by each cost (trained parameters, seconds per step, peak memory,
//             inference slow-down, forgetting; equal within 3 %); the lowest sum of ranks is picked, then the better mean.
//   tied      names of rank 1
//   headline  one sentence; reasons, uncertainty: sentences
Json recommend(const Json& results);

}  // namespace graft
