#include "eval/metrics.h"

#include <algorithm>
#include <map>

#include "core/check.h"
#include "eval/text.h"

namespace graft {
namespace {

// Digits with thousands commas: one to three digits, then groups of three.
bool commas_stand_right(std::string_view digits) {
  const size_t first = digits.find(',');
  if (first == std::string_view::npos) return true;
  if (first == 0 || first > 3) return false;
  for (size_t i = first; i < digits.size(); i += 4) {
    if (digits[i] != ',' || digits.size() - i < 4 || digits.substr(i + 1, 3).find(',') != std::string_view::npos) return false;
  }
  return true;
}

// The last run of digits, commas and points that holds a digit, with a minus sign where one stands before it as a sign.
std::optional<std::string> last_number(std::string_view text) {
  size_t end = text.size();
  while (end > 0 && !is_digit(text[end - 1])) --end;
  if (end == 0) return {};
  size_t begin = end;
  while (begin > 0 && (is_digit(text[begin - 1]) || text[begin - 1] == ',' || text[begin - 1] == '.')) --begin;
  while (text[begin] == ',') ++begin;
  const bool minus = begin > 0 && text[begin - 1] == '-' && (begin < 2 || !(is_digit(text[begin - 2]) || text[begin - 2] == ')'));
  return (minus ? "-" : "") + std::string(text.substr(begin, end - begin));
}

bool same_answer(std::string_view a, std::string_view b, const ExactMatchOptions& options) {
  if (a == b) return true;
  if (options.numbers)
    if (const auto number = plain_number(a); number && number == plain_number(b)) return true;
  return options.ignore_case && lower_case(a) == lower_case(b);
}

}  // namespace

std::optional<std::string> plain_number(std::string_view text) {
  text = strip(text);
  bool minus = false;
  const auto take_sign = [&] {
    if (text.empty() || (text[0] != '-' && text[0] != '+')) return false;
    minus = text[0] == '-';
    text.remove_prefix(1);
    return true;
  };
  const bool sign = take_sign();
  for (const std::string_view currency : {"$", "£", "€"})
    if (text.starts_with(currency)) {
      text.remove_prefix(currency.size());
      if (!sign) take_sign();
      break;
    }
  const size_t point = std::min(text.find('.'), text.size());
  const std::string_view whole = text.substr(0, point), fraction = text.substr(std::min(point + 1, text.size()));
  const auto all_digits = [](std::string_view part) { return std::all_of(part.begin(), part.end(), is_digit); };
  if ((whole.empty() && fraction.empty()) || !commas_stand_right(whole) || !all_digits(fraction)) return {};
  std::string digits = replace_all(whole, ",", "");
  if (!all_digits(digits)) return {};
  digits.erase(0, std::min(digits.find_first_not_of('0'), digits.size()));
  if (digits.empty()) digits = "0";
  if (const size_t last = fraction.find_last_not_of('0'); last != std::string_view::npos)
    (digits += '.') += fraction.substr(0, last + 1);
  return minus && digits != "0" ? "-" + digits : digits;
}

std::optional<std::string> final_answer(std::string_view text, FinalAnswer kind) {
  if (kind == FinalAnswer::WholeText) return std::string(strip(text));
  if (const size_t marker = text.rfind("####"); marker != std::string_view::npos) {
    text.remove_prefix(marker + 4);
    return std::string(strip(text.substr(0, text.find('\n'))));
  }
  return kind == FinalAnswer::LastNumber ? last_number(text) : std::nullopt;
}

bool exact_match(std::string_view prediction, std::span<const std::string> references, const ExactMatchOptions& options) {
  if (references.empty()) input_error("exact_match", "an item has no reference", "give every item at least one reference text");
  const auto predicted = final_answer(prediction, options.answer);
  if (!predicted) return false;
  return std::any_of(references.begin(), references.end(), [&](const std::string& reference) {
    const auto wanted = final_answer(reference, options.answer);
    return same_answer(*predicted, wanted ? *wanted : std::string(strip(reference)), options);
  });
}

LabelScores label_scores(std::span<const std::string> predictions, std::span<const std::string> references) {
  if (predictions.size() != references.size() || references.empty())
    input_error("labels", fmt::format("{} predicted labels stand against {} true ones; the numbers must agree and not be 0",
                                      predictions.size(), references.size()));
  struct Count {
    double right = 0, predicted = 0, wanted = 0;
  };
  std::map<std::string_view, Count> counts;
  double right = 0;
  for (size_t i = 0; i < references.size(); ++i) {
    ++counts[predictions[i]].predicted;
    ++counts[references[i]].wanted;
    if (predictions[i] == references[i]) ++counts[references[i]].right, ++right;
  }
  double f1 = 0;
  for (const auto& [label, count] : counts) f1 += 2 * count.right / (count.predicted + count.wanted);
  return {right / static_cast<double>(references.size()), f1 / static_cast<double>(counts.size())};
}

}  // namespace graft
