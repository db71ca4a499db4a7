#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/check.h"
#include "tokenizer/fields.h"
#include "tokenizer/unicode.h"
#include "tokenizer/vocabulary.h"

namespace graft {
namespace {

constexpr double kUnknownPenalty = 10.0;  // below the lowest score

// All tokens as a double array: the child of node n by byte b is base[n] + b where that place says that n is its parent.
class TokenTrie {
 public:
  void build(const std::vector<std::pair<std::string_view, int32_t>>& sorted) {
    nodes_.assign(1024, {});
    nodes_[0].parent = 0;
    std::vector<Task> tasks = {{0, 0, sorted.size(), 0}};
    while (!tasks.empty()) {
      const Task task = tasks.back();
      tasks.pop_back();
      insert(task, sorted, tasks);
    }
  }
  // f(id, length) for every token that `text` begins with, the shortest first.
  template <class F>
  void prefixes(std::string_view text, F found) const {
    int32_t node = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      const int32_t child = nodes_[static_cast<size_t>(node)].base + static_cast<unsigned char>(text[i]) + 1;
      if (static_cast<size_t>(child) >= nodes_.size() || nodes_[static_cast<size_t>(child)].parent != node) return;
      node = child;
      if (const int32_t id = nodes_[static_cast<size_t>(node)].id; id >= 0) found(id, i + 1);
    }
  }

 private:
  struct Node {
    int32_t base = 0, parent = -1, id = -1;
  };
  // The tokens [begin, end) agree in their first `depth` bytes, which lead to `node`.
  struct Task {
    int32_t node;
    size_t begin, end, depth;
  };
  void insert(Task task, const std::vector<std::pair<std::string_view, int32_t>>& sorted, std::vector<Task>& tasks) {
    auto [node, begin, end, depth] = task;
    while (begin < end && sorted[begin].first.size() == depth) nodes_[static_cast<size_t>(node)].id = sorted[begin++].second;
    if (begin == end) return;
    std::vector<std::pair<int32_t, size_t>> children;  // byte, where its tokens begin
    for (size_t i = begin; i < end; ++i) {
      const auto byte = static_cast<int32_t>(static_cast<unsigned char>(sorted[i].first[depth]));
      if (children.empty() || children.back().first != byte) children.emplace_back(byte, i);
    }
    const int32_t base = free_base(children);
    nodes_[static_cast<size_t>(node)].base = base;
    for (size_t c = 0; c < children.size(); ++c) {
      const int32_t child = base + children[c].first + 1;
      nodes_[static_cast<size_t>(child)].parent = node;
      tasks.push_back({child, children[c].second, c + 1 < children.size() ? children[c + 1].second : end, depth + 1});
    }
  }
  int32_t free_base(const std::vector<std::pair<int32_t, size_t>>& children) {
    while (nodes_[first_free_].parent >= 0) grow_to(++first_free_);
    for (size_t place = first_free_;; ++place) {
      grow_to(place + 512);
      const int32_t base = static_cast<int32_t>(place) - children[0].first - 1;
      if (base >= 0 && std::all_of(children.begin(), children.end(),
                                   [&](auto& c) { return nodes_[static_cast<size_t>(base + c.first + 1)].parent < 0; })) {
        // Places far behind are hardly ever free for nodes with many children: do not look there again and again.
        if (place > first_free_ + 4096) first_free_ += 1024;
        return base;
      }
    }
  }
  void grow_to(size_t size) {
    if (size >= nodes_.size()) nodes_.resize(std::max(size + 1, nodes_.size() * 2));
  }
  std::vector<Node> nodes_;
  size_t first_free_ = 1;
};

// `Real` is what sums of scores are kept in: SentencePiece has floats, which decides between cuts that are as good as each other.
template <class Real>
class Unigram : public Vocabulary {
 public:
  explicit Unigram(UnigramParts parts)
      : scores_(std::move(parts.scores)), unk_(parts.unk_id), byte_fallback_(parts.byte_fallback) {
    tokens_ = std::move(parts.tokens);
    const double lowest = parts.lowest      ? *parts.lowest
                          : scores_.empty() ? 0.0
                                            : *std::min_element(scores_.begin(), scores_.end());
    std::vector<std::pair<std::string_view, int32_t>> sorted;
    for (int64_t id = 0; id < tokens_.size(); ++id) {
      const std::string* token = tokens_.token(id);
      const bool usable = parts.unusable.empty() || !parts.unusable[static_cast<size_t>(id)];
      if (usable && token && !token->empty() && tokens_.find(*token) == id) sorted.emplace_back(*token, static_cast<int32_t>(id));
    }
    std::sort(sorted.begin(), sorted.end());
    trie_.build(sorted);
    unknown_score_ = lowest - kUnknownPenalty;
    for (size_t b = 0; b < 256; ++b) byte_ids_[b] = tokens_.find(fmt::format("<0x{:02X}>", b));
  }

