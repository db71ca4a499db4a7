#include "eval/bleu.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "core/check.h"
#include "eval/text.h"

namespace graft {
namespace {

bool is_point(char c) {
  return c == '.' || c == ',';
}

// ASCII punctuation that always stands alone: all but the apostrophe, comma, hyphen and full stop.
bool is_symbol(char c) {
  return (c >= '{' && c <= '~') || (c >= '[' && c <= '`') || (c >= ' ' && c <= '&') || (c >= '(' && c <= '+') ||
         (c >= ':' && c <= '@') || c == '/';
}

// Each pass consumes what it matched, so ".." is one match: the passes follow regular expressions, left to right without overlap.
std::string split_symbols(std::string_view in) {
  std::string out;
  for (const char c : in) {
    if (is_symbol(c))
      (out += ' ') += c, out += ' ';
    else
      out += c;
  }
  return out;
}
std::string split_point_after_non_digit(std::string_view in) {
  std::string out;
  for (size_t i = 0; i < in.size(); ++i) {
    out += in[i];
    if (!is_digit(in[i]) && i + 1 < in.size() && is_point(in[i + 1])) ((out += ' ') += in[++i]) += ' ';
  }
  return out;
}
std::string split_point_before_non_digit(std::string_view in) {
  std::string out;
  for (size_t i = 0; i < in.size(); ++i) {
    if (is_point(in[i]) && i + 1 < in.size() && !is_digit(in[i + 1])) {
      ((out += ' ') += in[i]) += ' ';
      ++i;
    }
    out += in[i];
  }
  return out;
}
std::string split_hyphen_after_digit(std::string_view in) {
  std::string out;
  for (size_t i = 0; i < in.size(); ++i) {
    out += in[i];
    if (is_digit(in[i]) && i + 1 < in.size() && in[i + 1] == '-') ((out += ' ') += in[++i]) += ' ';
  }
  return out;
}

// An n-gram as the ids (from 1) of up to four tokens.
struct Gram {
  std::array<uint32_t, 4> ids{};
  bool operator==(const Gram&) const = default;
};
struct GramHash {
  size_t operator()(const Gram& gram) const {
    uint64_t hash = 0xcbf29ce484222325ULL;
    for (const uint32_t id : gram.ids) hash = (hash ^ id) * 0x9e3779b97f4a7c15ULL, hash ^= hash >> 29;
    return hash;
  }
};
using GramCounts = std::unordered_map<Gram, int64_t, GramHash>;

class Item {
 public:
  explicit Item(const BleuOptions& options) : options_(options) {}

  std::vector<uint32_t> tokens(std::string_view text) {
    std::vector<uint32_t> ids;
    for (std::string& token : tokenize_13a(options_.lower_case ? lower_case(text) : std::string(text)))
      ids.push_back(ids_.try_emplace(std::move(token), static_cast<uint32_t>(ids_.size()) + 1).first->second);
    return ids;
  }

  static GramCounts count(const std::vector<uint32_t>& ids) {
    GramCounts counts;
    for (size_t i = 0; i < ids.size(); ++i) {
      Gram gram;
      for (size_t n = 0; n < 4 && i + n < ids.size(); ++n) {
        gram.ids[n] = ids[i + n];
        ++counts[gram];
      }
    }
    return counts;
  }

