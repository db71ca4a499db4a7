// Rows packed behind one another without padding. Documents never see each other.
#pragma once
#include <cstdint>
#include <vector>

namespace graft {

struct Batch {
  std::vector<int64_t> ids;      // [tokens] all documents' token ids, one after the other
  std::vector<int64_t> starts;   // [documents + 1] first token of each document; the last entry is tokens
  std::vector<int64_t> predict;  // [supervised] ascending positions t whose next token ids[t + 1] (same document) is learned

  // Empty, or for each document the earlier one whose tokens (and those that it continues in turn) it sees in front of its own; -1: none.
  std::vector<int64_t> parents = {};

  // Empty, or for each document how many of its sequence's tokens are the prompt; else the first token that is learned says so (sites/edit.h).
  std::vector<int64_t> prompts = {};

  // Empty, or [supervised] the token that is learned at each of `predict`: where documents end with their last prediction, it does not stand behind it.
  // kNothing: none is, the place only fills up the list (then `predict` may repeat its last entry).
  std::vector<int64_t> targets = {};
  static constexpr int64_t kNothing = -1;

  int64_t target(int64_t i) const { return targets.empty() ? ids[static_cast<size_t>(predict[static_cast<size_t>(i)]) + 1] : targets[static_cast<size_t>(i)]; }
  int64_t tokens() const { return static_cast<int64_t>(ids.size()); }
  int64_t documents() const { return starts.empty() ? 0 : static_cast<int64_t>(starts.size()) - 1; }
  int64_t parent(int64_t document) const { return parents.empty() ? -1 : parents[static_cast<size_t>(document)]; }
  // Rows of a pass with so many virtual ones in front of every document that continues no other.
  int64_t rows(int64_t virtual_rows) const {
    int64_t rows = tokens();
    for (int64_t d = 0; d < documents(); ++d) rows += parent(d) < 0 ? virtual_rows : 0;
    return rows;
  }
  int64_t supervised() const { return static_cast<int64_t>(predict.size()); }
};

}  // namespace graft
