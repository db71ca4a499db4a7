// How the bodies of attention lay a head out in their scratch memory.
#pragma once
#include "kernels/cpu/attention_kernel.h"

namespace graft::kernels::cpu {

inline constexpr int64_t kKeyBlock = 64, kQueryBlock = 48;  // whose scores stay in the nearest cache
inline constexpr int64_t kReach = 4 * kQueryBlock;          // queries for which a block of keys is fetched once

struct Layout {
  int64_t keys, padded, columns;  // padded: dim up to whole vectors of 16; columns: keys up to whole blocks
  explicit Layout(const HeadShape& s)
      : keys(s.prefix + s.queries), padded((s.dim + 15) / 16 * 16), columns((keys + kKeyBlock - 1) / kKeyBlock * kKeyBlock) {}
};

}  // namespace graft::kernels::cpu
