#include "core/device.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include "core/system.h"
#include "core/torch.h"

namespace graft {
namespace {
// How libtorch keeps statistics by pool; the first entry sums them up.
constexpr size_t kAllPools = 0;
c10::DeviceIndex index_of(at::Device device) { return device.has_index() ? device.index() : c10::DeviceIndex{0}; }
}  // namespace

Tensor moved(const Tensor& host, at::Device device) {
  if (device.is_cpu()) return host;
  return device.is_cuda() ? host.pin_memory().to(device, /*non_blocking=*/true) : host.to(device);
}

std::vector<Tensor> index_tensors(const std::vector<const std::vector<int64_t>*>& lists, at::Device device) {
  std::vector<int64_t> all;
  for (auto* list : lists) all.insert(all.end(), list->begin(), list->end());
  const Tensor joined = moved(at::tensor(all, at::kLong), device);
  std::vector<Tensor> parts;
  int64_t begin = 0;
  for (auto* list : lists) {
    parts.push_back(joined.narrow(0, begin, static_cast<int64_t>(list->size())));
    begin += static_cast<int64_t>(list->size());
  }
  return parts;
}

void synchronise(at::Device device) {
  if (device.is_cuda()) c10::impl::getDeviceGuardImpl(device.type())->synchronizeDevice(index_of(device));
}

int64_t peak_memory(at::Device device) {
  if (!device.is_cuda()) return peak_memory();
  return c10::getDeviceAllocator(device.type())->getDeviceStats(index_of(device)).allocated_bytes[kAllPools].peak;
}

void reset_peak_memory(at::Device device) {
  if (device.is_cuda()) c10::getDeviceAllocator(device.type())->resetPeakStats(index_of(device));
  else reset_peak_memory();
}

bool has_much_room(at::Device device) {
  if (!device.is_cuda()) return false;
  auto* allocator = c10::getDeviceAllocator(device.type());
  static const size_t all = allocator->getMemoryInfo(index_of(device)).second;  // one process uses one GPU
  return static_cast<size_t>(allocator->getDeviceStats(index_of(device)).allocated_bytes[kAllPools].current) < all / 2;
}

}  // namespace graft
