#include "data/shared_prefixes.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "data/examples.h"

namespace graft {
namespace {

// How many of a sequence's tokens others may compute.
int64_t shareable(const PackedSequence& s) { return std::min(std::max<int64_t>(1, s.learned_from), static_cast<int64_t>(s.ids.size())) - 1; }

// How many of a sequence's tokens are read: behind its last prediction nothing is. One that learns nothing is read to its end.
int64_t read_tokens(const PackedSequence& s) {
  int64_t end = static_cast<int64_t>(s.ids.size());
  for (auto span = s.skipped.rbegin(); span != s.skipped.rend() && span->end >= end; ++span) end = std::min(end, span->begin);
  return end > std::max<int64_t>(1, s.learned_from) ? end - 1 : static_cast<int64_t>(s.ids.size());
}

int64_t common_beginning(const PackedSequence& a, const PackedSequence& b) {
  const int64_t most = std::min(shareable(a), shareable(b));
  return std::mismatch(a.ids.begin(), a.ids.begin() + most, b.ids.begin()).first - a.ids.begin();
}

// The tree of a sorted run of sequences, written out depth first.
class Tree {
 public:
  Tree(const std::vector<PackedSequence>& sequences, std::span<const int64_t> run, const Sharing& sharing) : sequences_(sequences), run_(run), worth_(sharing.worth()) {
    for (size_t i = 0; i + 1 < run.size(); ++i) common_.push_back(common_beginning(sequences[run[i]], sequences[run[i + 1]]));
    const bool root = sharing.virtual_rows > 0 && run.size() > 1;
    if (root) add_document({}, 0, {}, -1, -1);
    grow(0, run.size(), 0, root ? 0 : -1);
    if (auto& parents = packed.batch.parents; std::all_of(parents.begin(), parents.end(), [](int64_t parent) { return parent < 0; })) parents.clear();
  }
  PackedSequences packed;

 private:
  // The sequences begin .. end, whose first `done` tokens the document `parent` and those above it hold.
  void grow(size_t begin, size_t end, int64_t done, int64_t parent) {
    if (end - begin == 1) return add_sequence(run_[begin], done, parent);
    const int64_t common = *std::min_element(common_.begin() + static_cast<int64_t>(begin), common_.begin() + static_cast<int64_t>(end) - 1);
    if ((common - done) * static_cast<int64_t>(end - begin - 1) >= worth_) {
      add_document(sequences_[run_[begin]].ids.subspan(done, common - done), common - done, {}, parent, -1);
      parent = packed.batch.documents() - 1;
      done = common;
    }
    for (size_t from = begin, i = begin; i < end; ++i)  // apart where neighbours share no more than all do
      if (i + 1 == end || common_[i] == common) {
        grow(from, i + 1, done, parent);
        from = i + 1;
      }
  }

  void add_sequence(int64_t index, int64_t done, int64_t parent) {
    const PackedSequence& s = sequences_[index];
    std::vector<TokenSpan> skipped(s.skipped.begin(), s.skipped.end());
    for (auto& span : skipped) span = {span.begin - done, span.end - done};
    add_document(s.ids.subspan(done), s.learned_from - done, skipped, parent, index);
    Batch& batch = packed.batch;
    for (int64_t i = static_cast<int64_t>(batch.targets.size()); i < batch.supervised(); ++i) batch.targets.push_back(batch.ids[batch.predict[i] + 1]);
    batch.starts.back() -= static_cast<int64_t>(s.ids.size()) - read_tokens(s);
    batch.ids.resize(static_cast<size_t>(batch.starts.back()));
  }

  void add_document(std::span<const int64_t> ids, int64_t learned_from, std::span<const TokenSpan> skipped, int64_t parent, int64_t sequence) {
    append_document(packed.batch, ids, learned_from, skipped);
    packed.batch.parents.push_back(parent);
    packed.sequence.push_back(sequence);
  }

  const std::vector<PackedSequence>& sequences_;
  std::span<const int64_t> run_;
  int64_t worth_;
  std::vector<int64_t> common_;  // of neighbours
};

}  // namespace

Sharing sharing_of(const Model& model, const Sites& sites) {
  const auto& config = model.config;
  const bool by_length = std::any_of(config.ropes.begin(), config.ropes.end(), [](const Rope& rope) { return rope.by_length(); });
  const bool bent = config.attention_softcap > 0 || config.alibi != Alibi::None;
  return {!by_length && sites.reads() < Reads::Batch, sites.input_row_count(), kernels::reads_parents_in_place(model.device(), model.dtype(), bent)};
}

std::vector<PackedSequences> pack_sequences(const std::vector<PackedSequence>& sequences, int64_t tokens, const Sharing& sharing) {
  const bool share = sharing.allowed;
  std::vector<int64_t> order(sequences.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  if (share)
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return std::lexicographical_compare(sequences[a].ids.begin(), sequences[a].ids.end(), sequences[b].ids.begin(), sequences[b].ids.end());
    });
  std::vector<PackedSequences> all;
  for (size_t begin = 0; begin < order.size();) {
    int64_t rows = 0;
    size_t end = begin;
    for (; end < order.size(); ++end) {
      const PackedSequence& s = sequences[order[end]];
      const int64_t shared = share && end > begin ? common_beginning(sequences[order[end - 1]], s) : 0;
      const int64_t more = static_cast<int64_t>(s.ids.size()) - (shared >= sharing.worth() ? shared : 0);
      if (end > begin && rows + more > tokens) break;
      rows += more;
    }
    const std::span<const int64_t> run(order.data() + begin, end - begin);
    if (share) {
      all.push_back(Tree(sequences, run, sharing).packed);
    } else {
      all.emplace_back();
      for (const int64_t i : run) {
        append_document(all.back().batch, sequences[i].ids, sequences[i].learned_from, sequences[i].skipped);
        all.back().sequence.push_back(i);
      }
    }
    begin = end;
  }
  return all;
}

Batch share_beginnings(const Batch& batch, const Sharing& sharing) {
  if (!sharing.allowed || batch.documents() == 0) return batch;
  std::vector<PackedSequence> sequences;
  std::vector<std::vector<TokenSpan>> skipped(static_cast<size_t>(batch.documents()));
  auto next = batch.predict.begin();
  for (int64_t d = 0; d < batch.documents(); ++d) {
    const int64_t begin = batch.starts[d], end = batch.starts[d + 1];
    PackedSequence s{std::span(batch.ids).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)), end - begin};
    int64_t last = -1;  // target before this one
    for (; next != batch.predict.end() && *next < end; ++next) {
      const int64_t target = *next + 1 - begin;
      if (last < 0) s.learned_from = target;
      else if (target > last + 1) skipped[d].push_back({last + 1, target});
      last = target;
    }
    if (last >= 0 && last + 1 < end - begin) skipped[d].push_back({last + 1, end - begin});
    s.skipped = skipped[d];
    sequences.push_back(s);
  }
  Batch shared = std::move(pack_sequences(sequences, std::numeric_limits<int64_t>::max(), sharing)[0].batch);
  return shared.rows(sharing.virtual_rows) < batch.rows(sharing.virtual_rows) ? shared : batch;
}

}  // namespace graft
