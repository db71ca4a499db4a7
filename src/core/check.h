// Errors as every part of graft reports them: which part, what must hold, what was found, and a hint.
#pragma once
#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace graft {

// What kind of thing went wrong; the value is the command's exit code.
enum class Fault {
  Internal = 1,  // a bug in graft
  Usage = 2,     // wrong option, configuration or plan
  Input = 3,     // unreadable, broken or unwritable file; unusable data
  Diverged = 4,  // the training loss is not finite
};

// The one exception of the library. `what()` is the whole line for the user: "[tag] message. Hint: ...".
class Error : public std::runtime_error {
 public:
  Error(Fault fault, std::string_view tag, std::string_view message, std::string_view hint = {});
  Fault fault() const { return fault_; }

 private:
  Fault fault_;
};

// Throws Error. `tag` names the part ("lora", "safetensors", "plan"); the message names the thing, its value
// and what is allowed; the hint says what to do about it.
[[noreturn]] void fail(Fault fault, std::string_view tag, std::string_view message, std::string_view hint = {});
[[noreturn]] inline void usage_error(std::string_view tag, std::string_view message, std::string_view hint = {}) {
  fail(Fault::Usage, tag, message, hint);
}
[[noreturn]] inline void input_error(std::string_view tag, std::string_view message, std::string_view hint = {}) {
  fail(Fault::Input, tag, message, hint);
}

// The candidate closest to `name` by edit distance, or "" when none is near enough to be a likely misspelling.
std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);

// "Did you mean 'x'?" or, when nothing is near, "Known: a, b, c."
std::string suggest(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace graft

// Internal invariants: throws Fault::Internal with file and line.
#define CHECK_THAT(condition, ...)                                                                        \
  do {                                                                                                     \
    if (!(condition))                                                                                      \
      ::graft::fail(::graft::Fault::Internal, "internal",                                                  \
                    ::fmt::format("{} ({}:{})", ::fmt::format(__VA_ARGS__), __FILE__, __LINE__),            \
                    "this is a bug in graft; please report it with the command you ran");                  \
  } while (false)
