// Sequences that begin alike (one instruction in front of all rows, one prompt in front of many choices, an adapter's virtual rows) as
// packed batches in which what they share is computed once.
#pragma once
#include <span>
#include <vector>

#include "data/turns.h"
#include "model/batch.h"
#include "model/family.h"
#include "sites/sites.h"

namespace graft {

struct PackedSequence {
  std::span<const int64_t> ids;
  int64_t learned_from = 1;                // as append_document has it
  std::span<const TokenSpan> skipped = {};
};

struct PackedSequences {
  Batch batch;
  // For each document of the batch the sequence that ends in it, as an index into what was given, or -1 for a shared beginning.
  std::vector<int64_t> sequence;
};

// What documents may share.
struct Sharing {
  bool allowed = false;      // else every sequence is whole
  int64_t virtual_rows = 0;  // in front of every sequence: a document without tokens holds them for all
  bool in_place = false;     // attention reads what is shared where it lies; else a further document is a further call in every layer
  int64_t worth() const { return in_place ? 4 : 16; }  // how many tokens a further document must save
};

// Allowed where a document's keys depend on nothing that stands behind them ("dynamic" and "longrope" rotate by the whole length) and no edit
// reads more than single documents' beginnings.
Sharing sharing_of(const Model& model, const Sites& sites);

// Batches of about `tokens` rows, shared beginnings counted once. Every sequence keeps a document of its own, which holds all positions
// from which something is learned and ends with the last of them (one without any: at least its last token, and ends with that).
// Without sharing: whole sequences in the order given.
std::vector<PackedSequences> pack_sequences(const std::vector<PackedSequence>& sequences, int64_t tokens, const Sharing& sharing);

// A batch of whole documents with what they share computed once, and without what stands behind their last predictions: the same losses and
// gradients but for the order of sums. As it is where nothing would be saved.
Batch share_beginnings(const Batch& batch, const Sharing& sharing);

}  // namespace graft
