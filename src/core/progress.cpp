#include "core/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "core/check.h"
#include "core/log.h"

namespace graft {
namespace {
using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }
}  // namespace

std::string human_bytes(double bytes) {
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  int unit = 0;
  for (; bytes >= 1023.5 && unit < 4; ++unit) bytes /= 1024;  // what would round to 1024 belongs to the next unit
  return fmt::format("{:.{}f} {}", bytes, unit == 0 || bytes >= 100 ? 0 : 1, units[unit]);
}

int64_t bytes_from_text(const std::string& text, const std::string& key) {
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  std::string unit;
  for (; *end; ++end)
    if (*end != ' ') unit += static_cast<char>(std::tolower(static_cast<unsigned char>(*end)));
  const std::map<std::string, double> units{{"", 1}, {"b", 1}, {"k", 1024.0}, {"kb", 1e3}, {"kib", 1024.0}, {"m", 1048576.0}, {"mb", 1e6}, {"mib", 1048576.0},
                                            {"g", 1073741824.0}, {"gb", 1e9}, {"gib", 1073741824.0}, {"t", 1099511627776.0}, {"tb", 1e12}, {"tib", 1099511627776.0}};
  const auto found = units.find(unit);
  if (found == units.end() || !(number > 0) || number * found->second > 1e18)
    usage_error(key, fmt::format("{} must be an amount of memory but is '{}'", key, text), "such as 8GiB or 900MB");
  return static_cast<int64_t>(number * found->second);
}

std::string human_count(double count) {
  const char* units[] = {"", "k", "M", "G", "T"};
  int unit = 0;
  for (; std::abs(count) >= 999.5 && unit < 4; ++unit) count /= 1000;
  return fmt::format("{:.{}f}{}", count, unit == 0 || count >= 100 ? 0 : 1, units[unit]);
}

std::string human_duration(double seconds) {
  if (!std::isfinite(seconds)) return "?";
  if (seconds < 9.95) return fmt::format("{:.1f} s", seconds);
  const int64_t s = std::llround(seconds);
  if (s < 60) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{}m {:02}s", s / 60, s % 60);
  return fmt::format("{}h {:02}m", s / 3600, s / 60 % 60);
}

Progress::Progress(std::string title, int64_t total, bool quiet)
    : title_(std::move(title)), total_(total), quiet_(quiet || log_level() == LogLevel::Quiet), terminal_(isatty(STDERR_FILENO)), start_(Clock::now()),
      shown_(start_) {}

Progress::~Progress() {
  if (terminal_ && !quiet_ && !finished_ && done_ > 0) std::fputc('\n', stderr);
}

void Progress::update(int64_t done, const std::string& text) {
  if (start_done_ < 0) start_done_ = done - 1;  // a resumed run starts in the middle
  done_ = done;
  text_ = text;
  if (quiet_ || since(shown_) < (terminal_ ? 0.1 : 5.0)) return;
  show(false);
}

void Progress::finish() {
  if (!finished_ && !quiet_ && done_ > 0) show(true);
  finished_ = true;
}

void Progress::show(bool last) {
  shown_ = Clock::now();
  const double elapsed = since(start_), share = total_ > 0 ? static_cast<double>(done_) / static_cast<double>(total_) : 0;
  const double left = elapsed / static_cast<double>(std::max<int64_t>(1, done_ - start_done_)) * static_cast<double>(total_ - done_);
  const std::string time = last ? fmt::format("in {}", human_duration(elapsed)) : fmt::format("{} left", human_duration(left));
  const std::string tail = fmt::format("{}/{}  {}  {}", done_, total_, text_, time);
  if (!terminal_) {
    log_text(LogLevel::Info, fmt::format("{} {:3.0f} %  {}", title_, share * 100, tail));
    return;
  }
  winsize size{};
  const int columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
  const int width = std::clamp(columns - static_cast<int>(title_.size() + tail.size()) - 6, 0, 40), filled = static_cast<int>(share * width);
  std::string bar;
  for (int i = 0; i < width; ++i) bar += i < filled ? "━" : "╌";
  std::string line = fmt::format("{} {} {}", title_, bar, tail);
  fmt::print(stderr, "\r\033[K{}{}", line, last ? "\n" : "");
  std::fflush(stderr);
}

void SlowProgress::update(int64_t done) {
  done_ = done;
  if (!shown_ && total_ > 0 && since(start_) > 2) shown_ = std::make_unique<Progress>(title_, total_);
  if (shown_) shown_->update(done, unit_);
}

void SlowProgress::finish() {
  if (!shown_) return;
  shown_->update(std::max(done_, total_), unit_);
  shown_->finish();
}

}  // namespace graft
