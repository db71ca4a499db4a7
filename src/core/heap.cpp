#include "core/heap.h"

#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <unordered_map>

#include "core/system.h"

namespace graft {
namespace {

constexpr size_t kLarge = 16 << 10;
// Blocks that all start at the same place within a page would fight for the same cache lines.
constexpr size_t kStagger = 192, kGrain = 64;

// The range and what is free in it.
class Heap {
 public:
  bool reserve(size_t bytes) {
    void* range = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) return false;
    begin_ = static_cast<char*>(range);
    gaps_[begin_] = bytes;
    return true;
  }

  void* take(size_t bytes) {
    const size_t size = (bytes + kStagger + kGrain - 1) / kGrain * kGrain;
    const std::lock_guard lock(mutex_);
    const auto gap = std::find_if(gaps_.begin(), gaps_.end(), [&](auto& g) { return g.second >= size; });
    if (gap == gaps_.end()) return nullptr;
    char* block = gap->first;
    const size_t rest = gap->second - size;
    gaps_.erase(gap);
    if (rest) gaps_[block + size] = rest;
    sizes_[block] = size;
    use_.now += static_cast<int64_t>(size);
    use_.peak = std::max(use_.peak, use_.now);
    use_.touched = std::max(use_.touched, block + size - begin_);
    return block;
  }

  void give_back(void* pointer) {
    char* block = static_cast<char*>(pointer);
    const std::lock_guard lock(mutex_);
    const auto found = sizes_.find(block);
    size_t size = found->second;
    sizes_.erase(found);
    use_.now -= static_cast<int64_t>(size);
    auto next = gaps_.lower_bound(block);
    if (next != gaps_.end() && block + size == next->first) {
      size += next->second;
      next = gaps_.erase(next);
    }
    if (next != gaps_.begin()) {
      const auto before = std::prev(next);
      if (before->first + before->second == block) {
        before->second += size;
        return;
      }
    }
    gaps_.emplace_hint(next, block, size);
  }

  bool holds(const void* pointer) {
    const std::lock_guard lock(mutex_);
    return sizes_.count(static_cast<char*>(const_cast<void*>(pointer))) > 0;
  }

  HeapUse use() {
    const std::lock_guard lock(mutex_);
    return use_;
  }
  void reset_peak() {
    const std::lock_guard lock(mutex_);
    use_.peak = use_.now;
  }
  void release() {
    const std::lock_guard lock(mutex_);
    const auto page = [](char* p) { return reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(p) & ~uintptr_t{4095}); };
    for (auto& [start, size] : gaps_) {
      char *from = page(start + 4095), *to = page(std::min(start + size, begin_ + use_.touched + 4095));
      if (from < to) ::madvise(from, static_cast<size_t>(to - from), MADV_DONTNEED);
    }
    if (!gaps_.empty()) use_.touched = std::min(use_.touched, static_cast<int64_t>(std::prev(gaps_.end())->first - begin_));
  }

 private:
  std::mutex mutex_;
  char* begin_ = nullptr;
  std::map<char*, size_t> gaps_;
  std::unordered_map<char*, size_t> sizes_;
  HeapUse use_;
};

Heap& heap() {
  static Heap* const one = new Heap;  // outlives every tensor
  return *one;
}

struct OwnAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* block = bytes >= kLarge ? heap().take(bytes) : nullptr;
    if (block) return {block, block, &free_large, c10::Device(c10::kCPU)};
    return plain->allocate(bytes);
  }
  static void free_large(void* block) { heap().give_back(block); }
  static void free_any(void* block) {
    if (block && heap().holds(block)) heap().give_back(block);
    else plain->raw_deleter()(block);
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_any; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }
  static c10::Allocator* plain;
};
c10::Allocator* OwnAllocator::plain = nullptr;

}  // namespace

void use_own_heap() {
  static const bool done = [] {
#if defined(__SANITIZE_ADDRESS__)
    return false;  // it would not see past the end of a tensor
#else
    if (!heap().reserve(static_cast<size_t>(std::max<int64_t>(total_memory(), int64_t{1} << 30)) * 2)) return false;
    static OwnAllocator own;
    OwnAllocator::plain = c10::GetCPUAllocator();
    c10::SetCPUAllocator(&own, /*priority=*/1);
    return true;
#endif
  }();
  (void)done;
}

HeapUse heap_use() { return heap().use(); }
void reset_heap_peak() { heap().reset_peak(); }
void release_free_heap() { heap().release(); }

}  // namespace graft
