// BLEU (Papineni et al. 2002, aclanthology.org/P02-1040) with the choices that make numbers comparable between papers:
// those of sacreBLEU (Post 2018, arXiv 1804.08771), signature "case:mixed|eff:no|tok:13a|smooth:exp", equal to version 2.
//
//   BLEU = 100 * min(1, exp(1 - ref_length / length)) * exp(mean over n = 1..4 of ln(matches_n / totals_n))
//
// matches_n counts n-grams clipped at the most often that any one reference has them; the reference length is the one closest to
// the hypothesis (the shorter on ties). An order without a match counts 1 / (2^k totals_n), k-th such order ("exp" smoothing); a
// corpus without any match, or with totals_n = 0 for some n, scores 0.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace graft {

// Sufficient statistics: those of a corpus are the sums of those of its items.
struct BleuStats {
  static constexpr size_t kWidth = 10;
  int64_t length = 0, ref_length = 0;  // in tokens
  std::array<int64_t, 4> matches{}, totals{};

  BleuStats& operator+=(const BleuStats& other);
  std::array<double, kWidth> numbers() const;  // length, ref_length, matches, totals
};

struct BleuOptions {
  bool lower_case = false;  // case:lc
};

// The tokens of the mteval-v13a rules (Western languages; entities such as &amp; decoded, punctuation split off).
std::vector<std::string> tokenize_13a(std::string_view text);

// One item. References may differ in number between items; none at all is a Fault::Input error.
BleuStats bleu_stats(std::string_view hypothesis, std::span<const std::string> references, const BleuOptions& options = {});

// 0..100. `effective_order` leaves out the orders that the text is too short for: for single sentences, not for corpora.
double bleu(const BleuStats& stats, bool effective_order = false);

// The same from sums of numbers(), also weighted ones, as a bootstrap needs it.
double bleu_of_sums(std::span<const double> sums, bool effective_order = false);

// Corpus BLEU; hypotheses[i] belongs to references[i].
double corpus_bleu(std::span<const std::string> hypotheses, std::span<const std::vector<std::string>> references,
                   const BleuOptions& options = {});

// The number for one item: effective order on, as sacreBLEU's sentence_bleu.
double sentence_bleu(std::string_view hypothesis, std::span<const std::string> references, const BleuOptions& options = {});

}  // namespace graft
