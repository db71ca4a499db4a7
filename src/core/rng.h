// Random numbers that are the same on every machine: SplitMix64 seeding and xoshiro256**. For data order, sampling
// and resampling; tensors are drawn with torch's own generator, so that initialisations equal the reference's.
#pragma once
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace graft {

class Rng {
 public:
  explicit Rng(uint64_t seed);
  uint64_t next();                     // uniform over 64 bits
  double uniform();                    // [0, 1)
  uint64_t below(uint64_t n);          // uniform over 0..n-1, without modulo bias; n >= 1
  double normal();                     // standard normal (Box-Muller)
  template <class T>
  void shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }
  template <class T>
  const T& pick(const std::vector<T>& items) { return items[below(items.size())]; }

 private:
  uint64_t state_[4];
};

// A seed for a named purpose, so that streams do not overlap: mix(seed, "order"), mix(seed, "init").
uint64_t mix_seed(uint64_t seed, std::string_view purpose);

// FNV-1a over bytes: stable identifiers of recipes and data.
uint64_t hash_bytes(std::string_view bytes);

}  // namespace graft
