// The log goes to stderr; results go to stdout. One level for the whole program.
#pragma once
#include <fmt/format.h>

#include <string_view>

namespace graft {

enum class LogLevel { Quiet, Info, Debug };
void set_log_level(LogLevel level);
LogLevel log_level();

void log_text(LogLevel level, std::string_view text);  // writes one line, whole, thread-safe
template <class... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log_text(LogLevel::Info, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  if (log_level() >= LogLevel::Debug) log_text(LogLevel::Debug, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace graft
