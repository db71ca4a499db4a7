// Folding an adapter into the base's weights.
#pragma once
#include "methods/method.h"

namespace graft {

// The base with every edit folded in, computed in the adapter's precision; throws Fault::Usage for a method that cannot merge.
Model merged(const Adapted& adapted);

// Largest absolute difference of the logits of two models on fixed pseudo-random token ids, with what is attached to them.
double largest_logit_difference(const Model& a, const Sites& sites_a, const Model& b, const Sites& sites_b);

}  // namespace graft
