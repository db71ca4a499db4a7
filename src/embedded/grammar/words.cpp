#include "embedded/grammar/rules.h"

namespace graft {

const std::string_view kWordRules = R"(
# People
girl = Anna | Mia | Lily | Emma | Rosa | Nora | Ella | Ruth | Clara | Eva | Kate | Sue | Ida | Jane | Lena | Alice
boy = Tom | Ben | Max | Sam | Leo | Finn | Jack | Paul | Otto | Hugo | Dan | Tim | Karl | Peter | Noah | Adam
child = [girl]~f | [boy]~m
trade_m = butcher | carpenter | sailor | hunter | smith | clown | king | captain | driver | baker | farmer | fisherman | postman | tailor | gardener | doctor | teacher | miller | shepherd | guard | painter
trade_f = queen | dentist | potter | cook | midwife | judge | singer | nurse | teacher | farmer | doctor | gardener | weaver | writer | painter | dancer | pilot
grownup = the (old/young/kind/tall/) [trade_m]~m | the (old/young/kind/clever/) [trade_f]~f
person = 5* [child] | 2* [grownup]
family = mother~f | father~m | brother~m | sister~f | grandmother~f | grandfather~m | aunt~f | uncle~m | cousin~m | friend~f
creature_name = fox~m | hare~f | bear~m | mouse~f | crow~f | duck~f | goat~m | hedgehog~m | frog~m | squirrel~f | wolf~m | owl~f
creature = the (little/old/clever/hungry/lazy/brave/) [creature_name]

# Looks
colour = red | blue | green | yellow | white | black | brown | grey | pink | orange | purple | silver | golden
size = big | small | little | long | tiny | huge | round | thin | heavy | short
look = sharp | smooth | cheap | famous | useful | empty | lovely | old | new | pretty | broken | shiny | dusty | warm | soft | strange | clean | dirty | plain | fine | wooden
quality = [colour] | [size] | [look]
thing_words = [quality] | [size] [colour] | [look] [colour] |

# Things
toy = marble | robot | hoop | ball | kite | doll | drum | puzzle | whistle | top | boat | train | puppet | balloon | sled
tool = shovel | wheel | pot | pan | jug | cart | barrel | hammer | rope | ladder | basket | bucket | knife | spade | brush | lamp | saw | needle | net | broom
clothing = boot | glove | sock | coat | hat | scarf | shirt | dress | belt | cap | jacket | apron | sweater
keepsake = cup | plate | spoon | pen | purse | stamp | bottle | flag | key | ring | letter | map | book | coin | clock | picture | box | shell | stone | feather | bell | mirror | button | candle
furniture = table | chair | bed | shelf | bench | door | window | stove | cupboard
thing = [toy] | [tool] | [clothing] | [keepsake]
gift = [toy] | [keepsake] | [clothing] | cake | bunch of flowers
instrument = flute | drum | violin | guitar | piano | horn

# Places
town_place = hospital | castle | tower | inn | garage | market | school | station | library | bakery | church | square | harbour | museum | park | bank | post office | mill | theatre
wild_place = swamp | desert | garden | stream | cliff | forest | river | lake | hill | meadow | beach | valley | island | field | mountain | pond | cave | path | bridge
home_place = kitchen | garden | house | cellar | attic | barn | yard | stable | room | shed
place = the [town_place] | the [wild_place] | the [home_place]
out_place = the [town_place] | the [wild_place]
where = in the [home_place] | by the (river/lake/pond/sea/fire/door/window/road) | under the (tree/table/bridge/bed/roof/bench) | on the (hill/road/bridge/roof/table/beach/shelf)
  | near the [town_place] | behind the (house/barn/school/mill/church) | in front of the (house/school/church/shop)
town_name = Milford | Redhill | Oakham | Westbay | Stonebridge | Fairwater | Northfield | Elmsby

# Food and drink
fruit = apple | pear | plum | cherry | lemon | peach | orange | berry | melon | grape
vegetable = carrot | potato | onion | bean | cabbage | tomato | pumpkin | turnip
dish = soup | bread | cheese | fish | rice | stew | pie | salad | noodles | pancakes | sausages | porridge | eggs | cake
drink = milk | tea | water | juice | coffee | cocoa | lemonade
dish_one = soup | bread | cheese | fish | rice | stew | pie | salad | porridge | cake
snack = [fruit] | cake | cookie | bun | sandwich | egg | nut
taste = sweet | sour | salty | fresh | warm | cold | hot | dry | rich | bitter | spicy

# Animals
pet = dog | cat | rabbit | pony | hen | parrot | goat | duck | hamster
farm_animal = cow | sheep | horse | pig | hen | goat | goose | donkey
wild_animal = bat | rat | lion | monkey | turtle | spider | fox | hare | bear | deer | owl | frog | wolf | hedgehog | squirrel | crow | mouse | snake | otter | badger
bird = robin | sparrow | swan | owl | crow | gull | stork | eagle | swallow | pigeon
animal = [pet] | [farm_animal] | [wild_animal] | [bird]
animal_sound = bark | sing | call | growl | chirp | howl

# Weather and time
sky = sunny | cloudy | windy | rainy | foggy | snowy | stormy | cold | warm | hot | wet | dry | bright | grey
weekday = Monday | Tuesday | Wednesday | Thursday | Friday | Saturday | Sunday
month = January | February | March | April | May | June | July | August | September | October | November | December
season = spring | summer | autumn | winter
day_part = morning | afternoon | evening | night
when = in the (morning/afternoon/evening) | at (noon/night/dawn) | on [weekday] | every [day_part] | after (lunch/school/work/dinner) | before (lunch/school/work/dinner)
once = one [day_part] | one day | on [weekday] | one [sky] [day_part] | last [season] | in [month] | early in the morning | late in the evening

# Feelings and manners
glad = happy | glad | proud | cheerful | excited | thankful | calm
upset = sad | angry | afraid | tired | worried | lonely | bored | ashamed | upset | hungry | cross | sleepy
feeling = [glad] | [upset]
virtue = kind | careful | patient | honest | gentle | polite | brave
nature = kind | clever | brave | lazy | shy | funny | quiet | careful | patient | honest | greedy | gentle | stubborn | curious | proud | polite
adverb = quickly | slowly | quietly | happily | carefully | at once | again
manner = quickly | slowly | quietly | carefully | gently | happily | sadly | proudly | softly

# Verbs, as phrases in their base form
go_verb = walk | run | go | hurry | ride | climb | come | march | travel
go_phrase = [go_verb] to [out_place] | [go_verb] home | walk along the (river/road/beach/path) | run across the (field/bridge/square/yard) | climb up the (hill/tree/ladder) | swim in the (lake/river/sea/pond)
work_phrase = wash the (dishes/windows/floor/plates) | cook some [dish] | bake a [fruit] (pie/cake) | paint the [furniture] | feed the [pet.s] | cut the (grass/wood/bread) | carry the (wood/water/boxes) home
  | sweep the (floor/yard/stairs) | plant some [vegetable.s] | pick some [fruit.s] | mend the [tool] | clean the [home_place] | milk the cow | write a letter | build a (wall/fence/boat/house) | dig a hole
play_phrase = play with the [toy] | sing a song | play the [instrument] | draw a [animal] | read a book | fly a kite | dance (in the rain/on the grass/) | throw the ball | ride a (pony/bike/horse) | look at the stars | tell a (story/joke) | catch a fish
rest_phrase = sit (on the bench/by the fire/under a tree) | sleep | lie down | drink some [drink] | eat a [snack] | wait (for a while/for the bus/) | stay at home | stand still | watch the [bird.s] | listen to the [bird.s]
handle_verb = find | take | carry | hold | keep | hide | clean | mend | paint | buy | sell | choose | move | borrow | bring | draw | make
miss_verb = see | lose | drop | want | need | like | forget | break | remember
find_verb = find | see | discover | notice
do_phrase = [go_phrase] | [work_phrase] | [play_phrase] | [rest_phrase] | [handle_verb] (a/the) [thing_words] [thing]
)";

}  // namespace graft
