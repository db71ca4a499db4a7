// What CPU kernel bodies share: one binary with code for each kind of vector unit, chosen when the program runs.
#pragma once

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define GRAFT_VECTORISED __attribute__((target_clones("default", "arch=haswell", "arch=skylake-avx512")))
#else
#define GRAFT_VECTORISED
#endif

namespace graft::kernels {

// Instruction sets, each with all of those before it.
enum class Isa { Plain, Avx2, Avx512, Avx512Bf16, AmxBf16 };

// The best of this machine, at most what the environment variable GRAFT_ISA names (plain, avx2, avx512, avx512_bf16, amx_bf16).
// Throws Fault::Usage where it names something else.
Isa cpu_isa();
const char* isa_title(Isa isa);  // "AVX-512 with bfloat16"
// Whether products of bfloat16 numbers have instructions of their own. Without them they take a hundred times as long as float32's.
bool cpu_multiplies_bf16();
// Whether MKL, the library behind at::mm, uses all of this processor: it keeps to AVX2 code, and not its best, on those that Intel did not make.
bool mkl_at_full_rate();

// While an object of this kind lives, mkl_at_full_rate() says what it was told: both ways are reached on any machine.
class AssumedMklRate {
 public:
  explicit AssumedMklRate(bool full);
  ~AssumedMklRate();
  AssumedMklRate(const AssumedMklRate&) = delete;
  AssumedMklRate& operator=(const AssumedMklRate&) = delete;

 private:
  bool before_;
};

// While an object of this kind lives, no thread uses more than `most`.
class LimitedIsa {
 public:
  explicit LimitedIsa(Isa most);
  ~LimitedIsa();
  LimitedIsa(const LimitedIsa&) = delete;
  LimitedIsa& operator=(const LimitedIsa&) = delete;

 private:
  int before_;
};

}  // namespace graft::kernels
