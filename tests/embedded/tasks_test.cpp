#include "embedded/tasks/task.h"

#include <algorithm>
#include <map>
#include <set>

#include "embedded/grammar/english.h"
#include "support/support.h"

namespace graft {
namespace {

const std::vector<Task>& tasks() {
  static const std::vector<Task> all = {describe_task({}, 1), rewrite_task({}, 1), review_task({}, 1)};
  return all;
}
const char* input_key(const Task& task) { return task.labels.empty() ? "prompt" : "text"; }
size_t words(const std::string& text) { return static_cast<size_t>(std::count(text.begin(), text.end(), ' ')) + 1; }
bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
template <class F>
void each_row(const Task& task, F f) {
  for (const auto* split : {&task.train, &task.dev, &task.test})
    for (const Json& row : *split) f(row, split == &task.train);
}

TEST(Tasks, HaveTheSizesAskedFor) {
  for (const Task& task : tasks()) {
    EXPECT_EQ(task.train.size(), 4000u) << task.name;
    EXPECT_EQ(task.dev.size(), 150u) << task.name;
    EXPECT_EQ(task.test.size(), 240u) << task.name;
  }
}

TEST(Tasks, NoInputStandsTwice) {
  for (const Task& task : tasks()) {
    std::set<std::string> inputs;
    each_row(task, [&](const Json& row, bool) { EXPECT_TRUE(inputs.insert(row.at(input_key(task))).second) << row; });
    EXPECT_EQ(inputs.size(), 4390u);
  }
}

TEST(Tasks, AreShort) {
  for (const Task& task : tasks())
    each_row(task, [&](const Json& row, bool) {
      if (!task.labels.empty()) {
        EXPECT_LE(words(row.at("text")), 45u) << row;
        return;
      }
      EXPECT_LE(words(row.at("prompt")), 30u) << row;
      EXPECT_LE(words(row.at("completion")), 30u) << row;
      EXPECT_TRUE(row.at("prompt").get<std::string>().ends_with("\n")) << row;
    });
}

TEST(Tasks, ReviewLabelsAreBalanced) {
  const Task& task = tasks()[2];
  for (const auto* split : {&task.train, &task.dev, &task.test}) {
    std::map<std::string, size_t> counts;
    for (const Json& row : *split) ++counts[row.at("label")];
    EXPECT_EQ(counts.size(), task.labels.size());
    for (const auto& label : task.labels) EXPECT_NEAR(static_cast<double>(counts[label]), static_cast<double>(split->size()) / 4, 1) << label;
  }
}

TEST(Tasks, SplitsAreShuffled) {
  const auto& test = tasks()[2].test;
  size_t in_turn = 0;
  for (size_t i = 4; i < test.size(); ++i) in_turn += test[i].at("label") == test[i - 4].at("label");
  EXPECT_LT(in_turn, test.size() / 2);
}

// The value of a slot in "name: Oak Inn; food: fish\n", "" where it is not told.
std::string slot(const std::string& prompt, const std::string& name) {
  const size_t start = prompt.find(name + ": ");
  if (start == std::string::npos) return "";
  const size_t value = start + name.size() + 2;
  return prompt.substr(value, prompt.find_first_of(";\n", value) - value);
}

TEST(Tasks, DescriptionsSayWhatTheSlotsSay) {
  const std::map<std::string, std::vector<std::string>> price = {
      {"low", {"cheap", "low-priced", "are low"}}, {"fair", {"fair", "not too expensive"}},
      {"high", {"it is expensive", "an expensive", "rather expensive", "are high"}}};
  const std::map<std::string, std::vector<std::string>> children = {{"yes", {"welcome", "good for children"}}, {"no", {"not allowed", "not for children"}}};
  const std::map<std::string, std::vector<std::string>> guests = {
      {"glad", {"love", "happy there"}}, {"bored", {"bor"}}, {"sad", {"nobody", "not come back"}}};
  const auto says = [](const auto& table, const std::string& value, const std::string& text) {
    return std::any_of(table.at(value).begin(), table.at(value).end(), [&](const std::string& s) { return has(text, s); });
  };
  size_t checked = 0;
  each_row(tasks()[0], [&](const Json& row, bool train) {
    const std::string prompt = row.at("prompt");
    std::vector<std::string> references = {row.at("completion")};
    if (!train) {
      references = row.at("references").get<std::vector<std::string>>();
      EXPECT_GE(references.size(), 2u) << row;
      EXPECT_LE(references.size(), static_cast<size_t>(kReferences)) << row;
      EXPECT_EQ(std::set<std::string>(references.begin(), references.end()).size(), references.size()) << row;
      EXPECT_EQ(references[0], row.at("completion")) << row;
    }
    for (std::string text : references) {
      ++checked;
      EXPECT_TRUE(has(text, slot(prompt, "name"))) << text << prompt;
      EXPECT_TRUE(text.ends_with(".")) << text;
      text.replace(text.find(slot(prompt, "name")), slot(prompt, "name").size(), "NAME");
      std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      for (const char* copied : {"food", "area"})
        EXPECT_TRUE(has(text, slot(prompt, copied))) << text << prompt;
      EXPECT_EQ(has(text, "serves"), !slot(prompt, "food").empty()) << text << prompt;
      for (const auto& [key, table] : {std::pair{"price", price}, {"children", children}, {"guests", guests}}) {
        const auto value = slot(prompt, key);
        for (const auto& entry : table) EXPECT_EQ(says(table, entry.first, text), entry.first == value) << text << prompt << key;
      }
    }
  });
  EXPECT_GT(checked, 5000u);
}

TEST(Tasks, SomeRestaurantsAreMetInTheTestOnly) {
  std::set<std::string> known;
  size_t unknown = 0;
  for (const Json& row : tasks()[0].train) known.insert(slot(row.at("prompt"), "name"));
  for (const Json& row : tasks()[0].test) unknown += !known.contains(slot(row.at("prompt"), "name"));
  EXPECT_GT(unknown, 20u);
  EXPECT_LT(unknown, 90u);
}

TEST(Tasks, RewritingsKeepTheSentence) {
  std::map<std::string, size_t> orders;
  each_row(tasks()[1], [&](const Json& row, bool) {
    const std::string prompt = row.at("prompt"), completion = row.at("completion");
    const std::string order = prompt.substr(0, prompt.find(':')), sentence = prompt.substr(order.size() + 2, prompt.size() - order.size() - 3);
    ++orders[order];
    EXPECT_EQ(has(sentence, " and ") && order != "past" && order != "will" && order != "we", false) << row;
    EXPECT_EQ(order == "ask", completion.starts_with("Does ") && completion.ends_with("?")) << row;
    EXPECT_EQ(order == "will", has(completion, " will ")) << row;
    EXPECT_EQ(order == "not", has(completion, " does not ")) << row;
    EXPECT_EQ(order == "we", completion.starts_with("We ")) << row;
    EXPECT_FALSE(order == "we" && (has(completion, " his ") || has(completion, " her "))) << row;
    // The last word stays: objects and times are copied.
    const auto last = [](const std::string& s) { return s.substr(s.rfind(' ') + 1, s.size() - s.rfind(' ') - 2); };
    EXPECT_TRUE(words(sentence) <= 3 || order == "past" || last(sentence) == last(completion)) << row;
  });
  EXPECT_EQ(orders.size(), 5u);
  for (const auto& [order, count] : orders) EXPECT_EQ(count, 878u) << order;
}

TEST(Tasks, AreTheSameOnEveryMachine) {
  std::string all;
  for (const Task& task : tasks()) each_row(task, [&](const Json& row, bool) { all += json_line(row) + "\n"; });
  EXPECT_EQ(hash_bytes(all), 4645355917074674880u);
  EXPECT_NE(describe_task({10, 2, 2}, 2).train, describe_task({10, 2, 2}, 1).train);
}

TEST(Tasks, RefuseMoreRowsThanThereAre) {
  Task task{.name = "coin", .metric = "accuracy"};
  const auto draw = [](Rng& rng, size_t, const std::string&) { return Json{{"text", rng.below(2) ? "head" : "tail"}}; };
  EXPECT_NE(testing::error_of([&] { fill_splits(task, {1, 1, 1}, 1, "text", draw); }, Fault::Usage).find("'coin' has too few different inputs"), std::string::npos);
}

}  // namespace
}  // namespace graft
