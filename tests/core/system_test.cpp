#include "core/system.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <set>
#include <vector>

#include "core/check.h"
#include "support/support.h"

namespace graft {
namespace {

constexpr int64_t kMiB = 1 << 20;

TEST(System, KnowsTheMachine) {
  EXPECT_EQ(total_memory() / kMiB, static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE) / kMiB);
  EXPECT_GE(cpu_cores(), 1);
  EXPECT_LE(cpu_cores(), sysconf(_SC_NPROCESSORS_CONF));
  EXPECT_FALSE(cpu_model().empty());
  const std::set<std::string> known = {"AVX2", "AVX512F", "AVX512_BF16", "AMX_BF16"};
  for (auto& feature : cpu_features()) EXPECT_TRUE(known.count(feature)) << feature;
}

TEST(System, ThreadsAreBounded) {
  EXPECT_EQ(thread_count(0), cpu_cores());
  EXPECT_EQ(thread_count(3), 3);
  for (const int64_t wrong : {-1, 100000}) EXPECT_THROW(thread_count(wrong), Error);
}

TEST(System, SeesMemoryComeAndGo) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the address sanitizer keeps what is freed";
#endif
  const int64_t before = resident_memory();
  EXPECT_GT(before, kMiB);
  constexpr size_t size = 200 * kMiB;
  auto block = std::make_unique<char[]>(size);
  std::memset(block.get(), 1, size);
  const int64_t during = resident_memory();
  EXPECT_GT(during, before + 150 * kMiB);
  EXPECT_GE(peak_memory(), during);
  block.reset();
  EXPECT_LT(resident_memory(), during - 150 * kMiB);
  EXPECT_GT(peak_memory(), before + 150 * kMiB);  // the peak remembers
  if (!reset_peak_memory()) GTEST_SKIP() << "this kernel does not reset the peak";
  EXPECT_LT(peak_memory(), during - 150 * kMiB);
}

// What earlier work used and the allocator kept must not count as the peak of what comes next.
TEST(System, KeptMemoryIsNotPeakMemory) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the address sanitizer keeps what is freed";
#endif
  keep_freed_memory();
  std::vector<std::unique_ptr<char[]>> blocks;
  for (int i = 0; i < 2000; ++i) {
    blocks.push_back(std::make_unique<char[]>(100 << 10));
    std::memset(blocks.back().get(), 1, 100 << 10);
  }
  const int64_t during = resident_memory();
  blocks.clear();
  if (!reset_peak_memory()) GTEST_SKIP() << "this kernel does not reset the peak";
  EXPECT_LT(peak_memory(), during - 150 * kMiB);
}

}  // namespace
}  // namespace graft
