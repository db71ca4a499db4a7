#include "embedded/grammar/rules.h"

namespace graft {

const std::string_view kStoryRules = R"(
story = [story_open] [event] [event] [story_end] | [story_open] [trouble] [help] [story_end] | [story_open] [event] [trouble] [help] [story_end]
  | [animal_open] [animal_turn] [animal_turn] [animal_end] | [quest] | [two_friends] | [lost_story] | [day_story]

story_open = (once there <be> a [nature] (girl/child) named {A:girl_actor}./once there <be> a [nature] (boy/child) named {A:boy_actor}.) [about_a]
  | [once] {A:person} <[do_phrase]>. [about_a] | {A:person} <live> in a [thing_words] house (near/behind/by) [place]. [about_a]
  | [once] {A:person} and {B:person!A} <be+> [where]. | it <be> a [sky] [day_part]. {A:person} <[do_phrase]> [adverb].
girl_actor = [girl]~f
boy_actor = [boy]~m
about_a = {A.he} <be> (very/always/often/rather/) [nature]. | {A.he} <have> a [thing_words] [thing]. | {A.he} <like> to [do_phrase] [when]. | {A.he} <want> to [do_phrase]. | | {A.he} <have> a [colour] [pet] that <love> [dish].

event = [do_event] | [meet_event] | [find_event] | [talk_event] | [feel_event] | [weather_event] | [eat_event] | [give_event]
do_event = (then/soon/after that/later/) {A.ref} <[do_phrase]> (and <[do_phrase]>/[adverb]/[where]/). | [when] {A.ref} <[do_phrase]>, (but/and then/so) {A.he} <[do_phrase]>. | while {A.he} <be> [where], {A.he} <[do_phrase]>.
  | {A.ref} <[miss_verb]> (the/a) [thing_words] [thing] [where]. | {A.ref} <do> not [do_phrase], because {A.he} <be> [upset]. | {A.ref} <try> to [do_phrase], but it <be> too (hard/late/dark/cold/far).
meet_event = on the way {A.he} <meet> {B:person!A}. "[hello] [small_talk]" <say> {B}. | there {A.he} <meet> {B:person!A}, who <[do_phrase]>. | {B:person!A} <come> by and <ask> {A.him} to [do_phrase]. | {A.ref} <visit> {B:person!A} [when].
find_event = {A.ref} <[find_verb]> a [quality] {thing:thing} [where]. {A.he} <[handle_thing]>. | [where] {A.he} <[find_verb]> a [quality] {thing:thing}. "[thing_remark]" {A.he} <say>.
handle_thing = pick it up [adverb] | look at it (for a long time/with care/) | put it in {A.his} (pocket/bag/basket) | take it home | show it to {B:person!A} | clean it [adverb] | leave it there
thing_remark = what a [quality] {thing}! | whose {thing} is this? | I have never seen such a {thing}. | this {thing} is mine now. | I will give this to my [family].
talk_event = "[question]" {A.ref} <ask>. "[answer]" <answer> {B:person!A}. | {A.ref} <say> to {B:person!A}, "[remark]" {B.he} <[reply_act]>. | "[remark]" <say> {B:person!A}. {A.ref} <[reply_act]>.
reply_act = laugh | smile | nod | shake {A.his} head | agree | think about it for a while | do not know what to say | clap {A.his} hands
hello = hello! | good [day_part]! | good day, {A}! | oh, it is you! | wait for me!
small_talk = how are you today? | where are you going? | what a [sky] day! | have you seen my [pet]? | will you come with me to [out_place]? | I am so [feeling] today.
question = where is (the/my/your) [thing]? | can you help me? | do you want to [do_phrase]? | why are you [upset]? | what is in the [keepsake]? | who lives in [place]? | when will we [do_phrase]? | how many [fruit.s] do you have? | may I have some [drink]?
answer = yes, of course. | no, not today. | I do not know. | it is [where]. | because I lost my [thing]. | you can ask {C:person!A,B}. | only if you [do_phrase] first. | let us [do_phrase]. | [number] or [number], I think. | wait until [weekday]. | I left it [where].
remark = I want to [do_phrase]. | I am [feeling]. | look at that [quality] [animal]! | we should [do_phrase]. | my [family] can [do_phrase] very well. | there is a [animal] [where]. | it will be [sky] tomorrow. | I do not like [dish]. | your [thing] is very [look]. | please do not [do_phrase] here.
feel_event = {A.ref} <be> [feeling], (because/for) {A.he} <[do_phrase]>. | this <make> {A.him} [feeling]. | {A.ref} <feel> [feeling] (and/but also) [feeling]. | {A.ref} <be> no longer [upset]. | nobody <know> why {A.he} <be> so [feeling].
weather_event = (suddenly/soon/then/in the evening) it <begin> to (rain/snow/get dark/get cold). {A.ref} <[shelter]>. | the wind <blow> (hard/from the north/all night), and {A.ref} <[shelter]>. | the sun <shine> [where]. | after the rain the air <be> (fresh/cool/clear).
shelter = run home | hide [where] | put on {A.his} [clothing] | wait [where] | sit down by the fire | close the (door/window) | go back to [place]
eat_event = {A.ref} <be> hungry, so {A.he} <eat> (a/the) [snack] and (a/some/another) [snack]. | for (lunch/dinner/breakfast) there <be> [dish] and [drink]. | {A.ref} <share> the [dish] with {B:person!A}. | the [dish_one] <be> too [taste], but {A.he} <eat> it (all/anyway).
give_event = {A.ref} <give> {B:person!A} a [quality] [gift]. {B.he} <be> very [glad]. | {B:person!A} <give> {A.him} a [quality] [gift] for {A.his} birthday. | {A.ref} <lend> {B:person!A} {A.his} [tool], and {B.he} <bring> it back [when].

trouble = but {A.ref} <lose> {A.his} [thing] [where]. {A.he} <be> [upset]. | then the {t:thing} <break>, and {A.ref} <begin> to cry. | but {A.his} [pet] <run> away and <hide> [where]. | {A.ref} <fall> into the (river/pond/mud/snow) and <call> for help.
  | a [size] [wild_animal] <stand> [where], and {A.ref} <be> afraid. | the door of the [home_place] <be> closed, and {A.he} <have> no key. | it <be> dark, and {A.ref} <do> not know the way home. | {A.ref} <have> to [work_phrase], but {A.he} <have> no [tool].
help = {B:person!A} <hear> it and <come> to help. [help_how] | "do not be afraid," <say> {B:person!A}. [help_how] | {A.ref} <ask> {B:person!A} for help. [help_how] | nobody <come>, so {A.he} <have> to do it alone. in the end {A.he} <[together]>.
help_how = together they <[together]+>. | with a [size] [tool] they <[together]+>. | it <take> [number] hours, but in the end they <[together]+>. | {B:person!A} <bring> a [tool], and soon all <be> well. | first they <[look_for]+>, then they <[together]+>.
look_for = look [where] | look in every [home_place] | ask the [trade_m] | follow the (path/river/tracks) | call loudly | sit down and think
together = find it [where] | pull very hard | mend it before dinner | make a plan | light a fire | carry it home | open it [manner] | find the way home | build a new one
story_end = {A.ref} <be> [glad] (again/now/at last/). | in the evening {A.ref} <[rest_phrase]>. | from then on {A.he} always <[do_phrase]> [when]. | {A.he} never <forget> that day. | "thank you," {A.he} <say> to {B:person!A}. | and so {A.he} <learn> to be more [virtue]. | then they all <go+> home and <eat+> [dish]. | {A.his} [family] <be> proud of {A.him}.

animal_open = [once] {A:creature} <[find_verb]> a [quality] {o:treat} [where]. | {A:creature} and {B:creature!A} <live+> (by/near/behind) the [wild_place]. | there <be> a [sky] [season], and {A:creature} <have> nothing to eat. [where] {A.he} <[find_verb]> a {o:treat}.
treat = nut | egg | loaf | cheese | bone | berry | carrot | fish | apple | mushroom | pumpkin
animal_turn = "this {o:treat} is (mine/for me/too big for me)," {A.he} <say>. | {B:creature!A} <come> (by/down from the tree/out of the forest) and <want> (a piece of/half of/to see) the {o:treat}. | "give me the {o:treat}," <say> {B:creature!A}. "I want to [do_phrase] with it."
  | "if you let me go," <say> {B:creature!A}, "I will show you where the [wild_animal.s] sleep." | {A.ref} <[go_phrase]> and {B:creature!A} <follow> {A.him} [manner]. | {A.ref} <think> for a while. "why do we not share it?" {A.he} <ask>. | they <fight+> about the {o:treat} until it <be> dark. | {A.ref} <hide> the {o:treat} [where], but {B:creature!A} <see> it.
animal_end = in the end they <share+> the {o:treat} and <be+> friends. | since that day {A} and {B:creature!A} never <speak+> again. | {A.ref} <laugh> and <eat> it alone. | but the {o:treat} <be> gone, and both <be+> [upset]. | who <be> too greedy often <get> nothing. | a friend <be> worth more than a {o:treat}.

quest = {A:person} <want> a [quality] {q:thing}, but {A.he} <have> no money. so {A.he} <[work_phrase]> for {B:person!A}, and {B.he} <give> {A.him} [number] coins. then {A.he} <[work_phrase]> for {C:person!A}. at last {A.he} <have> enough and <buy> the {q}. {A.he} <be> [glad].
  | {A:person} <look> for {A.his} {q:thing}. it <be> not [where]. it <be> not [where] either. "have you seen my {q}?" {A.he} <ask> {B:person!A}. "yes," {B.he} <say>. "it is [where]." and there it <be>. | {A:person} <send> {B:person!A} to [place] to get a {q:thing}. {B.ref} <come> back with a {r:thing!q}. "that is not a {q}, that is a {r}!" <say> {A}. {B.he} <[reply_b]>.
reply_b = laugh | go back at once | be ashamed | do not understand | say sorry | sit down and sleep
two_friends = {A:child} and {B:child!A} <be+> friends. {A} <be> {na:nature}, and {B} <be> {nb:nature!na}. [once] they <[do_phrase]+>. {A} <want> to [do_phrase], but {B} <want> to [do_phrase]. (so they <do+> both./in the end {A} <[do_phrase]> and {B} <[do_phrase]>./they <do+> not speak for [number] days.) [friend_end]
friend_end = still they <be+> friends. | "you are too {na}," <say> {B}. | "it is good that you are {nb}," <say> {A}. | the next day they <be+> (friends/[glad]) again.
lost_story = {A:child} <lose> {A.his} [quality] {l:thing}. {A.he} <look> for it [where], and {A.he} <look> for it [where]. {B:person!A} <say>, "I saw a {l} [where]." {A} <run> there (quickly/at once/with {B.him}/). (it <be> the wrong {l}./the {l} <be> there, but it <be> [look]./it <be> gone.) [story_end]
day_story = in the morning {A:person} <[do_phrase]>. at noon {A.he} <[do_phrase]> with {B:person!A}. in the afternoon {A.he} <[do_phrase]>. in the evening {A.he} <be> [feeling] and <[rest_phrase]>. | on [weekday] {A:person} <[do_phrase]>. on [weekday] {A.he} <[do_phrase]>. on [weekday] {A.he} <do> nothing at all.
)";

}  // namespace graft
