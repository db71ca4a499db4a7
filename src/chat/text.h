// Python's str: text by code points, its notions of white space and case, and how it writes values.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace graft::chat {

std::vector<uint32_t> code_points(std::string_view text);
void append_code_point(std::string& text, uint32_t code);
std::string from_code_points(const std::vector<uint32_t>& codes);
size_t length(std::string_view text);  // in code points
bool is_ascii(std::string_view text);

bool is_space(uint32_t code);  // str.isspace
bool is_alpha(uint32_t code);
bool is_decimal(uint32_t code);
bool is_digit(uint32_t code);
bool is_numeric(uint32_t code);
bool is_upper(uint32_t code);
bool is_lower(uint32_t code);
bool is_printable(uint32_t code);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);
std::string title(std::string_view text);  // str.title; the filter of that name is another
std::string swapcase(std::string_view text);

// What str.strip takes off: white space, or the characters of `chars`.
std::string_view strip_left(std::string_view text, const std::string* chars = nullptr);
std::string_view strip_right(std::string_view text, const std::string* chars = nullptr);

std::vector<std::string> split_lines(std::string_view text, bool keep_ends = false);
// At white space. A negative `most`: all of them.
std::vector<std::string> split_space(std::string_view text, int64_t most);
std::vector<std::string> split_space_from_right(std::string_view text, int64_t most);
std::vector<std::string> split(std::string_view text, std::string_view separator, int64_t most);
std::vector<std::string> split_from_right(std::string_view text, std::string_view separator, int64_t most);
std::string replace(std::string_view text, std::string_view from, std::string_view to, int64_t most);

// Text of which `length` code points are `text` and the rest `fill`.
enum class Align { Left, Right, Center };
std::string padded(std::string_view text, int64_t width, Align align, std::string_view fill = " ");

std::string string_repr(std::string_view text);
std::string escape_html(std::string_view text);

}  // namespace graft::chat
