// Numbers as NumPy's default_rng draws them (PCG64 from a SeedSequence): what some files leave to a seed.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

namespace graft {

class NumpyRandom {
 public:
  explicit NumpyRandom(uint64_t seed);
  // Generator.choice(population, size, replace=False).
  std::vector<int64_t> choice(int64_t population, int64_t size);
  // Generator.shuffle of a one-dimensional array.
  void shuffle(std::vector<int64_t>& values);

 private:
  uint64_t next();
  uint32_t next32();
  uint64_t below_or_at(uint64_t most);  // by multiplication (Lemire); choice uses it
  uint64_t masked(uint64_t most);       // by rejection; shuffle uses it
  void shuffle_tail(std::vector<int64_t>& values, int64_t first);

  unsigned __int128 state_ = 0, increment_ = 0;
  std::optional<uint32_t> half_;  // the upper half of the last number
};

}  // namespace graft
