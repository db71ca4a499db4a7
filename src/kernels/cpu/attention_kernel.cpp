#include "kernels/cpu/attention_kernel.h"

#include "kernels/cpu.h"
#include "kernels/cpu/attention_layout.h"

namespace graft::kernels::cpu {

int64_t forward_scratch(const HeadShape& shape) {
  const Layout l(shape);
  return l.padded * (l.columns + l.keys + 2 * kReach) + kQueryBlock * kKeyBlock;
}

int64_t backward_scratch(const HeadShape& shape) {
  const Layout l(shape);
  return l.padded * (2 * l.columns + 3 * l.keys + 3 * kReach) + 2 * kQueryBlock * kKeyBlock;
}

const AttentionKernels& attention_kernels() {
#if defined(__x86_64__)
  if (cpu_isa() >= Isa::Avx512) return kAttentionAvx512;
  if (cpu_isa() >= Isa::Avx2) return kAttentionAvx2;
#endif
  return kAttentionPlain;
}

}  // namespace graft::kernels::cpu
