// The few Unicode operations that text metrics need. They follow Python's str methods, because the reference
// implementations of BLEU and ROUGE are built on those. UTF-8 in and out; bytes that are no UTF-8 pass through unchanged.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace graft {

// str.lower(): full lower-casing, with the final form of sigma at the end of a word.
std::string lower_case(std::string_view text);

// Without white space (all of Unicode's, as str.isspace) at both ends, or at the right end only.
std::string_view strip(std::string_view text);
std::string_view strip_right(std::string_view text);

// The pieces between runs of white space, never empty. The views point into `text`.
std::vector<std::string_view> split_space(std::string_view text);

// '0' to '9' and no other script's digits.
inline bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Every occurrence of `from` (not empty) replaced, from left to right.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

}  // namespace graft
