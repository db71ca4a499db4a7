#include "core/log.h"

#include <atomic>
#include <cstdio>

namespace graft {
namespace {
std::atomic<LogLevel> current{LogLevel::Info};
void write_line(std::string_view prefix, std::string_view text) {
  const std::string line = fmt::format("{}{}\n", prefix, text);
  std::fwrite(line.data(), 1, line.size(), stderr);
}
}  // namespace

void set_log_level(LogLevel level) { current = level; }
LogLevel log_level() { return current; }

void log_text(LogLevel level, std::string_view text) {
  if (level <= current) write_line("", text);
}

}  // namespace graft
