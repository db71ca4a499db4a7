#include <algorithm>
#include <queue>

#include "core/check.h"
#include "tokenizer/fields.h"
#include "tokenizer/stages.h"
#include "tokenizer/unicode.h"
#include "tokenizer/vocabulary.h"

namespace graft {
namespace {

constexpr size_t kShortWord = 24;                   // symbols: below, looking through all pairs is quicker than a queue
constexpr std::string_view kMark = "\xE2\x96\x81";  // ▁
constexpr int32_t kNever = INT32_MAX;

// Pairs of ids to the rank and the result of their merge: one block of memory, half full.
class MergeTable {
 public:
  struct Found {
    int32_t rank = kNever, result = -1;
  };
  void build(const std::vector<BpeParts::Merge>& merges) {
    size_t size = 16;
    while (size < merges.size() * 2) size *= 2;
    slots_.assign(size, {});
    for (auto& m : merges) {
      Slot& slot = slots_[find_slot(key(m.left, m.right))];
      slot = {key(m.left, m.right), {m.rank, m.result}};  // a later one of the same pair counts
    }
  }
  Found find(int32_t left, int32_t right) const { return slots_[find_slot(key(left, right))].found; }

 private:
  struct Slot {
    uint64_t key = ~uint64_t{0};
    Found found;
  };
  static uint64_t key(int32_t a, int32_t b) {
    return static_cast<uint64_t>(static_cast<uint32_t>(a)) << 32 | static_cast<uint32_t>(b);
  }
  size_t find_slot(uint64_t k) const {
    const size_t mask = slots_.size() - 1;
    const uint64_t mixed = (k ^ k >> 29) * 0x9E3779B97F4A7C15u;
    size_t at = (mixed ^ mixed >> 32) & mask;
    while (slots_[at].key != k && slots_[at].key != ~uint64_t{0}) at = (at + 1) & mask;
    return at;
  }
  std::vector<Slot> slots_;
};

class Bpe : public Vocabulary {
 public:
  Bpe(BpeParts parts, bool raw_bytes) : parts_(std::move(parts)), raw_bytes_(raw_bytes) {
    tokens_ = std::move(parts_.tokens);
    merges_.build(parts_.merges);
    for (size_t b = 0; b < 256; ++b) {
      byte_ids_[b] = tokens_.find(fmt::format("<0x{:02X}>", b));
      raw_ids_[b] = tokens_.find(byte_characters()[b]);
    }
    all_bytes_ = parts_.byte_fallback && std::all_of(byte_ids_.begin(), byte_ids_.end(), [](int32_t id) { return id >= 0; });
    if (parts_.unk_token) unk_ = tokens_.find(*parts_.unk_token);
    if (raw_bytes_ && parts_.ignore_merges) read_raw_words();
    cut_at_marks_ = !raw_bytes_ && !parts_.ignore_merges && parts_.prefix.empty() && parts_.suffix.empty() &&
                    tokens_.find(kMark) >= 0 && no_merge_reaches_over_a_mark();
    parts_.merges = {};
  }

  void encode(std::string_view piece, std::vector<int64_t>& ids) const override {
    if (!cut_at_marks_) return word(piece, ids);
    // No merge joins a ▁ with something before it other than ▁, so words are merged by themselves: the same ids, from short
    // words.
    size_t begin = 0;
    for (size_t at = piece.find(kMark, 1); at != std::string_view::npos; at = piece.find(kMark, at + kMark.size())) {
      if (at >= begin + kMark.size() && piece.substr(at - kMark.size(), kMark.size()) == kMark) continue;
      if (at > begin) word(piece.substr(begin, at - begin), ids);
      begin = at;
    }
    if (begin < piece.size()) word(piece.substr(begin), ids);
  }

 private:
  void word(std::string_view piece, std::vector<int64_t>& ids) const {
    if (piece.empty() || cache_.find(piece, ids)) return;
    const size_t before = ids.size();
    if (parts_.ignore_merges)
      if (const int32_t whole = raw_bytes_ ? raw_words_.find(piece) : tokens_.find(piece); whole >= 0) {
        ids.push_back(whole);
        return cache_.keep(piece, &ids[before], 1);
      }
    thread_local std::vector<int32_t> symbols;
    symbols.clear();
    if (raw_bytes_)
      raw_symbols(piece, symbols);
    else
      character_symbols(piece, symbols);
    if (symbols.size() <= kShortWord)
      merge_short(symbols);
    else
      merge_long(symbols);
    ids.insert(ids.end(), symbols.begin(), symbols.end());
    cache_.keep(piece, ids.data() + before, ids.size() - before);
  }

  // Unknown symbols wait, so that neighbours can become one.
  struct Unknown {
    int waiting = 0;
  };
  void unknown(Unknown& state, std::vector<int32_t>& symbols) const {
    if (!parts_.unk_token) return;
    if (unk_ < 0)
      tokenizer_error(fmt::format("a character is not in the vocabulary, and neither is the unk_token '{}'", *parts_.unk_token));
    if (state.waiting && !parts_.fuse_unk) symbols.push_back(unk_);
    state.waiting = 1;
  }
  void known(Unknown& state, int32_t id, std::vector<int32_t>& symbols) const {
    if (state.waiting) symbols.push_back(unk_);
    state.waiting = 0;
    symbols.push_back(id);
  }

  void raw_symbols(std::string_view piece, std::vector<int32_t>& symbols) const {
    Unknown state;
    for (const char c : piece) {
      const int32_t id = raw_ids_[static_cast<unsigned char>(c)];
      if (id >= 0)
        known(state, id, symbols);
      else
        unknown(state, symbols);
    }
    if (state.waiting) symbols.push_back(unk_);
  }

