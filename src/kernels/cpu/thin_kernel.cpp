#include "kernels/cpu/thin_kernel.h"

#include "kernels/cpu.h"

namespace graft::kernels::cpu {

const ThinKernels& thin_kernels() {
#if defined(__x86_64__)
  if (cpu_isa() >= Isa::Avx512) return kThinAvx512;
  if (cpu_isa() >= Isa::Avx2) return kThinAvx2;
#endif
  return kThinPlain;
}

}  // namespace graft::kernels::cpu
