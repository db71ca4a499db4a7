// The embedded corpus: plain everyday prose from graft's own grammar. No two documents are planned to be alike, and
// nothing in it is quoted from anywhere.
#pragma once
#include <string>

#include "core/rng.h"
#include "embedded/grammar/grammar.h"

namespace graft {

// All rules of this folder, parsed once.
const Grammar& prose_grammar();

// One document: one to four short texts of about 15 to 60 words each, set apart by a line feed. The same state of
// `rng` gives the same document on every machine.
std::string make_document(Rng& rng);

}  // namespace graft
