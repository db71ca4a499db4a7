#include "kernels/cpu/elementwise_kernel.h"

#include "kernels/cpu.h"

namespace graft::kernels::cpu {

const ElementwiseKernels& elementwise_kernels() {
#if defined(__x86_64__)
  if (cpu_isa() >= Isa::Avx512) return kElementwiseAvx512;
  if (cpu_isa() >= Isa::Avx2) return kElementwiseAvx2;
#endif
  return kElementwisePlain;
}

}  // namespace graft::kernels::cpu
