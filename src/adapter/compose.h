// Several adapters on one model, which they share: N of them cost their own tensors only, and another choice of them costs no weights.
#pragma once
#include "methods/method.h"

namespace graft {

// An adapter in place on the shared base, and how much it counts.
struct Part {
  std::shared_ptr<const Adapted> adapted;
  std::string name;  // for messages
  double weight = 1;
};

// How adapters join (sites/composed.h has the formulas).
//   Sum    what each of them changes adds up
//   Stack  each works on what those in front of it made, in the order given
// Changes of the base's own tensors (trained norms, whole modules, residuals of a start) add up in both; rows in front of the documents stand behind one
// another and have no weight.
enum class Compose { Sum, Stack };

// Throws Fault::Usage, with the adapters' names, for what cannot be joined. The result keeps the parts alive; its `method` and `row` are null, and the base's
// tensors are values: it runs, and its parts' own parameters could be trained, not the copies of base tensors among them.
Adapted composed(const Model& base, const std::vector<Part>& parts, Compose how);

}  // namespace graft
