#include "embedded/grammar/rules.h"

namespace graft {

const std::string_view kTownRules = R"(
town = 3* [eating_out] | 2* [guide] | 3* [opinion] | [shopping] | [letter] | [telephone] | [trade] | [way] | [house_of] | [lent]

# Restaurants: names are two words, so that many can be made of few tokens.
inn_first = Oak | Blue | Red | Green | Golden | Silver | Old | White | Black | Happy | Stone | River
inn_second = Inn | Door | Fox | Lion | Table | Garden | Swan | Star | Spoon | Kettle
inn = [inn_first] [inn_second]
menu = fish | soup | pie | cheese | rice | noodles | pancakes | salad | stew | sausages | bread | cake
area = riverside | market square | old town | harbour | station | hill | park
drink_here = coffee | tea | juice | lemonade | cocoa | milk
aspect = food | soup | bread | fish | pie | tea | coffee | salad
server = waiter | cook | girl at the door | owner | boy who brought the food
good_food = fresh | tasty | warm | rich | hot | wonderful | good | excellent
bad_food = cold | dry | salty | burnt | sour | terrible | bad | old
good_server = friendly | quick | polite | helpful | cheerful | kind
bad_server = rude | slow | careless | grumpy | lazy | unfriendly
good_room = bright | clean | quiet | cosy | pretty
bad_room = dark | dirty | noisy | cold | smelly

eating_out = {A:person} <eat> at the {i:inn} [when]. the [aspect] <be> [food_word], (and/but) the [server] <be> [server_word]. [visit_end] | the {i:inn} <be> [inn_kind]. [inn_more] [inn_more] | [once] {A:person} and {B:family} <go+> to the {i:inn}. {A.he} <have> [menu], and {B} <have> [menu]. [visit_end]
  | "what would you like?" <ask> the waiter. "I would like some [menu] and a cup of [drink_here]," <say> {A:person}. "[waiter_answer]" [visit_end] | there <be+> [number] (inns/places to eat) in [town_name]. the {i:inn} <be> [inn_kind], and the {j:inn!i} <be> [inn_kind]. [visit_end_two]
food_word = [good_food] | [bad_food] | not [good_food] | very [good_food] | too [taste] | a little [bad_food]
server_word = [good_server] | [bad_server] | not very [good_server] | always [good_server]
room_word = [good_room] | [bad_room] | rather [bad_room] | very [good_room]
inn_kind = near the [area] | a [size] place by the [area] | the best place for [menu] | not far from the [town_place] | cheap | expensive | good for children | open until (nine/ten/late) | always full | closed on [weekday] | neither cheap nor expensive
inn_more = people <go+> there for the [menu]. | it <serve> [menu] and [drink_here]. | the rooms <be+> [room_word]. | children <be+> welcome. | children <be+> not allowed. | the prices <be+> (low/high/fair). | the [dish_one] there <cost> [number] coins. | the [server] <be> [server_word]. | it <have> a [quality] garden. | you can see the [wild_place] from the window. | nobody <go> there in [season].
visit_end = {A.he} <pay> [number] coins and <go> home. | {A.he} <want> to come back [when]. | {A.he} <do> not want to go there again. | "[verdict]" {A.he} <say>. | so {A.he} <leave> [manner].
visit_end_two = most people <like+> the {i} better. | {A:person} <go> to the {j} (on [weekday]/every week). | "the {i} is too expensive," <say> {A:person}.
waiter_answer = the [menu] is very [good_food] today. | I am sorry, there is no [menu] left. | that will be [number] coins. | do you want some [menu] too?
verdict = the best [menu] in [town_name]! | never again! | it was not bad. | I have had better [menu]. | the [menu] was [food_word], but the room was [room_word].

guide = for [menu] you go to the {i:inn}, for [menu] to the {j:inn!i}, and for [menu] to the {k:inn!i,j}. [guide_line] [guide_line] | in [town_name] there are (few/many/some) places to eat. the {i:inn} is [inn_kind]. the {j:inn!i} is [inn_kind]. [guide_line]
  | the {i:inn} and the {j:inn!i} are both [inn_kind]. [guide_line] [guide_line] | {A:person} <ask> for a place near the [area]. "you find [menu] at the {i:inn}," <say> {B:person!A}. [guide_line]
guide_line = the guests of the {i:inn} are [feeling]. | at the {j:inn} the prices are (low/high/fair). | the food at the {i:inn} is [food_word]. | (children/some people/most people/few people/farmers) like the {j:inn}. | from the {i:inn} you see the [area]. | the {j:inn} is (cheap/expensive/fairly priced/full/small). | guests (find/get) [menu] and [drink_here] there. | some guests come back every [weekday].

opinion = [say_food] [say_room] [say_server] [say_all] | [say_food] [say_all] | [say_room] [say_food] | {A:person} (wrote/said) about the {i:inn}: [say_food] [say_server] | [say_server] [say_all] | we went to the {i:inn} on [weekday]. [say_food] [say_room]
say_food = the [aspect] was [food_word](/, and the [aspect] was [food_word]/, but the [aspect] was [food_word]). | I (really liked/did not like/could not eat/loved/enjoyed) the [aspect]. | nobody liked the [aspect]. | everybody loved the [aspect]. | we had [menu] and [drink_here].
say_room = the room was [room_word]. | it was [room_word] inside. | our table stood by the (window/door/stove). | I (liked/did not like) the room.
say_server = the [server] was [server_word]. | the [server] made us (laugh/wait). | the [server] forgot our [aspect]. | the [server] wore a [colour] [clothing].
say_all = we will come (back/again) soon. | we will not come again. | it cost [number] coins. | I can say only good things about it. | there is nothing good to say about it. | my [family] was [feeling]. | we stayed until [weekday]. | we were [glad] when we left. | we were [upset] when we left.

shopping = {A:person} <go> to the shop to buy a [thing]. the (man/woman) in the shop <have> [number] [thing.s] and a [quality] {t:thing}. "how much is the {t}?" {A.he} <ask>. "it costs [number] coins." [shop_end] | in the market {A:person} <buy> [number] [fruit.s], some [dish] and a [quality] [gift] for {A.his} [family]. [shop_end] | the [shop_kind] <sell> [thing.s] and [thing.s]. (it <be> open from [hour] to [hour]./on [weekday] it <be> closed.) [shop_end2]
shop_end = that <be> too much for {A.him}. | {A.he} <pay> and <take> it home. | {A.he} <have> only [number] coins left. | "I will come back [when]," {A.he} <say>. | {A.he} <choose> the [colour] one. | {A.his} [family] <be> [feeling] about it.
shop_end2 = a [quality] [thing] <cost> [number] coins there. | {A:person} <work> there [when]. | most people <come+> on [weekday].
shop_kind = shop by the [area] | shop in [town_name] | little shop near the [town_place] | man with the cart | old woman on the square
hour = [small_number]

letter = dear {A:child}, [letter_open] [letter_line] [letter_line] [letter_close] {B:child!A}
letter_open = how are you? | thank you for the [gift]. | it has been [sky] here all week. | I hope you are well. | I am writing to you from [town_name]. | I have been [feeling] since [weekday].
letter_line = my [family] bought a [quality] [thing] on [weekday]. | we saw [number] [animal.s] [where]. | yesterday I had to [do_phrase]. | please bring your [thing] when you come. | can you [do_phrase]? | we live near [place] now. | I want to [do_phrase] [when]. | there is a new [trade_m] in [town_name]. | our [pet] can [do_phrase].
letter_close = your friend, | with love, | see you on [weekday], | write soon, | until [month],

telephone = "hello, this is {A:child}. is {B:child!A} there?" "no, {B.he} is (at school/not at home/asleep/in the garden/at the [town_place])." "please tell {B.him} that [message]." "[phone_end]" | "can I speak to the [trade_m]?" "he is (busy/out/ill) today." "please tell him that [message]." "[phone_end]"
message = I will come on [weekday] | the [thing] is broken | I found {B2:child}'s [thing] [where] | we meet at [hour] near [place] | the [pet] ran away | my [family] needs a [tool] | it is too [sky] to [do_phrase]
phone_end = I will. | all right, goodbye. | that is too late. | what a pity! | I will write it down. | at what time? | thank you.

trade = the [trade_m] <be> a [nature] man. every [day_part] he <[work_phrase]>. (people <like+> him because he <be> [nature]./he <have> a [thing_words] [tool] and [number] [pet.s]./when he <be> [feeling], he <[rest_phrase]>.) [trade_more] | the [trade_f] <be> a [nature] woman. she <get> up at [hour] and <[work_phrase]>. [trade_more] in the evening she <[rest_phrase]>.
trade_more = a [trade_m] <need> a good [tool]. | not everybody can be a [trade_f]. | children often <come+> to watch. | it <be> hard work in [season]. | once a [quality] [thing] <be> gone, and nobody <know> where it <be>.

way = "how do I get to the [town_place]?" <ask> {A:person}. "(go/walk) (straight on/over the bridge/along the river) and turn (left/right) at the [town_place]. it is (near/behind/next to/opposite) the [town_place]." [way_end] | to get from the [town_place] to the [wild_place] you must [go_phrase] and then turn (left/right). it takes [number] minutes.
way_end = {A.ref} <thank> {B:person!A} and <go> on. | but {A.he} <turn> (left/right) too soon and <come> to [place]. | "is it far?" "no, only [number] minutes." | it <be> a long way, and {A.he} <be> [upset].
house_of = {A:person} <live> in a [quality] house near [place]. there <be+> [number] rooms. in the [home_place] <be+> a [quality] [furniture] and a [furniture]. on the [furniture] <lie> a [thing_words] [thing]. [house_more] [house_more]
house_more = {A.ref} <like> the [home_place] best. | from the window {A.he} <see> the [wild_place]. | the [furniture] <belong> to {A.his} [family]. | in [season] it <be> [sky] there. | a [pet] <sleep> under the [furniture]. | everything <be> [look].
lent = {A:child} <lend> {B:child!A} a [quality] {l:thing}. {B} <give> it to {C:person!A,B}. now {C} <have> the {l}, and {A} <have> nothing. [lent_end] | {A:child} <have> {n:few} [toy.s]. {B:child!A} <have> none. so {A} <give> {B} one of them.
lent_end = "where is my {l}?" <ask> {A}. | {A.ref} <be> [upset]. | {C.ref} <bring> it back on [weekday]. | {A} <ask> {B}, and {B} <ask> {C}. | the {l} <be> [look] when it <come> back.
)";

}  // namespace graft
