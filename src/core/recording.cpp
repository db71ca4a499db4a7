#include "core/recording.h"

#include "core/check.h"
#include "core/torch.h"

#ifdef GRAFT_CUDA_GRAPHS
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#endif

namespace graft {

#ifdef GRAFT_CUDA_GRAPHS
struct Recording::Graph {
  at::cuda::CUDAGraph graph;

  void record(at::Device device, const std::function<void()>& work) {
    static const auto pool = at::cuda::graph_pool_handle();  // one process uses one GPU
    const c10::cuda::CUDAGuard on_device(device);
    const auto side = c10::cuda::getStreamFromPool();  // the default stream cannot be recorded
    c10::cuda::device_synchronize();
    const c10::cuda::CUDAStreamGuard on_side(side);
    graph.capture_begin(pool, cudaStreamCaptureModeThreadLocal);
    try {
      work();
    } catch (...) {
      try {
        graph.capture_end();
      } catch (const std::exception&) {  // what `work` threw says more
      }
      throw;
    }
    graph.capture_end();
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
