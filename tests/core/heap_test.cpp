#include "core/heap.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

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

// Runs side by side: neither takes what the other has just given back, whichever thread frees a tensor.
TEST_F(Heap, AThreadsOwnHeapSharesNothingWithOthers) {
  const auto block = [] { return at::ones({1 << 20}, at::kByte); };
  Tensor here = block(), there, outlives;
  const void* const place = here.const_data_ptr();
  const int64_t before = heap_use().now;
  here.reset();
  std::thread([&] {
    const int64_t shared = heap_use().now;
    {
      const ThreadHeap own;
      EXPECT_EQ(heap_use().now, 0);
      there = block(), outlives = block();
      EXPECT_NE(there.const_data_ptr(), place);
      EXPECT_GE(heap_use().now, 2 << 20);
      const ThreadHeap inner;
      EXPECT_EQ(heap_use().now, 0);
    }
    EXPECT_EQ(heap_use().now, shared);
  }).join();
  EXPECT_LT(heap_use().now, before);  // `here` is gone, and the other thread's tensors do not count here
  EXPECT_EQ(block().const_data_ptr(), place);
  const void* const first = there.const_data_ptr();
  there.reset();
  std::thread([&] {
    const ThreadHeap own;  // the one that was left
    EXPECT_EQ(block().const_data_ptr(), first);
  }).join();
  EXPECT_TRUE(outlives.eq(1).all().item<bool>());
}

TEST_F(Heap, ThreadsWithoutAHeapLeftShareTheFirst) {
  const Tensor first = at::ones({1 << 20}, at::kByte);
  const int64_t before = heap_use().now;
  std::vector<std::unique_ptr<ThreadHeap>> all;
  for (int i = 0; i < 100; ++i) all.push_back(std::make_unique<ThreadHeap>());
  EXPECT_EQ(heap_use().now, before);
  const Tensor block = at::ones({1 << 20}, at::kByte);
  EXPECT_GT(heap_use().now, before);
  while (!all.empty()) all.pop_back();
  EXPECT_TRUE(block.eq(1).all().item<bool>());
}

}  // namespace
}  // namespace graft
