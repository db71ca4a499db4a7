#include "embedded/grammar/rules.h"

namespace graft {

const std::string_view kNatureRules = R"(
nature_text = 2* [animal_facts] | [weather_report] | [season_text] | [causes] | [compare] | [garden_text] | [walk_text] | [made_of] | [advice]

animal_facts = the {a:animal} is a [animal_size] animal. it lives [habitat] and eats [animal_food]. [animal_more] [animal_more] | {a:animal.s} live [habitat]. they are [colour] or [colour]. in [season] they [animal_they]. [animal_more_many]
  | most {a:animal.s} can [animal_can], but they cannot [animal_can]. [animal_more_many] | a young {a:animal} stays with its mother for [few] (weeks/months). then it learns to [animal_can]. [animal_more] | {A:person} <have> a [colour] [pet] that <eat> [animal_food]. when {A.he} <come> home, it <[animal_can]>.
animal_size = small | big | shy | strong | quick | useful | wild | clever | [colour]
habitat = in the [wild_place] | near the (water/river/sea/houses) | in (holes/trees/barns/nests) | on the farm | under the ground | in warm countries | by the lake
animal_food = grass | seeds | (small/) fish | insects | leaves | [fruit.s] | mice | nuts | (hay and/) corn | almost anything | roots | bread
animal_they = sleep | fly to the south | build nests | look for food | grow thick fur | have young ones | hide in the [wild_place] | sing
animal_can = run fast | swim | fly | climb trees | dig holes | see in the dark | jump high | hear very well | swim under water | catch (mice/fish/insects) | carry heavy things | sing | [animal_sound]
animal_more = it has [animal_part]. | it is awake at night. | at night it [animal_s]. | it is afraid of the [animal]. | farmers (like/do not like) it. | you can see it [when]. | it can [animal_can]. | its [enemy] is the [wild_animal]. | it weighs more than a [animal]. | it never goes far from [place].
animal_s = sleeps | looks for food | sings | comes out | hunts | calls loudly
animal_part = long (ears/legs/feathers) | a short tail | a [colour] (tail/beak/head/back) | four legs | big eyes | sharp teeth | warm fur | [colour] wings | strong legs | a long neck
enemy = enemy | friend | neighbour
animal_more_many = they have [animal_part]. | they are not [nature]. | people keep them for (milk/eggs/wool/fun/meat). | many of them live near [town_name]. | they are afraid of (dogs/people/noise/fire/the dark). | they can [animal_can]. | they are as big as a [animal].

weather_report = on [weekday] it will be [sky] in [town_name]. [weather_more] | today it is {s:sky}, but yesterday it was [sky]. [weather_more] {A:person} (wants/does not want) to [do_phrase]. | [month] was a [sky] month. it (rained/snowed) for [number] days, and the [wild_place] was [wild_state]. [weather_more]
weather_more = a (cold/warm/strong/soft) wind comes from the (north/south/east/west). | there will be (rain/snow/sun/fog/clouds) in the [day_part]. | take your [clothing] with you. | the nights are (cold/long/short/clear). | the roads are (wet/icy/dry/full of snow). | it is a good day to [do_phrase]. | the sky is [colour]. | people stay at home. | the (river/lake) is (high/low/frozen).
wild_state = white | wet | dry | under water | full of [bird.s] | green again | quiet | muddy
season_text = in {s:season} the days are (long/short/cold/warm/getting longer/getting shorter). [season_more] [season_more] | {A:child} likes {s:season} best, because then {A.he} can [do_phrase]. {B:child!A} likes {t:season!s} better. "in {t} we can [do_phrase]," {B.he} says. | after {s:season} the [bird.s] come back. [season_more]
season_more = the leaves are [colour]. | farmers [farm_work]. | children [play_phrase]. | the [fruit.s] are (ripe/small/gone). | it is [sky] in the morning. | the [wild_animal.s] [animal_they]. | people wear [clothing.s]. | nights are [sky]. | many people [do_phrase].
farm_work = cut the hay | plant [vegetable.s] | sell [vegetable.s] | mend the fences | bring the [farm_animal.s] home | pick [fruit.s] | feed the [farm_animal.s]

causes = {A:person} <be> [upset] because {A.his} [thing] <be> [gone]. [cause_more] | because it <be> [sky], {A:person} <do> not [do_phrase]. [cause_more] | if you do not [care], it will [harm]. if you [care], it will last for years. | why <be> {A:person} [feeling]? {A.he} <[do_phrase]>, and {A.his} [family] <[do_phrase]>. that <be> why.
  | when [water_cause]. [cause_fact] [cause_fact] | [cause_fact] [cause_fact] [cause_fact]
gone = gone | broken | wet | too small | lost | dirty | stolen
cause_more = so {A.he} <[do_phrase]>. | {B:person!A} <say> that {A.he} should [do_phrase]. | but the next day {A.he} <be> [feeling] again. | {A.his} [family] <be> [feeling] too. | that <be> not {A.his} fault.
care = clean the [tool] | water the [vegetable.s] | close the [furniture] | feed the [pet] | keep the [dish_one] cold | mend the [clothing]
harm = break | die | get dirty | run away | turn bad | fall down | not last long
water_cause = it is very cold, water becomes ice | the sun shines, snow melts | it rains for days, the river rises | wood gets wet, it does not burn | you put sugar in tea, it becomes sweet | the wind is strong, boats stay in the harbour
cause_fact = without water [vegetable.s] do not grow. | [bird.s] build nests to keep their eggs warm. | wood swims on water, but a stone sinks. | (ice/glass/paper) is not as (hard/strong/heavy) as (iron/stone/wood). | a [clothing] keeps you warm. | a [tool] of iron lasts longer than a [tool] of wood. | the moon shines at night. | bread is made of flour, and flour is made of (corn/wheat). | milk comes from (cows/goats/sheep). | you need a [tool] to [work_phrase]. | the day has (light/many hours), the night has (stars/the moon).

compare = the {a:thing} is (bigger/smaller/older/newer/heavier/cheaper) than the {b:thing!a}, but the {b} is (bigger/prettier/older/newer/cheaper/lighter). [compare_more] | {A:child} is [feeling], and {B:child!A} is [feeling]. {A} can [do_phrase], {B} cannot. [compare_people] | {A:child} has a [quality] {t:thing}. {B:child!A} has a [quality] {t} too. [compare_people] | a {a:animal} is (bigger/smaller/faster/slower) than a {b:animal!a}, but it cannot [animal_can].
compare_more = which one would you [handle_choice]? | {A:person} takes the {a}. | {A:person} says that the {b} is better. | both are [look]. | neither of them is [colour].
handle_choice = buy | take | choose | give away | keep
compare_people = {A} is older than {B}. | {B} runs faster than {A}. | both of them like to [do_phrase]. | "mine is [quality]," says {A}. | {A} has more friends than {B}. | they live [where].
garden_text = in {A:person}'s garden there <be+> [number] [fruit] trees and a [size] [garden_thing]. {A.he} <plant> [vegetable.s] in [month] and <[work_phrase]> in [month]. [garden_more] [garden_more]
garden_thing = pond | bench | fence | gate | well | shed | hedge
garden_more = the [vegetable.s] <grow+> (fast/slowly/well). | a [wild_animal] <eat> the [vegetable.s]. | [bird.s] <sing+> in the trees. | {B:person!A} <help> {A.him} [when]. | the flowers <be+> [colour] and [colour]. | it <be> too [sky] for [fruit.s]. | {A.he} <sell> the [fruit.s] at the market.
walk_text = (we/they) went from [place] to [place]. on the way we saw a [quality] [animal], [number] [animal.s] and a [quality] [thing] that somebody had lost. [walk_more] [walk_more] | {A:person} <walk> from [place] to [place]. {A.he} <see> a [colour] [animal] [where]. [walk_more]
walk_more = the path was (steep/long/muddy/narrow). | at the [wild_place] we sat down and ate [dish]. | it was [sky], and we were [feeling]. | a [animal] came near and looked at us. | nobody lived there. | then it got dark, and we [go_back]. | far away we heard a [animal].
go_back = went home | slept in a [home_place] | lost our way | made a fire | ran back
made_of = a [furniture] is made of wood, and a [clothing] is made of (wool/cotton). [cause_fact] {A:person} makes [thing.s] and [thing.s] in [town_name]. | the [quality] [thing] is (made of/full of) (wood/iron/glass/paper/wool/gold/sand/water). it belongs to {A:person}. [made_more]
made_more = {A.he} got it from {A.his} [family]. | nobody else may use it. | you must not drop it. | it is [number] years old. | {A.he} keeps it [where].
advice = if you want to [do_phrase], you need a [thing] and a [tool]. [advice_more] [advice_more] | never [do_phrase] when it is [sky]. [advice_more] | first [work_phrase]. then [rest_phrase]. [advice_more] | to make [dish] you need [ingredient], [ingredient] and [ingredient]. [advice_cook]
advice_more = ask your [family] first. | do it [manner]. | it takes [number] minutes. | be [nature]. | do not forget your [clothing]. | it is best to start [when]. | a [nature] person can do it alone.
advice_cook = cook it for [number] minutes. | eat it with [dish]. | do not make it too [taste]. | serve it [taste]. | cut the [vegetable.s] first.
ingredient = flour | water | milk | salt | sugar | butter | [vegetable.s] | [fruit.s] | eggs | oil | honey
)";

