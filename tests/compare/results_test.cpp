#include "compare/results.h"

#include "compare/report_fixture.h"
#include "compare/stats.h"
#include "support/support.h"

namespace graft {
namespace {
using testing::eight_methods;
using testing::Fixture;
using testing::FixtureMethod;
using testing::FixtureWriter;
using testing::TempFolder;

const Json& method(const Json& results, const std::string& name) {
  for (const Json& m : results["methods"])
    if (m["name"] == name) return m;
  ADD_FAILURE() << "no method " << name;
  return results;
}

std::string all_text(const Json& list) {
  return list.dump();
}

// Two methods, few items: quick, and enough for the paths of bad input.
Fixture two_methods() {
  Fixture f = eight_methods();
  f.methods = {f.methods[1], f.methods[7]};
  f.items = 30;
  f.trials = 3;
  return f;
}

TEST(Results, WinnerIsFoundAndRanksFollow) {
  TempFolder folder;
  Fixture f = eight_methods();
  f.methods = {f.methods[1], f.methods[4], f.methods[7]};  // lora, ia3, prompt tuning: far apart
  f.seeds = 4;
  f.items = 80;
  FixtureWriter(folder / "out", f).write();
  const Json r = collect_results(folder / "out");
  EXPECT_EQ(r["recommendation"]["verdict"], "winner") << r["recommendation"].dump(1);
  EXPECT_EQ(r["recommendation"]["pick"], "lora");
  EXPECT_EQ(r["methods"][0]["name"], "lora");
  EXPECT_EQ(r["methods"][2]["name"], "prompt_tuning");
  EXPECT_EQ(method(r, "lora")["metrics"]["bleu"]["rank"], 1);
  EXPECT_EQ(method(r, "prompt_tuning")["metrics"]["loss"]["rank"], 3);  // lower is better there
  EXPECT_EQ(r["pairs"].size(), 6u);
  std::vector<double> p, adjusted;
  for (const Json& pair : r["pairs"])
    if (pair["metric"] == "bleu") p.push_back(pair["p"]), adjusted.push_back(pair["p_holm"]);
  EXPECT_EQ(adjusted, holm(p));
  EXPECT_NE(adjusted, p);
  EXPECT_TRUE(r["problems"].empty()) << r["problems"].dump(1);
}

TEST(Results, NumbersEqualThoseOfTheRuns) {
  TempFolder folder;
  FixtureWriter writer(folder / "out", two_methods());
  writer.write();
  const Json r = collect_results(folder / "out");
  for (const std::string metric : {"bleu", "loss"}) {
    std::vector<double> stated;
    for (size_t s = 0; s < 3; ++s) stated.push_back(read_json(writer.final_folder("lora", s) / "result.json")["test"][metric]);
    const Json& e = method(r, "lora")["metrics"][metric];
    EXPECT_NEAR(e["mean"].get<double>(), mean_of(stated), 1e-9);
    EXPECT_NEAR(e["sd"].get<double>(), sd_of(stated), 1e-9);
    EXPECT_LT(e["ci95"][0].get<double>(), e["mean"].get<double>());
    EXPECT_GT(e["ci95"][1].get<double>(), e["mean"].get<double>());
    ASSERT_EQ(e["values"].size(), 3u);
    EXPECT_NEAR(e["values"][2]["value"].get<double>(), stated[2], 1e-9);
  }
  EXPECT_NEAR(method(r, "lora")["forgetting"]["increase"].get<double>(), 0.06, 0.03);
  EXPECT_EQ(method(r, "lora")["costs"]["trainable_parameters"], 4884480);
}

TEST(Results, SameDataGivesTies) {
  TempFolder folder;
  Fixture f = two_methods();
  f.methods[1] = f.methods[0];
  f.methods[1].label = "twin";
  f.methods[1].seconds_per_step *= 0.5;  // equal quality, half the time
  FixtureWriter(folder / "out", f).write();
  const Json r = collect_results(folder / "out");
  EXPECT_EQ(r["recommendation"]["verdict"], "tied");
  EXPECT_EQ(r["recommendation"]["tied"].size(), 2u);
  EXPECT_EQ(r["recommendation"]["pick"], "twin");
  EXPECT_EQ(method(r, "lora")["metrics"]["bleu"]["rank"], 1);
  EXPECT_EQ(method(r, "twin")["metrics"]["bleu"]["rank"], 1);
}

TEST(Results, TuningCurveChosenRateAndWidening) {
  TempFolder folder;
  Fixture f = two_methods();
  f.methods[0].best_lr = f.methods[0].default_lr * std::sqrt(10.0);  // the edge of a grid of three
  FixtureWriter(folder / "out", f).write();
  const Json r = collect_results(folder / "out");
  const Json& t = method(r, "lora")["tuning"];
  EXPECT_EQ(t["trials"], 4);
  EXPECT_EQ(t["widened"], true);
  EXPECT_EQ(t["at_edge"], false);
  EXPECT_NEAR(method(r, "lora")["lr"].get<double>(), f.methods[0].best_lr, 1e-9);
  EXPECT_EQ(method(r, "prompt_tuning")["tuning"]["widened"], false);
  EXPECT_GT(t["points"].size(), 4u);  // early rungs too
  EXPECT_GT(t["seconds"].get<double>(), 0);
}

TEST(Results, LossCurvesAreBinnedMeans) {
  TempFolder folder;
  FixtureWriter writer(folder / "out", two_methods());
  writer.write();
  for (size_t s = 0; s < 3; ++s) {
    std::string rows;
    for (int step = 1; step <= 160; ++step) rows += json_line({{"step", step}, {"loss", 10.0 + static_cast<double>(s)}}) + "\n";
    write_file(writer.final_folder("lora", s) / "metrics.jsonl", rows + "{\"step\":160,\"eval_loss\":99}\n{\"step\":161,\"lo");
  }
  const Json r = collect_results(folder / "out");
  const Json& curve = method(r, "lora")["curve"];
  ASSERT_EQ(curve["step"].size(), 80u);
  for (const Json& v : curve["mean"]) EXPECT_DOUBLE_EQ(v.get<double>(), 11.0);
  EXPECT_EQ(curve["seeds"].size(), 3u);
  EXPECT_TRUE(r["problems"].empty()) << r["problems"].dump(1);  // the cut last line is what a killed run leaves
}

TEST(Results, LostRunsAreCountedAndNamed) {
  TempFolder folder;
  FixtureWriter writer(folder / "out", two_methods());
  writer.write();
  writer.spoil("lora", 1, "diverged", "loss is not finite at step 61");
  const Json r = collect_results(folder / "out");
  EXPECT_EQ(method(r, "lora")["final"]["done"], 2);
  EXPECT_EQ(method(r, "lora")["final"]["lost"][0]["reason"], "loss is not finite at step 61");
  EXPECT_EQ(method(r, "lora")["metrics"]["bleu"]["values"].size(), 2u);
  EXPECT_NE(all_text(r["recommendation"]["uncertainty"]).find("Final runs were lost: lora (1 of 3)"), std::string::npos);
}

TEST(Results, BrokenFoldersAreProblemsNotErrors) {
  TempFolder folder;
  FixtureWriter writer(folder / "out", two_methods());
  writer.write();
  write_file(writer.final_folder("lora", 0) / "result.json", "{\"method\": \"lora\", ");
  std::filesystem::remove(writer.final_folder("lora", 1) / "items.jsonl");
  make_folder(folder / "out/runs/lora/empty");
  make_folder(folder / "out/runs/other/trial");
  write_json(folder / "out/runs/other/trial/result.json",
             {{"method", "other"}, {"stage", "final"}, {"seed", 0}, {"status", "done"}});
  // One item less than everybody else.
  const auto short_items = writer.final_folder("prompt_tuning", 0) / "items.jsonl";
  std::string text = read_file(short_items);
  text.resize(text.rfind('\n', text.size() - 2) + 1);
  write_file(short_items, text);
  // NaN as Python writes it is no JSON.
  write_file(writer.final_folder("prompt_tuning", 1) / "result.json", "{\"test\": {\"bleu\": NaN}}");
  const Json r = collect_results(folder / "out");
  EXPECT_EQ(method(r, "lora")["metrics"]["bleu"]["values"].size(), 1u);
  EXPECT_TRUE(method(r, "lora")["metrics"]["bleu"]["sd"].is_null());
  EXPECT_EQ(method(r, "prompt_tuning")["metrics"]["loss"]["values"].size(), 1u);
  const std::string problems = all_text(r["problems"]);
  for (const char* part :
       {"final-s0", "no item scores", "'other' is not a method", "29 items by loss, the others 30", "prompt_tuning/final-s1"})
    EXPECT_NE(problems.find(part), std::string::npos) << part << "\n" << problems;
  size_t missing = 0, broken = 0;
  for (const Json& run : r["runs"]) missing += run["status"] == "missing", broken += run["status"] == "broken";
  EXPECT_EQ(missing, 1u);
  EXPECT_EQ(broken, 2u);
}

TEST(Results, ValuesThatAreNotFiniteAreLeftOut) {
  TempFolder folder;
  FixtureWriter writer(folder / "out", two_methods());
  writer.write();
  const auto path = writer.final_folder("lora", 2) / "result.json";
  Json result = read_json(path);
  result["test"]["loss"] = nullptr;  // how JSON says NaN
  write_json(path, result);
  const Json r = collect_results(folder / "out");
  EXPECT_EQ(method(r, "lora")["metrics"]["loss"]["values"].size(), 2u);
  EXPECT_EQ(method(r, "lora")["metrics"]["bleu"]["values"].size(), 3u);
  EXPECT_NE(all_text(r["problems"]).find("test loss is not a finite number"), std::string::npos);
}

TEST(Results, StatedValueThatItemsContradictIsReported) {
  TempFolder folder;
  FixtureWriter writer(folder / "out", two_methods());
  writer.write();
  const auto path = writer.final_folder("lora", 2) / "result.json";
  Json result = read_json(path);
  result["test"]["bleu"] = 99.0;
  write_json(path, result);
  const Json r = collect_results(folder / "out");
  EXPECT_NE(all_text(r["problems"]).find("says test bleu 99"), std::string::npos);
  EXPECT_LT(method(r, "lora")["metrics"]["bleu"]["mean"].get<double>(), 80);
}

TEST(Results, OneSeedHasNoSpread) {
  TempFolder folder;
  Fixture f = two_methods();
  f.seeds = 1;
  f.items = 20;
  FixtureWriter(folder / "out", f).write();
  const Json r = collect_results(folder / "out");
  EXPECT_TRUE(method(r, "lora")["metrics"]["bleu"]["sd"].is_null());
  EXPECT_TRUE(method(r, "lora")["metrics"]["bleu"]["ci95"].is_array());
  EXPECT_NE(all_text(r["recommendation"]["uncertainty"]).find("one seed per method"), std::string::npos);
}

TEST(Results, WhatIsDetectableIsNoNumberBeyondAllMethods) {
  for (const bool apart : {false, true}) {
    TempFolder folder;
    Fixture f = two_methods();
    f.methods[0].quality = 0.1;
    f.methods[1].quality = apart ? 0.6 : 0.1;
    FixtureWriter(folder / "out", f).write();
    const std::string text = all_text(collect_results(folder / "out")["recommendation"]["uncertainty"]);
    EXPECT_NE(text.find("4 of 5 such comparisons"), std::string::npos) << text;
    EXPECT_EQ(text.find("(more than any two methods here lie apart") == std::string::npos, apart) << text;
  }
}

TEST(Results, OneMethodAndNoneFinished) {
  TempFolder folder;
  Fixture f = two_methods();
  f.methods.resize(1);
  FixtureWriter writer(folder / "out", f);
  writer.write();
  Json r = collect_results(folder / "out");
  EXPECT_EQ(r["recommendation"]["verdict"], "single");
  EXPECT_TRUE(r["pairs"].empty());
  for (size_t s = 0; s < 3; ++s) writer.spoil("lora", s, "failed", "out of memory");
  r = collect_results(folder / "out");
  EXPECT_EQ(r["recommendation"]["verdict"], "none");
  EXPECT_TRUE(r["recommendation"]["pick"].is_null());
  EXPECT_EQ(r["methods"][0]["metrics"]["bleu"]["rank"], 0);
}

TEST(Results, WithoutItemsTheRunsCount) {
  TempFolder folder;
  FixtureWriter writer(folder / "out", two_methods());
  writer.write();
  for (const std::string label : {"lora", "prompt_tuning"})
    for (size_t s = 0; s < 3; ++s) std::filesystem::remove(writer.final_folder(label, s) / "items.jsonl");
  const Json r = collect_results(folder / "out");
  EXPECT_EQ(method(r, "lora")["metrics"]["bleu"]["values"].size(), 3u);
  EXPECT_NE(all_text(r["problems"]).find("bleu: no item scores"), std::string::npos);
}

TEST(Results, PlanDecidesWhichFoldersCount) {
  TempFolder folder;
  FixtureWriter writer(folder / "out", two_methods());
  writer.write();
  Json comparison = writer.comparison();
  comparison["runs"] = Json::array();
  for (const std::string label : {"lora", "prompt_tuning"})
    for (size_t s = 0; s < 2; ++s)
      comparison["runs"].push_back(
          {{"folder", "runs/" + label + "/final-s" + std::to_string(s)}, {"label", label}, {"stage", "final"}});
  comparison["runs"].push_back(
      {{"folder", "runs/lora/final-s7"}, {"label", "lora"}, {"stage", "final"}, {"seed", 7}, {"lr", 1e-3}});
  write_json(folder / "out/comparison.json", comparison);
  const Json r = collect_results(folder / "out");
  EXPECT_EQ(r["runs"].size(), 5u);
  EXPECT_EQ(method(r, "lora")["metrics"]["bleu"]["values"].size(), 2u);
  EXPECT_EQ(method(r, "lora")["final"]["planned"], 3);
  EXPECT_NE(all_text(r["problems"]).find("belong to an earlier plan"), std::string::npos);
  EXPECT_NE(all_text(r["recommendation"]["uncertainty"]).find("1 planned run has not finished"), std::string::npos);
}

TEST(Results, NotAComparison) {
  TempFolder folder;
  EXPECT_NE(testing::error_of([&] { collect_results(folder / "nowhere"); }, Fault::Input).find("comparison.json"),
            std::string::npos);
  write_json(folder / "comparison.json", {{"title", "x"}});
  EXPECT_NE(testing::error_of([&] { collect_results(folder.path()); }, Fault::Input).find("names no metric"), std::string::npos);
  write_json(folder / "comparison.json", {{"metrics", {"bleu"}}, {"methods", 3}, {"data", "x"}, {"base", {1, 2}}});
  EXPECT_EQ(collect_results(folder.path())["recommendation"]["verdict"], "none");
}

}  // namespace
}  // namespace graft
