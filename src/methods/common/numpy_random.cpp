#include "methods/common/numpy_random.h"

#include <array>
#include <bit>
#include <numeric>
#include <unordered_set>

#include "core/check.h"

namespace graft {
namespace {

// SeedSequence(seed).generate_state(4, uint64).
std::array<uint64_t, 4> seed_words(uint64_t seed) {
  uint32_t multiplier = 0x43B0D7E5;
  const auto hashed = [&](uint32_t value) {
    value ^= multiplier;
    multiplier *= 0x931E8875;
    value *= multiplier;
    return value ^ (value >> 16);
  };
  const auto mixed = [](uint32_t x, uint32_t y) {
    const uint32_t sum = 0xCA01F9DDu * x - 0x4973F715u * y;
    return sum ^ (sum >> 16);
  };
  std::array<uint32_t, 4> pool{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32), 0, 0};
  for (uint32_t& word : pool) word = hashed(word);
  for (size_t from = 0; from < 4; ++from)
    for (size_t to = 0; to < 4; ++to)
      if (from != to) pool[to] = mixed(pool[to], hashed(pool[from]));
  uint32_t second = 0x8B51F9DD;
  std::array<uint64_t, 4> words{};
  for (size_t i = 0; i < 8; ++i) {
    uint32_t value = pool[i % 4] ^ second;
    second *= 0x58F38DED;
    value *= second;
    value ^= value >> 16;
    words[i / 2] |= static_cast<uint64_t>(value) << (32 * (i % 2));
  }
  return words;
}

unsigned __int128 joined(uint64_t high, uint64_t low) {
  return (static_cast<unsigned __int128>(high) << 64) | low;
}

}  // namespace

NumpyRandom::NumpyRandom(uint64_t seed) {
  const auto words = seed_words(seed);
  increment_ = (joined(words[2], words[3]) << 1) | 1;
  next();
  state_ += joined(words[0], words[1]);
  next();
}

uint64_t NumpyRandom::next() {
  state_ = state_ * joined(2549297995355413924u, 4865540595714422341u) + increment_;
  return std::rotr(static_cast<uint64_t>(state_ >> 64) ^ static_cast<uint64_t>(state_), static_cast<int>(state_ >> 122));
}

uint32_t NumpyRandom::next32() {
  if (half_) {
    const uint32_t value = *half_;
    half_.reset();
    return value;
  }
  const uint64_t value = next();
  half_ = static_cast<uint32_t>(value >> 32);
  return static_cast<uint32_t>(value);
}

uint64_t NumpyRandom::below_or_at(uint64_t most) {
  CHECK_THAT(most < 0xFFFFFFFF, "a range of {} numbers", most);
  if (most == 0) return 0;
  const uint32_t count = static_cast<uint32_t>(most) + 1, threshold = (0xFFFFFFFF - static_cast<uint32_t>(most)) % count;
  uint64_t product = uint64_t{next32()} * count;
  while (static_cast<uint32_t>(product) < threshold) product = uint64_t{next32()} * count;
  return product >> 32;
}

uint64_t NumpyRandom::masked(uint64_t most) {
  if (most == 0) return 0;
  const uint64_t mask = std::bit_ceil(most + 1) - 1;
  for (;;) {
    const uint64_t value = (most <= 0xFFFFFFFF ? next32() : next()) & mask;
    if (value <= most) return value;
  }
}

void NumpyRandom::shuffle_tail(std::vector<int64_t>& values, int64_t first) {
  for (int64_t i = static_cast<int64_t>(values.size()) - 1; i >= first; --i)
    std::swap(values[static_cast<size_t>(i)], values[below_or_at(static_cast<uint64_t>(i))]);
}

std::vector<int64_t> NumpyRandom::choice(int64_t population, int64_t size) {
  if (population > 10000 && size > population / 50) {  // the last ones of a partial shuffle
    std::vector<int64_t> all(static_cast<size_t>(population));
    std::iota(all.begin(), all.end(), 0);
    shuffle_tail(all, std::max<int64_t>(population - size, 1));
    return {all.end() - size, all.end()};
  }
  std::vector<int64_t> chosen;  // Floyd's way
  std::unordered_set<int64_t> seen;
  for (int64_t j = population - size; j < population; ++j) {
    const auto value = static_cast<int64_t>(below_or_at(static_cast<uint64_t>(j)));
    chosen.push_back(seen.insert(value).second ? value : j);
    if (chosen.back() == j) seen.insert(j);
  }
  shuffle_tail(chosen, 1);
  return chosen;
}

void NumpyRandom::shuffle(std::vector<int64_t>& values) {
  for (size_t i = values.size(); i-- > 1;) std::swap(values[i], values[masked(i)]);
}

}  // namespace graft
