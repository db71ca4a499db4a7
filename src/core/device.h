// What differs between a CPU and a GPU beside the tensors themselves: copies that nobody waits for, clocks, memory.
#pragma once
#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace graft {

// A CPU tensor's values on `device`. The copy to a GPU goes through pinned memory and is queued: nothing waits for it. On the CPU
// it is the tensor itself.
Tensor moved(const Tensor& host, at::Device device);
// Several lists of indices in one copy, as int64 tensors in the same order.
std::vector<Tensor> index_tensors(const std::vector<const std::vector<int64_t>*>& lists, at::Device device);

// Waits until all queued work is done: before reading a clock. Nothing on a CPU.
void synchronise(at::Device device);
// Most bytes that tensors took on a GPU since the last reset; on a CPU the process's peak resident bytes.
int64_t peak_memory(at::Device device);
void reset_peak_memory(at::Device device);
// Whether tensors take less than half of a GPU's memory; false on a CPU.
bool has_much_room(at::Device device);

}  // namespace graft