 private:
  BleuOptions options_;
  std::unordered_map<std::string, uint32_t> ids_;
};

}  // namespace

BleuStats& BleuStats::operator+=(const BleuStats& other) {
  length += other.length;
  ref_length += other.ref_length;
  for (size_t n = 0; n < 4; ++n) matches[n] += other.matches[n], totals[n] += other.totals[n];
  return *this;
}

std::array<double, BleuStats::kWidth> BleuStats::numbers() const {
  std::array<double, kWidth> out{static_cast<double>(length), static_cast<double>(ref_length)};
  for (size_t n = 0; n < 4; ++n) out[2 + n] = static_cast<double>(matches[n]), out[6 + n] = static_cast<double>(totals[n]);
  return out;
}

std::vector<std::string> tokenize_13a(std::string_view text) {
  std::string line = replace_all(strip_right(text), "<skipped>", "");
  line = replace_all(replace_all(line, "-\n", ""), "\n", " ");
  if (line.find('&') != std::string::npos)
    for (const auto& [entity, sign] : {std::pair{"&quot;", "\""}, {"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}})
      line = replace_all(line, entity, sign);
  line = split_symbols(' ' + line + ' ');
  line = split_point_after_non_digit(line);
  line = split_point_before_non_digit(line);
  line = split_hyphen_after_digit(line);
  const auto pieces = split_space(line);
  return {pieces.begin(), pieces.end()};
}

BleuStats bleu_stats(std::string_view hypothesis, std::span<const std::string> references, const BleuOptions& options) {
  if (references.empty()) input_error("bleu", "an item has no reference", "give every item at least one reference text");
  Item item(options);
  const auto ids = item.tokens(hypothesis);
  BleuStats stats;
  stats.length = static_cast<int64_t>(ids.size());
  GramCounts best;
  int64_t closest = -1;
  for (const std::string& reference : references) {
    const auto ref_ids = item.tokens(reference);
    const auto length = static_cast<int64_t>(ref_ids.size()), gap = std::abs(length - stats.length);
    if (closest < 0 || gap < closest || (gap == closest && length < stats.ref_length)) closest = gap, stats.ref_length = length;
    for (const auto& [gram, count] : Item::count(ref_ids)) {
      auto& most = best[gram];
      most = std::max(most, count);
    }
  }
  for (const auto& [gram, count] : Item::count(ids)) {
    const size_t n = gram.ids[3] ? 3 : gram.ids[2] ? 2 : gram.ids[1] ? 1 : 0;
    stats.totals[n] += count;
    if (const auto found = best.find(gram); found != best.end()) stats.matches[n] += std::min(count, found->second);
  }
  return stats;
}

double bleu_of_sums(std::span<const double> sums, bool effective_order) {
  CHECK_THAT(sums.size() == BleuStats::kWidth, "bleu_of_sums wants {} numbers but got {}", BleuStats::kWidth, sums.size());
  const double length = sums[0], ref_length = sums[1];
  const auto matches = sums.subspan(2, 4), totals = sums.subspan(6, 4);
  if (std::all_of(matches.begin(), matches.end(), [](double m) { return m == 0; })) return 0;
  double log_sum = 0, smooth = 1;
  size_t order = 0;
  while (order < 4 && totals[order] != 0) {
    const double precision = matches[order] == 0 ? 100 / ((smooth *= 2) * totals[order]) : 100 * matches[order] / totals[order];
    log_sum += std::log(precision);
    ++order;
  }
  if (order < 4 && !effective_order) return 0;
  const double brevity = length < ref_length ? std::exp(1 - ref_length / length) : 1;
  return brevity * std::exp(log_sum / static_cast<double>(order));
}

double bleu(const BleuStats& stats, bool effective_order) {
  return bleu_of_sums(stats.numbers(), effective_order);
}

double corpus_bleu(std::span<const std::string> hypotheses, std::span<const std::vector<std::string>> references,
                   const BleuOptions& options) {
  if (hypotheses.size() != references.size() || hypotheses.empty())
    input_error("bleu", fmt::format("{} hypotheses stand against {} sets of references; the numbers must agree and not be 0",
                                    hypotheses.size(), references.size()));
  BleuStats sum;
  for (size_t i = 0; i < hypotheses.size(); ++i) sum += bleu_stats(hypotheses[i], references[i], options);
  return bleu(sum);
}

double sentence_bleu(std::string_view hypothesis, std::span<const std::string> references, const BleuOptions& options) {
  return bleu(bleu_stats(hypothesis, references, options), true);
}

}  // namespace graft
