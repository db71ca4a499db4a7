#include "core/signals.h"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstring>

namespace graft {
namespace {
volatile std::sig_atomic_t pending = 0;
void handle(int signal) {
  if (pending) {  // a second one means it: stop at once
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
  pending = signal;
}

void say(const char* text) {
  if (::write(STDERR_FILENO, text, std::strlen(text)) < 0) return;
}

// The path in a line "begin-end rights offset device inode   path" of /proc/self/maps, if the address lies there.
const char* path_at(const char* line, uintptr_t address) {
  uintptr_t bounds[2] = {0, 0};
  for (uintptr_t& bound : bounds) {
    for (; *line && *line != '-' && *line != ' '; ++line) bound = bound * 16 + static_cast<uintptr_t>(*line <= '9' ? *line - '0' : *line - 'a' + 10);
    line += *line != '\0';
  }
  return bounds[0] <= address && address < bounds[1] ? std::strchr(line, '/') : nullptr;
}

// Only what a signal handler may call.
void handle_bus_error(int signal, siginfo_t* info, void*) {
  if (info->si_code != BUS_ADRERR) {
    std::signal(signal, SIG_DFL);
    return;  // the faulty instruction runs again
  }
  const char* path = nullptr;
  static char line[8192];
  size_t length = 0;
  const int fd = ::open("/proc/self/maps", O_RDONLY);
  for (char c; fd >= 0 && !path && ::read(fd, &c, 1) == 1;) {
    if (c != '\n' && length + 1 < sizeof line) {
      line[length++] = c;
      continue;
    }
    line[length] = '\0';
    length = 0;
    path = path_at(line, reinterpret_cast<uintptr_t>(info->si_addr));
  }
  say("graft: [file] '");
  say(path ? path : "a mapped file");
  say("' was shortened or became unreadable while it was in use. Hint: replace files of a running program under a new name and rename them\n");
  ::_exit(3);
}

}  // namespace

void explain_bus_errors() {
  struct sigaction action {};
  action.sa_sigaction = handle_bus_error;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGBUS, &action, nullptr);
}

void install_signal_handlers() {
  std::signal(SIGINT, handle);
  std::signal(SIGTERM, handle);
}
void ignore_broken_pipes() { std::signal(SIGPIPE, SIG_IGN); }
int pending_signal() { return pending; }
void request_stop(int signal) { pending = signal; }

}  // namespace graft
