#include "data/parallel.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "core/signals.h"

namespace graft {
namespace {
constexpr size_t kWorthThreads = 512;  // fewer rows are done before threads have started
constexpr int kMostThreads = 32;
}  // namespace

void parallel_rows(size_t count, const std::function<void(size_t)>& f, const std::function<void(size_t)>& progress) {
  const int workers = count < kWorthThreads ? 1 : std::clamp(at::get_num_threads(), 1, kMostThreads);
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;
  size_t error_row = count;
  const auto work = [&](bool calling) {
    size_t i = 0;
    try {
      for (i = next++; i < count; i = next++) {
        if (const int signal = pending_signal()) throw Stopped(signal);
        f(i);
        if (calling && progress) progress(std::min(count, next.load(std::memory_order_relaxed)));
      }
    } catch (...) {
      // Rows before this one are done or in work by now: whichever of them fails is the lowest.
      next = count;
      const std::lock_guard lock(mutex);
      if (!error || i < error_row) {
        error = std::current_exception();
        error_row = i;
      }
    }
  };
  std::vector<std::thread> threads;
  for (int w = 1; w < workers; ++w) threads.emplace_back(work, false);
  work(true);
  for (auto& t : threads) t.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace graft
