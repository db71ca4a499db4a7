#include "core/heap.h"

#include <gtest/gtest.h>

#include "core/rng.h"
#include "core/torch.h"

namespace graft {
namespace {

class Heap : public ::testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__)
    GTEST_SKIP() << "the address sanitizer has a heap of its own";
#endif
    use_own_heap();
  }
};

TEST_F(Heap, BlocksNeverOverlapAndKeepTheirContents) {
  const int64_t before = heap_use().now;
  Rng rng(3);
  std::vector<Tensor> live;
  std::vector<int> marks;
  for (int round = 0; round < 2000; ++round) {
    if (live.empty() || rng.below(5) < 3) {
      const int mark = static_cast<int>(rng.below(1 << 20));
      live.push_back(at::full({static_cast<int64_t>(4096 + rng.below(100'000))}, mark, at::kInt));
      marks.push_back(mark);
    } else {
      const auto at = static_cast<int64_t>(rng.below(live.size()));
      EXPECT_TRUE(live[at].eq(marks[at]).all().item<bool>());
      live.erase(live.begin() + at);
      marks.erase(marks.begin() + at);
    }
    if (round % 500 == 499) release_free_heap();  // gaps lose their contents, live blocks do not
  }
  for (size_t i = 0; i < live.size(); ++i) EXPECT_TRUE(live[i].eq(marks[i]).all().item<bool>());
  EXPECT_GT(heap_use().now, before);
  live.clear();
  EXPECT_EQ(heap_use().now, before);
}

TEST_F(Heap, FreedNeighboursBecomeOneGapThatIsUsedAgain) {
  const auto block = [] { return at::empty({1 << 20}, at::kByte); };
  std::vector<Tensor> row;
  for (int i = 0; i < 8; ++i) row.push_back(block());
  const int64_t touched = heap_use().touched;
  row.erase(row.begin() + 2, row.begin() + 6);
  const Tensor large = at::empty({4 << 20}, at::kByte);  // fits where four lay
  EXPECT_EQ(heap_use().touched, touched);
}

TEST_F(Heap, PeakIsTheMostThatLivedAtOnce) {
  reset_heap_peak();
  const HeapUse before = heap_use();
  for (int i = 0; i < 3; ++i) at::empty({8 << 20}, at::kByte);
  const int64_t grown = heap_use().peak - before.now;
  EXPECT_GE(grown, 8 << 20);
  EXPECT_LT(grown, 9 << 20);
}

}  // namespace
}  // namespace graft
