// Progress on stderr: a bar on a terminal, else a line every few seconds. And numbers as people read them.
#pragma once
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

namespace graft {

class Progress {
 public:
  // `quiet` shows nothing.
  Progress(std::string title, int64_t total, bool quiet = false);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(int64_t done, const std::string& text = {});
  void expect(int64_t total) { total_ = total; }  // when more turns up on the way
  void finish();  // shows the final state and ends the line

 private:
  void show(bool last);
  std::string title_, text_;
  int64_t total_, done_ = 0, start_done_ = -1;
  bool quiet_, terminal_, finished_ = false;
  std::chrono::steady_clock::time_point start_, shown_;
};

// For work that is mostly over at once: shows nothing in the first two seconds, nor anything at all when it is over by then.
class SlowProgress {
 public:
  SlowProgress(std::string title, int64_t total, std::string unit) : title_(std::move(title)), unit_(std::move(unit)), total_(total) {}
  void update(int64_t done);
  void finish();

 private:
  std::string title_, unit_;
  int64_t total_, done_ = 0;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::unique_ptr<Progress> shown_;
};

std::string human_bytes(double bytes);      // "1.4 GiB"
int64_t bytes_from_text(const std::string& text, const std::string& key);  // "8GiB", "900 MB", "1.5g" (of 1024); throws Fault::Usage
std::string human_count(double count);      // "12.3k", "1.2M"
std::string human_duration(double seconds); // "0.4 s", "1m 23s", "2h 05m"

}  // namespace graft
