#include "kernels/cpu.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <string>

#include "core/check.h"
#include "core/system.h"

namespace graft::kernels {
namespace {

struct IsaName {
  Isa isa;
  const char *name, *title;
};
constexpr IsaName kIsas[] = {{Isa::Plain, "plain", "plain vectors"},
                             {Isa::Avx2, "avx2", "AVX2"},
                             {Isa::Avx512, "avx512", "AVX-512"},
                             {Isa::Avx512Bf16, "avx512_bf16", "AVX-512 with bfloat16"},
                             {Isa::AmxBf16, "amx_bf16", "AMX with bfloat16"}};

Isa machine_isa() {
#if defined(__x86_64__)
  const auto features = cpu_features();
  const auto has = [&](const char* name) { return std::find(features.begin(), features.end(), name) != features.end(); };
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c")) return Isa::Plain;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512bw"))
    return Isa::Avx2;
  return has("AMX_BF16") ? Isa::AmxBf16 : has("AVX512_BF16") ? Isa::Avx512Bf16 : Isa::Avx512;
#else
  return Isa::Plain;
#endif
}

Isa allowed_isa() {
  const Isa machine = machine_isa();
  const char* given = std::getenv("GRAFT_ISA");
  if (!given || !*given) return machine;
  for (auto& row : kIsas)
    if (std::string(given) == row.name) return std::min(row.isa, machine);
  usage_error("cpu", fmt::format("GRAFT_ISA is '{}'", given), "known: plain, avx2, avx512, avx512_bf16, amx_bf16");
}

std::atomic<int> isa_limit{static_cast<int>(Isa::AmxBf16)};

bool made_by_intel() {
#if defined(__x86_64__)
  __builtin_cpu_init();  // this runs before main
  return __builtin_cpu_is("intel");
#else
  return false;
#endif
}

std::atomic<bool> mkl_rate{made_by_intel()};

}  // namespace

Isa cpu_isa() {
  static const Isa allowed = allowed_isa();
  return std::min(allowed, static_cast<Isa>(isa_limit.load(std::memory_order_relaxed)));
}

const char* isa_title(Isa isa) { return kIsas[static_cast<int>(isa)].title; }
bool cpu_multiplies_bf16() { return cpu_isa() >= Isa::Avx512Bf16; }

bool mkl_at_full_rate() { return mkl_rate.load(std::memory_order_relaxed); }

AssumedMklRate::AssumedMklRate(bool full) : before_(mkl_rate.exchange(full)) {}
AssumedMklRate::~AssumedMklRate() { mkl_rate = before_; }

LimitedIsa::LimitedIsa(Isa most) : before_(isa_limit.exchange(static_cast<int>(most))) {}
LimitedIsa::~LimitedIsa() { isa_limit = before_; }

}  // namespace graft::kernels
