#include "kernels/cpu/thin_kernel.h"

namespace graft::kernels::cpu {

const ThinKernels& thin_kernels() {
#if defined(__x86_64__)
  static const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                             __builtin_cpu_supports("avx512bw");
  static const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx512) return kThinAvx512;
  if (avx2) return kThinAvx2;
#endif
  return kThinPlain;
}

}  // namespace graft::kernels::cpu
