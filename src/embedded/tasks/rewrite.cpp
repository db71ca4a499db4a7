#include "embedded/grammar/corpus.h"
#include "embedded/grammar/english.h"
#include "embedded/grammar/rules.h"
#include "embedded/tasks/task.h"

namespace graft {
namespace {

// What somebody does, verb first in its base form. "HIS" stands for the owner, who changes with the subject.
const std::string_view kRewriteRules = R"(
who = 4* [girl]~f | 4* [boy]~m | the [trade_m]~m | the [trade_f]~f
act = [go_phrase] | [work_phrase] | [play_phrase] | 3* [own_phrase] | 3* [handle_verb] a [thing_words] [thing]
own_phrase = show HIS [toy] to the [trade_m] | meet HIS [family] | lose HIS [quality] [thing] | give HIS [toy] to [child] | wash HIS [clothing] | forget HIS [keepsake] | [handle_verb] HIS [quality] [thing]
  | tell HIS [family] a story | feed HIS [pet] | go home with HIS [family]
time = in the (morning/afternoon/evening) | at (noon/night) | on [weekday] | (/after lunch/before dinner)
)";

const Grammar& rewrite_grammar() {
  static const Grammar grammar({kWordRules, kRewriteRules});
  return grammar;
}

std::string owned(std::string text, const std::string& owner) {
  for (size_t at = text.find("HIS"); at != std::string::npos; at = text.find("HIS", at)) text.replace(at, 3, owner);
  return text;
}

enum class Order { Past, Will, Not, Ask, We };
const char* const kOrderNames[] = {"past", "will", "not", "ask", "we"};

struct Sentence {
  std::string subject, owner;  // "the old baker", "his"
  std::string first, second;   // verb phrases; the second may be empty
  std::string time;

  // Both verbs in one form: "Tom takes a hat and goes home on Monday"
  std::string told(const std::string& who, const std::string& helper, VerbForm form, const std::string& whose) const {
    const auto phrase = [&](const std::string& p) { return form == VerbForm::Base ? p : phrase_form(p, form); };
    return owned(who + " " + helper + phrase(first) + (second.empty() ? "" : " and " + phrase(second)) + " " + time, whose);
  }
  std::string plain() const { return finish_text(told(subject, "", VerbForm::ThirdPerson, owner) + "."); }
  std::string ordered(Order order) const {
    switch (order) {
      case Order::Past: return finish_text(told(subject, "", VerbForm::Past, owner) + ".");
      case Order::Will: return finish_text(told(subject, "will ", VerbForm::Base, owner) + ".");
      case Order::Not: return finish_text(told(subject, "does not ", VerbForm::Base, owner) + ".");
      case Order::Ask: return finish_text("does " + told(subject, "", VerbForm::Base, owner) + "?");
      case Order::We: return finish_text(told("we", "", VerbForm::Base, "our") + ".");
    }
    return "";
  }
};

Sentence draw_sentence(Rng& rng, bool may_be_double) {
  Telling telling(rewrite_grammar(), rng, false);
  Sentence s;
  s.subject = telling.expand("{A:who}");
  s.owner = telling.expand("{A.his}");
  s.first = telling.expand("[act]");
  if (may_be_double && rng.below(3) == 0) s.second = telling.expand("[act]");
  s.time = telling.expand("[time]");
  return s;
}

}  // namespace

Task rewrite_task(const TaskSizes& sizes, uint64_t seed) {
  Task task{.name = "rewrite", .metric = "exact_match"};
  fill_splits(task, sizes, seed, "prompt", [](Rng& rng, size_t index, const std::string&) {
    const Order order = static_cast<Order>(index % 5);
    // "does not take a hat and go home" would be unclear: denials and questions have one verb.
    const Sentence sentence = draw_sentence(rng, order != Order::Not && order != Order::Ask);
    return Json{{"prompt", std::string(kOrderNames[index % 5]) + ": " + sentence.plain() + "\n"}, {"completion", sentence.ordered(order)}};
  });
  return task;
}

}  // namespace graft