  void encode(std::string_view piece, std::vector<int64_t>& ids) const override {
    if (piece.empty() || cache_.find(piece, ids)) return;
    const size_t before = ids.size();
    thread_local std::vector<Best> best;
    best_path(piece, best);
    // From the end back; neighbouring unknown characters become one.
    thread_local std::vector<Cut> cuts;
    cuts.clear();
    for (size_t end = piece.size(); end > 0;) {
      const Best& b = best[end];
      const bool unknown = unk_ && b.id == *unk_;
      if (unknown && !cuts.empty() && cuts.back().unknown)
        cuts.back().begin = b.begin;
      else
        cuts.push_back({b.begin, end, b.id, unknown});
      end = b.begin;
    }
    for (size_t i = cuts.size(); i-- > 0;) add(piece.substr(cuts[i].begin, cuts[i].end - cuts[i].begin), cuts[i], ids);
    cache_.keep(piece, ids.data() + before, ids.size() - before);
  }

 private:
  static constexpr size_t kNone = std::numeric_limits<size_t>::max();
  struct Best {
    Real score = 0;
    size_t begin = kNone;
    int64_t id = 0;
  };
  struct Cut {
    size_t begin, end;
    int64_t id;
    bool unknown;
  };

  void best_path(std::string_view piece, std::vector<Best>& best) const {
    best.assign(piece.size() + 1, {});
    const auto reach = [&](size_t begin, size_t end, double score, int64_t id) {
      Best& target = best[end];
      const auto total = static_cast<Real>(score + static_cast<double>(best[begin].score));
      if (target.begin == kNone || total > target.score) target = {total, begin, id};
    };
    for (size_t at = 0, n = 0; at < piece.size(); at += n) {
      n = utf8_length(piece, at);
      bool single = false;
      trie_.prefixes(piece.substr(at), [&](int32_t id, size_t length) {
        reach(at, at + length, scores_[static_cast<size_t>(id)], id);
        single |= length == n;
      });
      if (single) continue;
      if (!unk_)
        tokenizer_error(fmt::format("'{}' is not in the vocabulary, and the model Unigram has no unk_id", piece.substr(at, n)));
      reach(at, at + n, unknown_score_, *unk_);
    }
  }

  void add(std::string_view text, const Cut& cut, std::vector<int64_t>& ids) const {
    if (!cut.unknown) return ids.push_back(cut.id);
    if (const int32_t id = tokens_.find(text); id >= 0) return ids.push_back(id);
    if (byte_fallback_ &&
        std::all_of(text.begin(), text.end(), [&](char c) { return byte_ids_[static_cast<unsigned char>(c)] >= 0; })) {
      for (const char c : text) ids.push_back(byte_ids_[static_cast<unsigned char>(c)]);
      return;
    }
    ids.push_back(*unk_);
  }

  std::vector<double> scores_;
  TokenTrie trie_;
  std::array<int32_t, 256> byte_ids_;
  std::optional<int64_t> unk_;
  double unknown_score_ = 0;
  bool byte_fallback_;
  WordCache cache_;
};

// A number as the reference's JSON library reads it: digits and power of ten apart, each rounded, so the last bit may differ from
// the nearest double. It decides between cuts whose sums differ by no more.
double reference_number(double exact) {
  const std::string shortest = fmt::format("{}", std::abs(exact));
  if (exact == 0 || !std::isfinite(exact)) return exact;
  uint64_t digits = 0;
  int exponent = 0;
  bool fraction = false;
  size_t at = 0;
  for (; at < shortest.size() && shortest[at] != 'e'; ++at) {
    if (shortest[at] == '.') {
      fraction = true;
      continue;
    }
    digits = digits * 10 + static_cast<uint64_t>(shortest[at] - '0');
    exponent -= fraction;
  }
  if (at < shortest.size()) exponent += std::stoi(shortest.substr(at + 1));
  if (exponent < -300 || exponent > 300) return exact;
  auto value = static_cast<double>(digits);
  const double power = std::stod("1e" + std::to_string(std::abs(exponent)));
  value = exponent < 0 ? value / power : value * power;
  return exact < 0 ? -value : value;
}

}  // namespace

VocabularyPointer make_unigram(UnigramParts parts) {
  if (parts.single_precision) return std::make_shared<Unigram<float>>(std::move(parts));
  return std::make_shared<Unigram<double>>(std::move(parts));
}

VocabularyPointer read_unigram(const Json& model) {
  const std::string where = "model Unigram";
  UnigramParts parts;
  for (auto& entry : list_field(model, "vocab", where)) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number())
      tokenizer_error(fmt::format("{}: entry {} of vocab must be [token, score] but is {}", where, parts.scores.size(),
                                  json_line(entry).substr(0, 120)));
    parts.tokens.add(entry[0].get<std::string>(), static_cast<int32_t>(parts.scores.size()));
    parts.scores.push_back(reference_number(entry[1].get<double>()));
  }
  if (model.contains("unk_id") && !model["unk_id"].is_null())
    parts.unk_id = count_field(model, "unk_id", where, static_cast<int64_t>(parts.scores.size()) - 1);
  parts.byte_fallback = flag_field(model, "byte_fallback", where, false);
  return make_unigram(std::move(parts));
}

}  // namespace graft
