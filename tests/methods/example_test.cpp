// The example of docs/add-a-method.md, which the build takes from the page, stands in the table here, so that the conformance
// test runs it on every family.
#include "methods/method.h"
#include "support/support.h"

namespace graft {

extern const MethodRow kGains;

namespace testing {
namespace {

const bool added = (add_method(kGains), true);

TEST(AddAMethod, TheExampleOfThePageIsUnderTest) {
  EXPECT_TRUE(added);
  EXPECT_STREQ(find_method("gains").title, "Gains");
}

}  // namespace
}  // namespace testing
}  // namespace graft
