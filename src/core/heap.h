// Where large tensors lie. malloc mixes them with small blocks that outlive them, and the holes that this leaves cost a third of a
// training step's memory; handing memory back and faulting it in again costs time. So blocks from 16 KiB on come from a range
// of addresses of their own: the lowest gap that fits, neighbours joined when freed, pages kept until release_free_heap.
#pragma once
#include <cstddef>
#include <cstdint>

namespace graft {

// From now on, for all CPU tensors of the process. Where the range cannot be reserved everything stays with malloc.
void use_own_heap();

// While it lives, large tensors that this thread makes lie in a range from which no other thread takes (where there is room for
// one more). Two runs side by side that take the lowest gaps of one range would hand freshly written memory to and fro between
// the caches of their cores.
class ThreadHeap {
 public:
  ThreadHeap();
  ~ThreadHeap();
  ThreadHeap(const ThreadHeap&) = delete;
  ThreadHeap& operator=(const ThreadHeap&) = delete;

 private:
  size_t before_, claimed_;
};

// Of the heap from which the calling thread takes.
struct HeapUse {
  int64_t now = 0, peak = 0;  // bytes of live large tensors; peak since reset_heap_peak
  int64_t touched = 0;        // bytes of the range that were ever in use and not released since
};
HeapUse heap_use();
void reset_heap_peak();
void release_free_heap();  // gives the pages of all gaps back to the system

}  // namespace graft
