#include "core/signals.h"

#include <csignal>

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
}  // namespace

void install_signal_handlers() {
  std::signal(SIGINT, handle);
  std::signal(SIGTERM, handle);
}
void ignore_broken_pipes() { std::signal(SIGPIPE, SIG_IGN); }
int pending_signal() { return pending; }
void request_stop(int signal) { pending = signal; }

}  // namespace graft
