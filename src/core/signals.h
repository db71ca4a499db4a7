// Stopping cleanly, for the commands that save their work: SIGINT and SIGTERM raise a flag; long loops look at it, save, and throw
// Stopped. All other commands end at once, as programs do.
#pragma once
#include <exception>

namespace graft {

void install_signal_handlers();
void ignore_broken_pipes();  // a closed reader becomes an error of the write
// A mapped file that another program shortens, or whose disk fails, ends the program with a message that names it, exit code 3.
void explain_bus_errors();
int pending_signal();  // 0 while none came
void request_stop(int signal);

// Thrown after everything worth keeping was saved; the exit code is 128 + signal.
class Stopped : public std::exception {
 public:
  explicit Stopped(int signal) : signal_(signal) {}
  const char* what() const noexcept override { return "stopped by a signal"; }
  int exit_code() const { return 128 + signal_; }

 private:
  int signal_;
};

}  // namespace graft
