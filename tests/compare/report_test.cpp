#include "compare/report.h"

#include <regex>
#include <set>

#include "compare/report_fixture.h"
#include "compare/report_text.h"
#include "compare/results.h"
#include "compare/svg.h"
#include "support/support.h"

namespace graft {
namespace {
using testing::FixtureWriter;
using testing::TempFolder;

size_t count_of(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++n;
  return n;
}
bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Every element that opens closes, in the right order: enough of a parser for what the report writes.
std::string unbalanced(const std::string& html) {
  static const std::set<std::string> void_elements = {"meta", "wbr", "br"};
  std::vector<std::string> open;
  for (size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    const size_t end = html.find('>', at);
    if (end == std::string::npos) return "no end of a tag";
    const std::string tag = html.substr(at + 1, end - at - 1);
    if (tag[0] == '!' || tag.back() == '/') continue;
    const std::string name = tag.substr(tag[0] == '/', tag.find_first_of(" >", 1) - (tag[0] == '/'));
    if (void_elements.contains(name)) continue;
    if (tag[0] != '/') {
      open.push_back(name);
    } else {
      if (open.empty() || open.back() != name) return "</" + name + "> closes " + (open.empty() ? "nothing" : open.back());
      open.pop_back();
    }
  }
  return open.empty() ? "" : open.back() + " stays open";
}

testing::Fixture eight_on_few_items() {
  testing::Fixture f = testing::eight_methods();
  f.items = 25;
  f.trials = 3;
  return f;
}

class ReportOfEight : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TempFolder;
    FixtureWriter writer(*folder_ / "out", eight_on_few_items());
    writer.write();
    writer.spoil("full", 2, "diverged", "loss is not finite at step 61");
    writer.spoil("bitfit", 1, "failed", "<script>alert(1)</script> & \"row 17\"");
    write_report(*folder_ / "out");
  }
  static void TearDownTestSuite() { delete folder_; }
  static std::string file(const std::string& name) { return read_file(*folder_ / ("out/" + name)); }
  static TempFolder* folder_;
};
TempFolder* ReportOfEight::folder_ = nullptr;

TEST_F(ReportOfEight, PageIsWholeAndStandsAlone) {
  const std::string html = file("report.html");
  EXPECT_EQ(unbalanced(html), "");
  for (const char* foreign : {"http://", "https://", "src=", "@import", "url(", "<link", "<script"})
    EXPECT_FALSE(has(html, foreign)) << foreign;
  const std::vector<std::string> sections = {"answer", "ranking", "intervals",  "pareto",   "pairs",   "rates",
                                             "losses", "costs",   "forgetting", "failures", "samples", "protocol"};
  size_t before = 0;
  for (const std::string& id : sections) {
    const size_t at = html.find("id=\"" + id + "\"");
    ASSERT_NE(at, std::string::npos) << id;
    EXPECT_GT(at, before) << id;
    before = at;
  }
  EXPECT_FALSE(std::regex_search(html, std::regex("[=\",> ](nan|inf)[\",< ]"))) << "a number that is not finite was drawn";
}

TEST_F(ReportOfEight, TextOfOthersIsEscaped) {
  const std::string html = file("report.html");
  EXPECT_TRUE(has(html, "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;row 17&quot;"));
  EXPECT_TRUE(has(html, "coffee shop &lt;near&gt; the river &amp; it&#39;s"));
  EXPECT_FALSE(has(file("report.md"), "<script"));
}

TEST_F(ReportOfEight, ShowsEveryMethodAndTheLostRuns) {
  const std::string html = file("report.html"), md = file("report.md");
  const Json results = read_json(*folder_ / "out/results.json");
  EXPECT_EQ(results["methods"].size(), 8u);
  for (const Json& m : results["methods"]) EXPECT_GE(count_of(html, ">" + m["name"].get<std::string>() + "<"), 6u) << m["name"];
  EXPECT_TRUE(has(html, "loss is not finite at step 61"));
  EXPECT_TRUE(has(html, "2 of 3"));
  EXPECT_TRUE(has(md, "loss is not finite at step 61"));
  EXPECT_TRUE(has(md, escape_html(results["recommendation"]["headline"].get<std::string>()).substr(0, 10)));
  EXPECT_EQ(results, collect_results(*folder_ / "out")) << "results.json must read back as it was";
}

TEST_F(ReportOfEight, CsvHasOneRowPerRun) {
  const std::string csv = file("results.csv");
  const Json results = read_json(*folder_ / "out/results.json");
  EXPECT_EQ(count_of(csv, "\r\n"), results["runs"].size() + 1);
  EXPECT_TRUE(csv.starts_with("label,method,stage,seed,lr,status,reason,rung,dev_bleu,dev_loss,test_bleu,test_loss,"));
  EXPECT_TRUE(has(csv, "\"<script>alert(1)</script> & \"\"row 17\"\"\""));
}

