#include "embedded/grammar/rules.h"

namespace graft {

// Loose sentences with many free choices: what keeps the corpus from being learned by heart.
const std::string_view kSceneRules = R"(
scene = [free] [free] [free] | [free] [free] [free] [free] | [free] [free] [free] [free] [free] | [listing] [free] [free] | [portrait] | [diary] | [rumour]

somebody = [person] | 2* [child] | [child]'s [family] | the [nature] [trade_m]~m | the [nature] [trade_f]~f | (a/the) [look] (man/woman/boy/girl) | somebody | nobody | everybody
item = a [thing_words] [thing] | a [quality] [thing] | the [thing_words] [thing] | a piece of [dish_one] | a [size] [animal] | a cup of [drink] | a [colour] [bird]
items = [number] [quality] [thing.s] | [few] [colour] [thing.s] | some [quality] [fruit.s] | many [vegetable.s] | [few] [animal.s] | no [thing.s] at all
part_of_day = [when] | [once] | yesterday | today | for [number] hours | the whole day | for the first time | again and again | a little later
lie_verb = lie | stand | hang | be hidden | be

free = 2* [somebody] <[do_phrase]>(/ [where]/ [part_of_day]/ [manner]). | [where] [somebody] <[do_phrase]>(, and [somebody] <[do_phrase]>/). | [part_of_day] [somebody] <[do_phrase]>. | [item] <[lie_verb]> [where]. | [where] <lie> [item]. | [where] there <be+> [items] and [item].
  | [somebody] <have> [item], [item] and [items]. | [somebody] <be> [feeling] because [somebody] <[do_phrase]> [part_of_day]. | [somebody] <give> [somebody] [item]. | the [thing] of the [trade_m] <be> [quality] and [quality]. | when [somebody] <[do_phrase]>, [somebody] <[do_phrase]> too.
  | instead of [item] [somebody] <bring> [item]. | [somebody] <put> [item] (on/under/behind/into/next to) the [furniture]. | [somebody] <want> to [do_phrase], not to [do_phrase]. | it <be> [sky], but [somebody] <[do_phrase]> [where]. | "[remark_free]" <say> [child]. "[remark_free]" <say> the [trade_m].
  | the [animal] <look> at the [animal] and <[animal_can]>. | before [somebody] <[do_phrase]>, [somebody] always <[work_phrase]>. | [items] <be+> [where], but [item] <be> [where]. | [somebody] <see> [somebody] [where] and <think> of the [quality] [thing].
remark_free = I see [item] [where]. | there are [items] [where]. | my [family] has [item]. | we need [items]. | [somebody] took [item]. | is that [item] or [item]? | do not put [item] on the [furniture]! | I would like [item]. | give me [item] and [items], please. | let us [do_phrase] and [do_phrase].

listing = in the [keep_place] there <be+> [items], [items], [item] and [item]. | on the way from [place] to [place] [somebody] <count> [items], [items] and [items]. | for the journey [somebody] <take> [item], [item], [items] and some [dish]. | the market <be> full of [vegetable.s], [fruit.s], [thing.s] and [farm_animal.s].
keep_place = basket | bag | box | cupboard | cellar | shop | cart | window | old chest | drawer
portrait = [child] is [nature] and [nature], has [hair] hair and likes [thing.s]. {P:child} is [nature], wears a [colour] [clothing] and can [do_phrase]. {P.his} [family] is a [trade_m] and {P.his} [family] [likes_to] [do_phrase]. | {P:grownup} is [number] years old, lives [where] and has [items] and a [size] [pet]. {P.he} [likes_to] [do_phrase], but {P.he} never [wants_to] [do_phrase].
hair = [colour] | long [colour] | short [colour] | curly | thin
likes_to = likes to | hates to | loves to | has to
wants_to = wants to | tries to | has time to
diary = [weekday]. [sky] and [sky]. [work_note] [work_note] [work_note] | [month]. [work_note] [work_note]
work_note = saw [items] [where]. | bought [item] for [number] coins. | had to [do_phrase], then [do_phrase]. | [somebody] came and [gave] me [item]. | felt [feeling]. | lost [item] [where]. | ate [dish] and [dish]. | the [pet] is [feeling].
gave = lent | gave | sold | showed
rumour = they say that [somebody] found [items] [where]. others say that it was [somebody], and that it was [item]. [free] | [somebody] told [somebody] that [somebody] wanted to [do_phrase]. [somebody] told [somebody] that it was [somebody]. [free]
)";

}  // namespace graft
