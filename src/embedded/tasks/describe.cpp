#include <algorithm>
#include <array>
#include <map>

#include "embedded/grammar/corpus.h"
#include "embedded/grammar/english.h"
#include "embedded/tasks/task.h"

namespace graft {
namespace {

// Slots of one restaurant; a slot that is not told is empty.
struct Inn {
  std::string name, food, area, price, children, guests;
};

using Words = std::map<std::string, std::vector<std::string>>;
const Words kPriceAdjective = {{"low", {"cheap", "cheap", "low-priced"}}, {"fair", {"fairly priced"}}, {"high", {"expensive", "expensive", "rather expensive"}}};
const Words kPriceSentence = {{"low", {"it is cheap", "the prices are low"}},
                              {"fair", {"it is not too expensive", "the prices are fair"}},
                              {"high", {"it is expensive", "the prices are high"}}};
const Words kChildren = {{"yes", {"children are welcome", "it is good for children"}}, {"no", {"children are not allowed", "it is not for children"}}};
const Words kGuests = {{"glad", {"people love it", "guests are happy there"}},
                       {"bored", {"it is a little boring", "guests are bored there"}},
                       {"sad", {"nobody likes it", "people do not come back"}}};

const std::string& pick(const Words& words, const std::string& value, Rng& rng) { return rng.pick(words.at(value)); }

// The first sentences: name, area, food and price in one of three orders.
std::string opening(const Inn& inn, Rng& rng) {
  const std::string area = inn.area.empty() ? "" : (rng.below(2) ? " by the " : " near the ") + inn.area;
  const uint64_t order = rng.below(inn.area.empty() ? 2 : 3);
  if (order == 0) {  // The Oak Inn is a cheap place by the park that serves fish.
    const std::string adjective = inn.price.empty() ? "" : pick(kPriceAdjective, inn.price, rng) + " ";
    return "the " + inn.name + " is a " + adjective + (inn.food.empty() ? "place to eat" : "place") + area + (inn.food.empty() ? "" : " that serves " + inn.food) + ".";
  }
  std::string text;
  if (order == 1) {  // The Oak Inn serves fish by the park. It is cheap.
    text = "the " + inn.name + (inn.food.empty() ? " is a place to eat" : " serves " + inn.food) + area + ".";
  } else {  // By the park you find the Oak Inn, which serves fish. It is cheap.
    text = area.substr(1) + " you find the " + inn.name + (inn.food.empty() ? "" : ", which serves " + inn.food) + ".";
  }
  return inn.price.empty() ? text : text + " " + pick(kPriceSentence, inn.price, rng) + ".";
}

std::string wording(const Inn& inn, Rng& rng) {
  std::string text = opening(inn, rng);
  std::vector<std::string> rest;
  if (!inn.children.empty()) rest.push_back(pick(kChildren, inn.children, rng));
  if (!inn.guests.empty()) rest.push_back(pick(kGuests, inn.guests, rng));
  if (rest.size() == 2 && rng.below(2)) rest = {rest[0] + ", and " + rest[1]};
  for (const auto& sentence : rest) text += " " + sentence + ".";
  return finish_text(text);
}

Inn draw_inn(Rng& rng, bool is_test) {
  const Grammar& words = prose_grammar();
  Inn inn;
  do {
    inn.name = rng.pick(words.alternatives("inn_first")) + " " + rng.pick(words.alternatives("inn_second"));
  } while (!is_test && hash_bytes(inn.name) % 5 == 0);
  std::vector<int> slots = {0, 1, 2, 3, 4};
  rng.shuffle(slots);
  slots.resize(std::array{1, 1, 2, 2, 3}[rng.below(5)]);
  const std::vector<std::string> prices = {"low", "fair", "high"}, children = {"yes", "no"}, guests = {"glad", "bored", "sad"};
  for (const int slot : slots) {
    if (slot == 0) inn.food = rng.pick(words.alternatives("menu"));
    if (slot == 1) inn.area = rng.pick(words.alternatives("area"));
    if (slot == 2) inn.price = rng.pick(prices);
    if (slot == 3) inn.children = rng.pick(children);
    if (slot == 4) inn.guests = rng.pick(guests);
  }
  return inn;
}

// name: Oak Inn; price: low; food: fish
std::string slots_text(const Inn& inn, Rng& rng) {
  std::vector<std::pair<std::string, std::string>> slots = {
      {"food", inn.food}, {"area", inn.area}, {"price", inn.price}, {"children", inn.children}, {"guests", inn.guests}};
  rng.shuffle(slots);
  std::string text = "name: " + inn.name;
  for (const auto& [slot, value] : slots)
    if (!value.empty()) text += "; " + slot + ": " + value;
  return text + "\n";
}

}  // namespace

Task describe_task(const TaskSizes& sizes, uint64_t seed) {
  Task task{.name = "describe", .metric = "bleu"};
  fill_splits(task, sizes, seed, "prompt", [](Rng& rng, size_t, const std::string& split) {
    const Inn inn = draw_inn(rng, split == "test");
    Json row = {{"prompt", slots_text(inn, rng)}, {"completion", wording(inn, rng)}};
    if (split == "train") return row;
    std::vector<std::string> references = {row["completion"]};
    for (int attempt = 0; attempt < 60 && references.size() < kReferences; ++attempt) {
      std::string other = wording(inn, rng);
      if (std::find(references.begin(), references.end(), other) == references.end()) references.push_back(std::move(other));
    }
    row["references"] = references;
    return row;
  });
  return task;
}

}  // namespace graft
