// The order of a method's runs: halving, a wider grid, final runs.
#include "compare/course.h"

#include <limits>

#include "support/support.h"

namespace graft {
namespace {

constexpr double kNone = -std::numeric_limits<double>::infinity();

std::vector<double> rates(const Course& course) {
  std::vector<double> all;
  for (auto& run : course.runs()) all.push_back(run.lr);
  return all;
}

TEST(Course, HalvesTheRatesAndEndsWithFinalRunsOfTheBest) {
  Course course({1, 2, 4, 8, 16}, {0.25, 0.5, 1.0}, {7, 9});
  EXPECT_EQ(rates(course), (std::vector<double>{1, 2, 4, 8, 16}));
  EXPECT_EQ(course.runs()[0].rung, 0.25);
  EXPECT_DOUBLE_EQ(course.budgets_ahead(), 3 * 0.25 + 2 * 0.5 + 2);
  course.advance({5, 4, 9, 8, kNone});
  EXPECT_EQ(rates(course), (std::vector<double>{4, 8, 1}));  // by score
  EXPECT_EQ(course.runs()[0].rung, 0.5);
  course.advance({1, 2, 0});
  EXPECT_EQ(rates(course), (std::vector<double>{8, 4}));
  EXPECT_DOUBLE_EQ(course.budgets_ahead(), 2);
  course.advance({3, 4});
  ASSERT_EQ(course.runs().size(), 2u);
  EXPECT_TRUE(course.runs()[0].final && course.runs()[1].final);
  EXPECT_EQ(course.budgets_ahead(), 0);
  EXPECT_EQ(course.runs()[0].lr, 4);
  EXPECT_EQ(course.runs()[1].seed, 9);
  course.advance({kNone, kNone});
  EXPECT_TRUE(course.runs().empty());
  EXPECT_EQ(course.stages().size(), 5u);
}

TEST(Course, WidensTheGridAtItsEdges) {
  for (const bool better : {false, true}) {
    Course high({1, 2, 4}, {1.0}, {1}), low({1, 2, 4}, {1.0}, {1});
    high.advance({1, 2, 3});
    low.advance({3, 2, 1});
    EXPECT_TRUE(high.widening() && low.widening());
    EXPECT_EQ(rates(high), std::vector<double>{8});
    EXPECT_EQ(rates(low), std::vector<double>{0.5});
    EXPECT_FALSE(high.runs()[0].final);
    high.advance({better ? 4.0 : 2.0});
    EXPECT_EQ(rates(high), std::vector<double>{better ? 8.0 : 4.0});
    EXPECT_TRUE(high.runs()[0].final);
  }
}

TEST(Course, ARateBeyondTheGridGoesOnAsIfItHadBeenInIt) {
  // Its scores by rung, and the rate that is chosen.
  const std::vector<std::pair<std::vector<double>, double>> cases{{{5}, 16}, {{kNone}, 16}, {{5.5, 2}, 16}, {{5.5, 2.5, 8.5}, 16}, {{5.5, 2.5, 9.5}, 32}};
  for (auto& [scores, chosen] : cases) {
    Course course({1, 2, 4, 8, 16}, {0.25, 0.5, 1.0}, {7});
    course.advance({1, 2, 5, 6, 7});
    course.advance({3, 2, 1});
    course.advance({9, 8});
    for (size_t rung = 0; rung < scores.size(); ++rung) {
      EXPECT_TRUE(course.widening());
      EXPECT_EQ(rates(course), std::vector<double>{32});
      EXPECT_EQ(course.runs()[0].rung, (std::vector<double>{0.25, 0.5, 1.0})[rung]);
      EXPECT_EQ(course.budgets_ahead(), 1);
      course.advance({scores[rung]});
    }
    EXPECT_FALSE(course.widening());
    ASSERT_EQ(course.runs().size(), 1u);
    EXPECT_TRUE(course.runs()[0].final);
    EXPECT_EQ(course.runs()[0].lr, chosen);
  }
}

TEST(Course, OfOneRateOrNoScore) {
  Course one({3}, {1.0}, {1, 2});
  one.advance({kNone});
  EXPECT_EQ(rates(one), (std::vector<double>{3, 3}));
  Course none({1, 2, 4}, {0.5, 1.0}, {1});
  none.advance({kNone, kNone, kNone});
  EXPECT_EQ(rates(none), (std::vector<double>{1, 2}));  // smaller rates are the safer ones
}

}  // namespace
}  // namespace graft
