// Work that is queued again and again in the same shape, recorded once and then launched as a whole: CUDA graphs. For models so small that a GPU
// waits for the CPU that launches its kernels one by one.
#pragma once
#include <functional>
#include <memory>

#include "core/tensor.h"

namespace graft {

class Recording {
 public:
  // Whether this build can record the work of `device`.
  static bool possible(at::Device device);

  // All recordings share the memory of what is gone when `record` returns; tensors that live on keep theirs.
  explicit Recording(at::Device device);
  ~Recording();
  Recording(const Recording&) = delete;

  // On a GPU `work` runs once without computing anything, and must not wait for the GPU or copy from the CPU. It has run before in the same
  // shape, so that libraries are ready. Throws what it throws.
  void record(std::function<void()> work);
  // Computes what was recorded from what lies now where it lay then, into the same tensors. On a CPU the work itself runs again.
  void replay();

 private:
  struct Graph;
  at::Device device_;
  std::unique_ptr<Graph> graph_;
  std::function<void()> work_;
};

}  // namespace graft