  void character_symbols(std::string_view piece, std::vector<int32_t>& symbols) const {
    Unknown state;
    std::string decorated;
    for (size_t at = 0, n = 0; at < piece.size(); at += n) {
      n = utf8_length(piece, at);
      std::string_view character = piece.substr(at, n);
      const bool first = at == 0, last = at + n == piece.size();
      if ((!first && !parts_.prefix.empty()) || (last && !parts_.suffix.empty())) {
        decorated.assign(first ? "" : parts_.prefix).append(character).append(last ? parts_.suffix : "");
        character = decorated;
      }
      if (const int32_t id = tokens_.find(character); id >= 0)
        known(state, id, symbols);
      else if (all_bytes_ || (parts_.byte_fallback && has_bytes(character))) {
        // As in the reference, an unknown symbol that waits stays behind these.
        for (const char c : character) symbols.push_back(byte_ids_[static_cast<unsigned char>(c)]);
      } else {
        unknown(state, symbols);
      }
    }
    if (state.waiting) symbols.push_back(unk_);
  }
  bool has_bytes(std::string_view character) const {
    return std::all_of(character.begin(), character.end(), [&](char c) { return byte_ids_[static_cast<unsigned char>(c)] >= 0; });
  }

  void merge_short(std::vector<int32_t>& symbols) const {
    size_t n = symbols.size();
    if (n < 2) return;
    std::array<MergeTable::Found, kShortWord> pairs;
    for (size_t i = 0; i + 1 < n; ++i) pairs[i] = merges_.find(symbols[i], symbols[i + 1]);
    while (n > 1) {
      size_t best = 0;
      for (size_t i = 1; i + 1 < n; ++i)
        if (pairs[i].rank < pairs[best].rank) best = i;
      if (pairs[best].rank == kNever) break;
      symbols[best] = pairs[best].result;
      std::copy(symbols.begin() + static_cast<ptrdiff_t>(best) + 2, symbols.begin() + static_cast<ptrdiff_t>(n),
                symbols.begin() + static_cast<ptrdiff_t>(best) + 1);
      std::copy(pairs.begin() + best + 1, pairs.begin() + n - 1, pairs.begin() + best);
      --n;
      if (best > 0) pairs[best - 1] = merges_.find(symbols[best - 1], symbols[best]);
      if (best + 1 < n) pairs[best] = merges_.find(symbols[best], symbols[best + 1]);
    }
    symbols.resize(n);
  }

  // The same with a queue: O(n log n).
  void merge_long(std::vector<int32_t>& symbols) const {
    struct Candidate {
      int32_t rank, at, left, right, result;  // ids as they were, to see whether it still stands
      bool operator<(const Candidate& other) const { return rank != other.rank ? rank > other.rank : at > other.at; }
    };
    const auto count = static_cast<int32_t>(symbols.size());
    std::vector<int32_t> previous(symbols.size()), next(symbols.size());
    std::vector<Candidate> waiting;
    const auto candidate = [&](int32_t at, auto push) {
      if (at < 0 || next[at] >= count) return;
      const int32_t left = symbols[at], right = symbols[next[at]];
      if (const auto found = merges_.find(left, right); found.rank != kNever)
        push(Candidate{found.rank, at, left, right, found.result});
    };
    for (int32_t i = 0; i < count; ++i) previous[i] = i - 1, next[i] = i + 1;
    for (int32_t i = 0; i + 1 < count; ++i) candidate(i, [&](const Candidate& c) { waiting.push_back(c); });
    std::priority_queue<Candidate> queue(std::less<Candidate>(), std::move(waiting));
    while (!queue.empty()) {
      const Candidate best = queue.top();
      queue.pop();
      if (symbols[best.at] != best.left || next[best.at] >= count || symbols[next[best.at]] != best.right) continue;
      const int32_t gone = next[best.at];
      symbols[best.at] = best.result;
      symbols[gone] = -1;
      next[best.at] = next[gone];
      if (next[gone] < count) previous[next[gone]] = best.at;
      const auto push = [&](const Candidate& c) { queue.push(c); };
      candidate(previous[best.at], push);
      candidate(best.at, push);
    }
    std::erase(symbols, -1);
  }

  void read_raw_words() {
    std::string bytes;
    for (int64_t id = 0; id < tokens_.size(); ++id) {
      const std::string* token = tokens_.token(id);
      bytes.clear();
      if (token && bytes_of_characters(*token, bytes)) raw_words_.add(bytes, tokens_.find(*token));
    }
  }

  bool no_merge_reaches_over_a_mark() const {
    for (auto& m : parts_.merges) {
      const std::string& text = *tokens_.token(m.result);
      for (size_t at = text.find(kMark, 1); at != std::string::npos; at = text.find(kMark, at + 1))
        if (at < kMark.size() || text.compare(at - kMark.size(), kMark.size(), kMark) != 0) return false;
    }
    return true;
  }

  BpeParts parts_;
  MergeTable merges_;
  std::array<int32_t, 256> byte_ids_, raw_ids_;
  TokenMap raw_words_;
  int32_t unk_ = -1;
  bool raw_bytes_, all_bytes_ = false, cut_at_marks_ = false;
  WordCache cache_;
};

}  // namespace

VocabularyPointer make_bpe(BpeParts parts, bool raw_bytes) {
  return std::make_shared<Bpe>(std::move(parts), raw_bytes);
}

}  // namespace graft
