#include "core/config.h"

#include "support/support.h"

namespace graft {
namespace {

struct Sample : Config {
  int64_t r = 8;
  double alpha = 8;
  bool flag = false;
  std::string kind = "linear";
  std::optional<int64_t> size;
  Json targets;
  void visit(Fields& f) override {
    f("r", r, "rank", at_least(1));
    f("alpha", alpha, "scale", above(0));
    f("flag", flag, "a switch");
    f("kind", kind, "a choice", one_of({"linear", "cosine"}));
    f("size", size, "optional");
    f("targets", targets, "list or text");
  }
};

TEST(Config, RoundTripsThroughJson) {
  Sample a, b;
  a.r = 3;
  a.alpha = 0.1;
  a.size = 5;
  a.targets = {"q_proj", "v_proj"};
  from_json(b, to_json(a), "sample");
  EXPECT_EQ(to_json(a), to_json(b));
  EXPECT_EQ(b.size, 5);
}

TEST(Config, ReadsCommandLineText) {
  Sample s;
  set_from_text(s, "r", "16", "sample");
  set_from_text(s, "flag", "true", "sample");
  set_from_text(s, "kind", "cosine", "sample");
  set_from_text(s, "targets", "q_proj,v_proj", "sample");
  EXPECT_EQ(s.r, 16);
  EXPECT_TRUE(s.flag);
  EXPECT_EQ(s.kind, "cosine");
  EXPECT_EQ(s.targets, Json({"q_proj", "v_proj"}));
  set_from_text(s, "targets", "all-linear", "sample");
  EXPECT_EQ(s.targets, "all-linear");
}

TEST(Config, ErrorsNameKeyValueAndWhatIsAllowed) {
  Sample s;
  const auto error = [&](const Json& json) { return testing::error_of([&] { from_json(s, json, "sample"); }, Fault::Usage); };
  EXPECT_NE(error({{"alhpa", 1}}).find("did you mean 'alpha'"), std::string::npos);
  EXPECT_NE(error({{"r", 0}}).find("r must be at least 1 but is 0"), std::string::npos);
  EXPECT_NE(error({{"r", "x"}}).find("r must be integer but is \"x\""), std::string::npos);
  EXPECT_NE(error({{"kind", "wavy"}}).find("linear, cosine"), std::string::npos);
  EXPECT_NE(error({{"alpha", 0}}).find("above 0"), std::string::npos);
  EXPECT_EQ(s.r, 8);
}

TEST(Json, RefusesDuplicateKeys) {
  EXPECT_NE(testing::error_of([] { parse_json(R"({"a":1,"a":2})", "x.json"); }, Fault::Input).find("'a' stands twice"), std::string::npos);
  EXPECT_NE(testing::error_of([] { parse_json("{", "x.json"); }, Fault::Input).find("x.json is not valid JSON"), std::string::npos);
  EXPECT_EQ(parse_json(R"([{"a":1},{"a":2}])", "x")[1]["a"], 2);
}

}  // namespace
}  // namespace graft
