#include "core/heap.h"

#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <unordered_map>

#include "core/system.h"

namespace graft {
namespace {

constexpr size_t kLarge = 16 << 10;
// Blocks that all start at the same place within a page would fight for the same cache lines.
constexpr size_t kStagger = 192, kGrain = 64;
constexpr size_t kMostHeaps = 64;

// A range and what is free in it.
class Heap {
 public:
  bool reserve(size_t bytes) {
    void* range = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) return false;
    begin_ = static_cast<char*>(range), end_ = begin_ + bytes;
    gaps_[begin_] = bytes;
    return true;
  }
  bool covers(const void* block) const { return block >= begin_ && block < end_; }

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
  char *begin_ = nullptr, *end_ = nullptr;
  alignas(64) std::mutex mutex_;  // what follows changes with every block, and each heap's is another thread's
  std::map<char*, size_t> gaps_;
  std::unordered_map<char*, size_t> sizes_;
  HeapUse use_;
};

// The first is for all threads that have none of their own. A range once reserved stays.
class Heaps {
 public:
  bool reserve(size_t bytes_each) {
    bytes_each_ = bytes_each;
    return add();
  }
  Heap& operator[](size_t i) { return heaps_[i]; }
  size_t size() const { return size_; }
  Heap* of(const void* block) {
    for (size_t i = 0; i < size_; ++i)
      if (heaps_[i].covers(block)) return &heaps_[i];
    return nullptr;
  }

  // The number of a heap that is nobody's; 0 where there is no room for one more.
  size_t claim() {
    const std::lock_guard lock(mutex_);
    if (size_ == 0) return 0;
    for (size_t i = 1; i < kMostHeaps; ++i)
      if (!claimed_[i] && (i < size_ || add())) {
        claimed_[i] = true;
        return i;
      }
    return 0;
  }
  void leave(size_t i) {
    const std::lock_guard lock(mutex_);
    claimed_[i] = false;
  }

 private:
  bool add() {
    if (!heaps_[size_].reserve(bytes_each_)) return false;
    ++size_;
    return true;
  }

  std::array<Heap, kMostHeaps> heaps_;
  std::atomic<size_t> size_ = 0;
  size_t bytes_each_ = 0;
  std::mutex mutex_;
  std::array<bool, kMostHeaps> claimed_ = {};
};

Heaps& heaps() {
  static Heaps* const all = new Heaps;  // outlives every tensor
  return *all;
}

thread_local size_t own_heap = 0;

struct OwnAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* block = bytes >= kLarge ? heaps()[own_heap].take(bytes) : nullptr;
    if (block) return {block, block, &free_large, c10::Device(c10::kCPU)};
    return plain->allocate(bytes);
  }
  static void free_large(void* block) { heaps().of(block)->give_back(block); }
  static void free_any(void* block) {
    if (Heap* const heap = heaps().of(block)) heap->give_back(block);
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
    if (!heaps().reserve(static_cast<size_t>(std::max<int64_t>(total_memory(), int64_t{1} << 30)) * 2)) return false;
    static OwnAllocator own;
    OwnAllocator::plain = c10::GetCPUAllocator();
    c10::SetCPUAllocator(&own, /*priority=*/1);
    return true;
#endif
  }();
  (void)done;
}

ThreadHeap::ThreadHeap() : before_(own_heap), claimed_(heaps().claim()) { own_heap = claimed_; }
ThreadHeap::~ThreadHeap() {
  own_heap = before_;
  if (claimed_ > 0) heaps().leave(claimed_);
}

HeapUse heap_use() { return heaps()[own_heap].use(); }
void reset_heap_peak() { heaps()[own_heap].reset_peak(); }
void release_free_heap() {
  for (size_t i = 0; i < heaps().size(); ++i) heaps()[i].release();
}

}  // namespace graft
