#include "core/progress.h"

#include <unistd.h>

#include <algorithm>
#include <limits>

#include "core/log.h"
#include "support/support.h"

namespace graft {
namespace {

TEST(Human, Bytes) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes(1.4 * 1024 * 1024 * 1024), "1.4 GiB");
  EXPECT_EQ(human_bytes(250.0 * 1024 * 1024), "250 MiB");
  EXPECT_EQ(human_bytes(5.0e15), "4547 TiB");
}

TEST(Human, Counts) {
  EXPECT_EQ(human_count(0), "0");
  EXPECT_EQ(human_count(999), "999");
  EXPECT_EQ(human_count(12'345), "12.3k");
  EXPECT_EQ(human_count(134'515'008), "135M");
  EXPECT_EQ(human_count(12'300'000), "12.3M");
  EXPECT_EQ(human_count(7e9), "7.0G");
}

TEST(Human, Durations) {
  EXPECT_EQ(human_duration(0.4), "0.4 s");
  EXPECT_EQ(human_duration(42.2), "42 s");
  EXPECT_EQ(human_duration(83), "1m 23s");
  EXPECT_EQ(human_duration(3599), "59m 59s");
  EXPECT_EQ(human_duration(7500), "2h 05m");
  EXPECT_EQ(human_duration(std::numeric_limits<double>::infinity()), "?");
}

// No unit shows a number that the next unit should: 60 s is a minute, 1024 KiB a MiB, 1000k a million.
TEST(Human, RoundingCarriesIntoTheNextUnit) {
  EXPECT_EQ(human_duration(9.97), "10 s");
  EXPECT_EQ(human_duration(59.7), "1m 00s");
  EXPECT_EQ(human_duration(3599.8), "1h 00m");
  EXPECT_EQ(human_count(999'960), "1.0M");
  EXPECT_EQ(human_bytes(1024 * 1024 - 1), "1.0 MiB");
}

// The tests' stderr is made a file, hence no terminal: whole lines, rarely.
TEST(Progress, WritesFewWholeLinesWhereThereIsNoTerminal) {
  const LogLevel level = log_level();
  set_log_level(LogLevel::Info);
  testing::TempFolder folder;
  ::testing::internal::CaptureStderr();
  {
    Progress bar("train", 1000);
    for (int i = 1; i <= 1000; ++i) bar.update(i, "loss 1.5");
    bar.finish();
    bar.finish();
  }
  const std::string out = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 1) << out;
  EXPECT_NE(out.find("train 100 %  1000/1000  loss 1.5  in "), std::string::npos) << out;
  EXPECT_EQ(out.find('\r'), std::string::npos);
  EXPECT_EQ(out.find('\033'), std::string::npos);
  set_log_level(level);
}

TEST(Progress, QuietAndUnusedBarsSayNothing) {
  ::testing::internal::CaptureStderr();
  {
    Progress quiet("a", 10, true);
    quiet.update(10);
    quiet.finish();
    Progress unused("b", 0);
    unused.finish();
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

TEST(Progress, UnknownTotalDividesByNothing) {
  ::testing::internal::CaptureStderr();
  {
    Progress bar("read", 0);
    bar.update(5);
    bar.finish();
  }
  const std::string out = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(out.find("nan"), std::string::npos) << out;
  EXPECT_EQ(out.find("inf"), std::string::npos) << out;
}

}  // namespace
}  // namespace graft
