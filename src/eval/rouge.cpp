#include "eval/rouge.h"

#include <algorithm>

#include "core/check.h"

namespace graft {
namespace {

size_t longest_common_subsequence(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  std::vector<size_t> row(b.size() + 1, 0);  // row[j]: of a's first i words and b's first j
  for (const auto& word : a) {
    size_t diagonal = 0;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = word == b[j - 1] ? diagonal + 1 : std::max(above, row[j - 1]);
      diagonal = above;
    }
  }
  return row.back();
}

}  // namespace

std::vector<std::string> rouge_words(std::string_view text, const RougeOptions& options) {
  std::vector<std::string> words;
  std::string word;
  const auto finish = [&] {
    if (word.empty()) return;
    words.push_back(options.stem && word.size() > 3 ? porter_stem(word) : word);
    word.clear();
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
      word += c;
    } else if (c >= 'A' && c <= 'Z') {
      word += static_cast<char>(c + 32);
    } else if (text.substr(i, 3) == "\u212a") {  // the Kelvin sign is the only other letter whose lower case is plain ASCII,
      word += 'k';
      i += 2;
    } else if (text.substr(i, 2) == "\u0130") {  // but a dotted capital I becomes i and a combining dot, which separates
      word += 'i';
      ++i;
      finish();
    } else {
      finish();
    }
  }
  finish();
  return words;
}

RougeScore rouge_l(std::string_view prediction, std::span<const std::string> references, const RougeOptions& options) {
  if (references.empty()) input_error("rouge_l", "an item has no reference", "give every item at least one reference text");
  const auto predicted = rouge_words(prediction, options);
  RougeScore best;
  for (size_t i = 0; i < references.size(); ++i) {
    const auto wanted = rouge_words(references[i], options);
    RougeScore score;
    if (!wanted.empty() && !predicted.empty()) {
      const auto common = static_cast<double>(longest_common_subsequence(wanted, predicted));
      score.precision = common / static_cast<double>(predicted.size());
      score.recall = common / static_cast<double>(wanted.size());
      if (common > 0) score.f = 2 * score.precision * score.recall / (score.precision + score.recall);
    }
    if (i == 0 || score.f > best.f) best = score;
  }
  return best;
}

}  // namespace graft