TEST(Report, NothingFailedAndNothingFinished) {
  TempFolder folder;
  testing::Fixture f = eight_on_few_items();
  f.methods.resize(2);
  f.methods.erase(f.methods.begin());
  f.methods[0].best_lr = 1e-3 * std::sqrt(10.0);  // no rate of the grid diverges
  FixtureWriter writer(folder / "out", f);
  writer.write();
  write_report(folder / "out");
  EXPECT_TRUE(has(read_file(folder / "out/report.html"), "None failed."));
  EXPECT_EQ(unbalanced(read_file(folder / "out/report.html")), "");
  for (size_t s = 0; s < 3; ++s) writer.spoil("lora", s, "failed", "out of memory");
  write_report(folder / "out");
  const std::string html = read_file(folder / "out/report.html");
  EXPECT_TRUE(has(html, "nothing to recommend"));
  EXPECT_EQ(count_of(html, "out of memory"), 3u);
  EXPECT_EQ(unbalanced(html), "");
}

TEST(Report, BarePlanWithoutRuns) {
  TempFolder folder;
  write_json(folder / "comparison.json", {{"metrics", {"exact_match"}}, {"methods", {{{"name", "lora"}}, {{"name", "full"}}}}});
  write_report(folder.path());
  const std::string html = read_file(folder / "report.html");
  EXPECT_EQ(unbalanced(html), "");
  EXPECT_TRUE(has(html, "None failed."));
}

TEST(ReportText, Numbers) {
  EXPECT_EQ(compact_text(4884480), "4.88 M");
  EXPECT_EQ(compact_text(999.6), "1.00 k");
  EXPECT_EQ(compact_text(512), "512");
  EXPECT_EQ(bytes_text(1536), "1.50 KiB");
  EXPECT_EQ(seconds_text(0.148), "148 ms");
  EXPECT_EQ(seconds_text(250), "4 min 10 s");
  EXPECT_EQ(seconds_text(7500), "2 h 05 min");
  EXPECT_EQ(rate_text(2e-4), "2e-4");
  EXPECT_EQ(rate_text(3.1623e-4), "3.16e-4");
  EXPECT_EQ(rate_text(0.3), "0.3");
  EXPECT_EQ(p_equation(0.0004), "p < 0.001");
  EXPECT_EQ(p_text(0.0312), "0.031");
  EXPECT_EQ(percent_text(1.0), "100 %");
  EXPECT_EQ(percent_text(0.000086), "0.0086 %");
  EXPECT_EQ(fixed_text(-0.001, 2), "0.00");
  EXPECT_EQ(signed_text(0.5, 1), "+0.5");
  EXPECT_EQ(short_text("häuser", 2), "hä…");
  EXPECT_EQ(list_text({"a", "b", "c"}), "a, b and c");
  EXPECT_EQ(list_text({"a", "b", "c", "d"}, 2), "a, b and 2 more");
}

TEST(Svg, TicksAreRoundAndInside) {
  EXPECT_EQ(Scale(0, 1, 0, 100).ticks(5), (std::vector<double>{0, 0.2, 0.4, 0.6000000000000001, 0.8, 1}));
  EXPECT_EQ(tick_labels(Scale(0.97, 1.62, 0, 1).ticks(7), false).front(), "1.0");
  const std::vector<std::string> powers = {"10 k", "100 k", "1 M", "10 M", "100 M"};
  EXPECT_EQ(tick_labels(Scale(9e3, 1.5e8, 0, 1, true).ticks(5), true), powers);
  const Scale flat(3, 3, 0, 100);
  EXPECT_NEAR(flat(3), 50, 1e-9);
}

TEST(Svg, PlacedLabelsNeverOverlap) {
  LabelPlacer placer({0, 0, 300, 300});
  std::vector<Box> boxes;
  for (int i = 0; i < 60; ++i)
    if (const auto box = placer.place(150 + i % 8, 150 + i / 8, 60, 14)) boxes.push_back(*box);
  EXPECT_GT(boxes.size(), 8u);
  EXPECT_LT(boxes.size(), 60u);  // the others have no room and say so
  for (size_t a = 0; a < boxes.size(); ++a)
    for (size_t b = 0; b < a; ++b) EXPECT_FALSE(boxes[a].overlaps(boxes[b]));
}

TEST(Svg, EscapesAndDropsControlCharacters) {
  EXPECT_EQ(escape_html("<a href='x'>&\"\x01\n"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;\xEF\xBF\xBD\n");
}

}  // namespace
}  // namespace graft
