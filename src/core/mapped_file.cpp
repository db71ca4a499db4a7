#include "core/mapped_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <mutex>

namespace graft {
namespace {

std::atomic<bool> switched_on{false};

struct Files {
  std::mutex mutex;
  std::map<uintptr_t, size_t> sizes;
};
Files& files() {
  static Files* const all = new Files;  // mappings may end after static destructors ran
  return *all;
}

}  // namespace

void file_mapped(const void* begin, size_t bytes) {
  const std::lock_guard lock(files().mutex);
  files().sizes[reinterpret_cast<uintptr_t>(begin)] = bytes;
}

void file_unmapped(const void* begin) {
  const std::lock_guard lock(files().mutex);
  files().sizes.erase(reinterpret_cast<uintptr_t>(begin));
}

void let_go_of_mapped_pages(bool on) { switched_on = on; }
bool lets_go_of_mapped_pages() { return switched_on; }

void let_go(const Tensor& weight) {
  if (!switched_on || !weight.is_cpu() || !weight.is_non_overlapping_and_dense()) return;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(weight.const_data_ptr()), end = begin + weight.nbytes();
  const std::lock_guard lock(files().mutex);
  const auto next = files().sizes.upper_bound(begin);
  if (next == files().sizes.begin()) return;
  const auto [start, size] = *std::prev(next);
  if (end > start + size) return;
  static const uintptr_t page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t from = begin / page * page;  // clean pages of a file: a neighbour on the same page is read again
  ::madvise(reinterpret_cast<void*>(from), end - from, MADV_DONTNEED);
}

}  // namespace graft
