#include "core/recording.h"

#include "core/check.h"
#include "core/torch.h"

#ifdef GRAFT_CUDA_GRAPHS
#include <ATen/core/CachingHostAllocator.h>
#include <ATen/cuda/CUDAGraph.h>
#include <ATen/cuda/MemPool.h>
#include <c10/cuda/CUDAGuard.h>
#endif

namespace graft {

#ifdef GRAFT_CUDA_GRAPHS
struct Recording::Graph {
  at::cuda::CUDAGraph graph;

  void record(at::Device device, const std::function<void()>& work) {
    const c10::cuda::CUDAGuard on_device(device);
    // One process uses one GPU. The default stream cannot be recorded; memory is shared on one stream only, and as long as somebody holds its pool.
    static const auto side = c10::cuda::getStreamFromPool();
    static auto& pool = *new at::cuda::MemPool;  // for good: the driver may be gone when static objects go
    c10::cuda::device_synchronize();
    c10::cuda::CUDACachingAllocator::emptyCache();  // which cannot be done meanwhile
    const c10::cuda::CUDAStreamGuard on_side(side);
    graph.capture_begin(pool.id(), cudaStreamCaptureModeThreadLocal);
    std::exception_ptr problem;
    try {
      work();
    } catch (...) {
      problem = std::current_exception();
    }
    try {
      graph.capture_end();
    } catch (...) {
      // A recording that went wrong ends before the allocators hear of it.
      c10::cuda::CUDACachingAllocator::endAllocateToPool(device.index(), pool.id());
      at::getHostAllocator(at::kCUDA)->end_allocate_to_pool(pool.id());
      if (!problem) problem = std::current_exception();
    }
    if (problem) std::rethrow_exception(problem);
  }
  void replay() { graph.replay(); }
};
bool Recording::possible(at::Device device) { return device.is_cpu() || device.is_cuda(); }
#else
struct Recording::Graph {
  void record(at::Device, const std::function<void()>&) {}
  void replay() {}
};
bool Recording::possible(at::Device device) { return device.is_cpu(); }
#endif

Recording::Recording(at::Device device) : device_(device) { CHECK_THAT(possible(device), "this build records no work of {}", device.str()); }
Recording::~Recording() = default;

void Recording::record(std::function<void()> work) {
  if (device_.is_cpu()) {
    work_ = std::move(work);
    return;
  }
  graph_ = std::make_unique<Graph>();
  graph_->record(device_, work);
}

void Recording::replay() {
  if (graph_) graph_->replay();
  else work_();
}

}  // namespace graft