const std::string_view kNumberRules = R"(
number_text = [count_add] | [count_take] | [how_many] | [order_text] | [clock_text] | [ages] | [price_text] | [rows_text]
small_number = one | two | three | four | five | six | seven | eight | nine | ten
few = two | three | four | five | six
number = 4* [few] | seven | eight | nine | ten | eleven | twelve | fifteen | twenty
plain_number = two | three | four | five | six | seven | eight | nine
high_number = ten | eleven | twelve | thirteen | fourteen | fifteen | sixteen

count_add = {A:person} <have> {n:plain_number} {c:countable.s}. {B:person!A} <give> {A.him} {m:plain_number} more. now {A.he} <have> {=n+m} {c.s}. [count_end] | {n:plain_number} and {m:plain_number} make {=n+m}. {p:plain_number} and {q:plain_number} make {=p+q}.
  | there <be+> {n:plain_number} {c:countable.s} [where] and {m:plain_number} {c.s} [where]. together there <be+> {=n+m} {c.s}. [count_end]
count_take = {A:person} <have> {n:high_number} {c:countable.s}. {A.he} <[give_away]> {m:plain_number} of them. now {A.he} <have> {=n-m} {c.s} left. [count_end] | {n:high_number} less {m:plain_number} is {=n-m}. {p:plain_number} and {q:plain_number} make {=p+q}. | {n:high_number} [bird.s] <sit+> [where]. {m:plain_number} of them <fly+> away. {=n-m} <stay+>.
countable = [fruit] | [toy] | [keepsake] | [snack] | [pet] | [vegetable] | coin
give_away = eat | sell | lose | give away | hide | keep | drop
count_end = that <be> (enough/not enough/too many) for {A2:person}. | {A3:person} <count> them again. | [feel_short] |
feel_short = everybody <be> [glad]. | nobody <be> [upset].
how_many = "how many {c:countable.s} do you have?" <ask> {A:person}. "I have {n:plain_number}," <say> {B:person!A}. "and I have {m:plain_number}. so together we have {=n+m}." | how many {c:countable.s} are there? one, two, three, (four/four, five/four, five, six)! all of them are [colour].
order_text = first <come> the {a:animal}, then the {b:animal!a}, and last the {c:animal!a,b}. the {a} <be> [quality], and the {c} <be> [quality]. | {A:child} <be> the first, {B:child!A} the second and {C:person!A,B} the third. {C} <be> [upset], but {A} <be> [glad].
clock_text = it is [small_number] o'clock. at [small_number] {A:person} <have> to [do_phrase]. [clock_more] | {A:person} <get> up at [small_number] and <go> to bed at [small_number]. [clock_more] | the train to [town_name] <leave> at [small_number] in the [day_part]. {A:person} <come> [few] minutes late. [clock_more]
clock_more = there <be> no time to [do_phrase]. | it <take> [number] minutes to [go_phrase]. | {A.he} <have> [number] hours to [do_phrase]. | in [number] minutes it will be dark. | "is it so late?" {A.he} <ask>.
ages = {A:child} is {n:plain_number} years old. {B:child!A} is {m:few} years older. so {B} is {=n+m}. [compare_people] | my (brother/sister/cousin) is [number] years old and can [do_phrase]. my friend is only [few].
price_text = a [thing] <cost> {n:plain_number} coins and a [thing] <cost> {m:plain_number}. {A:person} <buy> both and <pay> {=n+m} coins. [shop_end] | {A:person} <have> {n:high_number} coins. {A.he} <buy> a [quality] [thing] for {m:plain_number} coins. {=n-m} coins <be+> left. [shop_end]
rows_text = on the [furniture] <be+> [few] [keepsake.s], [few] [fruit.s] and a [colour] [thing]. {A:person} <take> (one/two) of the [fruit.s]. [count_end] | in the box <be+> [few] [colour] and [few] [colour] [toy.s]. the [colour] ones <belong+> to {A:child}, the others to {B:child!A}.
)";

}  // namespace graft
