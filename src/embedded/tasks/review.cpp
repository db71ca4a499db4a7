#include "embedded/grammar/corpus.h"
#include "embedded/grammar/english.h"
#include "embedded/grammar/rules.h"
#include "embedded/tasks/task.h"

namespace graft {
namespace {

// Praise, blame and neither. Praise may use words of blame and the other way round, and plain sentences use both, so
// that single words do not settle the label.
const std::string_view kReviewRules = R"(
praise = the [aspect] was (/very/really) [good_food]. | the [aspect] was not [bad_food] (/at all). | the [server] was [good_server]. | the [server] was never [bad_server]. | the room was [good_room]. | the room was neither {x:bad_room} nor {y:bad_room!x}.
  | I liked the [aspect]. | everybody loved the [aspect]. | nobody found the [aspect] [bad_food]. | I could not stop eating the [aspect]. | we had feared [bad_food] [menu], but we were wrong. | no other [aspect] could be better. | my [family] did not leave any [aspect].
blame = the [aspect] was (/very/rather) [bad_food]. | the [aspect] was not [good_food] (/at all). | the [server] was [bad_server]. | the [server] was never [good_server]. | the room was [bad_room]. | the room was neither {v:good_room} nor {w:good_room!v}.
  | I did not like the [aspect]. | nobody loved the [aspect]. | hardly anybody found the [aspect] [good_food]. | I could not eat the [aspect]. | we had hoped for [good_food] [menu], but we were wrong. | any other [aspect] would be better. | my [family] left all the [aspect].
fact = we had [menu] and [drink_here]. | our table stood by the window. | it cost [number] coins. | the [server] wore a [colour] [clothing]. | it was a [cold_warm] [day_part]. | we came by the [good_or_bad] road. | my [family] read an old book. | on the wall was a [good_or_bad] picture of a [animal].
  | they open at [small_number]. | we talked about our [good_or_bad] [pet]. | the [server] asked for our names. | we sat near a [good_or_bad] stove.
cold_warm = cold | warm | hot | dark | bright | quiet
good_or_bad = good | bad | old | dirty | clean | pretty | dark | slow | wonderful | terrible
)";

const Grammar& review_grammar() {
  static const Grammar grammar({kWordRules, kTownRules, kNumberRules, kReviewRules});
  return grammar;
}

}  // namespace

Task review_task(const TaskSizes& sizes, uint64_t seed) {
  Task task{.name = "review", .metric = "accuracy", .labels = {"good", "bad", "mixed", "plain"}};
  fill_splits(task, sizes, seed, "text", [&labels = task.labels](Rng& rng, size_t index, const std::string&) {
    const size_t label = index % labels.size();
    std::vector<std::string> rules;
    if (label == 0) rules = {"praise", rng.below(2) ? "praise" : "fact"};
    if (label == 1) rules = {"blame", rng.below(2) ? "blame" : "fact"};
    if (label == 2) rules = {"praise", "blame"};
    if (label == 3) rules = {"fact", "fact"};
    if (rng.below(3) == 0) rules.push_back("fact");
    rng.shuffle(rules);
    Telling telling(review_grammar(), rng, true);
    std::string text;
    for (const auto& rule : rules) text += telling.expand("[" + rule + "]") + " ";
    return Json{{"text", finish_text(text)}, {"label", labels[label]}};
  });
  return task;
}

}  // namespace graft
