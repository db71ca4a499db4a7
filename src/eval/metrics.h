// Right or wrong: exact match of generated text, and accuracy and F1 of predicted labels. BLEU and ROUGE-L: bleu.h, rouge.h.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace graft {

enum class FinalAnswer {
  WholeText,   // compare all of the text
  Marker,      // only what follows the last "####" on its line (GSM8K); a prediction without the marker is wrong
  LastNumber,  // the same, or, without the marker, the last number in the text
};

struct ExactMatchOptions {
  FinalAnswer answer = FinalAnswer::WholeText;
  bool numbers = true;       // two texts that are both one number match by value: "1,080" = "1080" = "$1080.00"
  bool ignore_case = false;  // compare after lower-casing
};

// True when the prediction matches any reference, white space at the ends removed. An empty prediction matches an
// empty reference only. References are read for their final answer
// too; one without is its own answer.
// No reference is a Fault::Input error.
bool exact_match(std::string_view prediction, std::span<const std::string> references, const ExactMatchOptions& options = {});

// The final answer of a worked solution, stripped; nothing where there is none.
std::optional<std::string> final_answer(std::string_view text, FinalAnswer kind);

// The plain form of a text that is one decimal number, else nothing: no sign +, no currency sign ($, £, € in front), no
// thousands commas (only where they stand right: "1,080", not "10,80"), no leading or trailing zeros,
// no full stop at the end. "-0" is "0". Never goes through floating point, so no digits are lost.
std::optional<std::string> plain_number(std::string_view text);

struct LabelScores {
  double accuracy = 0;  // = micro F1 and micro precision and recall when every item has one label
  double macro_f1 = 0;  // mean over the labels that occur on either side of 2 TP / (2 TP + FP + FN)
};

// predictions[i] against references[i]. Different or zero lengths are a Fault::Input error.
LabelScores label_scores(std::span<const std::string> predictions, std::span<const std::string> references);

}  // namespace graft
