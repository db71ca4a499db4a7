// ROUGE-L (Lin 2004, aclanthology.org/W04-1013): the longest common subsequence of words, equal to Google's rouge-score.
// Words are runs of a-z and 0-9 after lower-casing; everything else separates. With L the length of the subsequence:
//   precision = L / words of the prediction,  recall = L / words of the reference,  f = 2 precision recall / (precision +
//   recall).
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace graft {

struct RougeScore {
  double precision = 0, recall = 0, f = 0;  // 0..1; all 0 when a side has no words
};

struct RougeOptions {
  bool stem = false;  // Porter-stem words of more than three letters
};

std::vector<std::string> rouge_words(std::string_view text, const RougeOptions& options = {});

// With several references: the one with the best f (the first of equals). No reference is a Fault::Input error.
RougeScore rouge_l(std::string_view prediction, std::span<const std::string> references, const RougeOptions& options = {});

// The stem of a lower-case word: Porter 1980 with the later amendments and irregular forms of NLTK's default mode.
std::string porter_stem(std::string word);

}  // namespace graft
