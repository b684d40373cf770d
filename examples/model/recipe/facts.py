"""What the model knows: tables of things and their properties, one thing a line, written for this recipe.

A property is a phrase that stands word for word in every manner of telling it, so that an answer can be checked by
looking for the phrase. A name with a star takes the singular ("garlic likes"), others the plural ("carrots like").
"""

PLANTS = ("kind", "sow", "where", "depth", "space", "soil", "sun", "water", "harvest", "friend", "foe", "tip")
PLANT_TABLE = """
carrots|root|from March to July|straight into the ground|1 cm|5 cm|light sandy soil|full sun|deeply once a week|from July to November|onions|carrot fly|thin the rows in the evening
radishes|root|from March to August|straight into the ground|1 cm|3 cm|loose moist soil|half shade|every other day|after four weeks|lettuces|flea beetle|sow a short row every two weeks
beetroots|root|from April to July|straight into the ground|2 cm|10 cm|rich loose soil|full sun|once a week|from July to October|onions|leaf miner|twist the leaves off by hand
parsnips|root|from March to May|straight into the ground|2 cm|15 cm|deep stoneless soil|full sun|deeply once a week|after the first frost|radishes|carrot fly|use fresh seed each year
turnips|root|from April to August|straight into the ground|1 cm|15 cm|firm fertile soil|half shade|twice a week|when as big as a fist|peas|flea beetle|pull them young for the best taste
swedes|root|from May to June|straight into the ground|2 cm|25 cm|firm limed soil|full sun|once a week|from October to February|peas|club root|leave them out in the frost to sweeten
potatoes|tuber|from April to May|in a trench|12 cm|35 cm|rich loose soil|full sun|deeply once a week|from July to September|beans|potato blight|earth up the stems as they grow
onions|bulb|from March to April|straight into the ground|2 cm|10 cm|firm fertile soil|full sun|rarely|when the tops fall over|carrots|onion fly|dry the bulbs in the sun before storing
*garlic|bulb|from October to November|straight into the ground|5 cm|15 cm|light well-drained soil|full sun|rarely|from June to July|roses|rust|plant the fattest cloves
leeks|stem|from March to April|in a seed bed|2 cm|15 cm|deep fertile soil|full sun|twice a week|from October to March|celery|leek moth|drop each plant into a deep hole
shallots|bulb|from February to March|straight into the ground|2 cm|15 cm|light well-drained soil|full sun|rarely|from July to August|carrots|onion fly|leave the tip of the bulb showing
peas|pod|from March to June|in a flat trench|4 cm|7 cm|moist rich soil|half shade|every other day in flower|from June to September|turnips|mice|give them twigs to climb
runner beans|pod|from May to June|at the foot of poles|5 cm|20 cm|rich moist soil|full sun|every day in flower|from July to October|sweetcorn|blackfly|pick often and more will come
broad beans|pod|from October to April|straight into the ground|5 cm|20 cm|firm fertile soil|full sun|once a week|from May to August|potatoes|blackfly|pinch out the tips when pods form
French beans|pod|from May to July|straight into the ground|4 cm|15 cm|light warm soil|full sun|twice a week|from July to October|strawberries|slugs|wait until the soil is warm
tomatoes|fruit|from February to April|in pots under glass|1 cm|45 cm|rich moist soil|full sun|every day at the root|from July to October|basil|tomato blight|pinch out the side shoots
cucumbers|fruit|from March to May|in pots under glass|2 cm|60 cm|rich moist soil|full sun|every day at the root|from July to September|dill|red spider mite|stand the seed on its edge
courgettes|fruit|from April to June|in pots under glass|2 cm|90 cm|rich moist soil|full sun|every other day|from July to October|nasturtiums|mildew|cut the fruit while it is small
pumpkins|fruit|from April to May|in pots under glass|2 cm|150 cm|soil full of manure|full sun|every other day|from September to October|sweetcorn|slugs|set a tile beneath each fruit
peppers|fruit|from February to March|in pots under glass|1 cm|45 cm|light warm soil|full sun|little and often|from August to October|basil|greenfly|turn the pots to the light
*sweetcorn|grain|from April to May|in pots under glass|3 cm|40 cm|deep fertile soil|full sun|twice a week|from August to September|runner beans|mice|plant in a block and not in a row
lettuces|leaf|from March to August|in a seed bed|1 cm|25 cm|moist rich soil|half shade|every other day|from May to October|radishes|slugs|sow a short row every two weeks
*spinach|leaf|from March to May|straight into the ground|2 cm|15 cm|moist rich soil|half shade|every other day|from May to October|strawberries|mildew|never let the soil run dry
*chard|leaf|from April to July|straight into the ground|2 cm|30 cm|rich loose soil|half shade|twice a week|from July to November|beans|slugs|cut the outer leaves first
*kale|leaf|from April to June|in a seed bed|2 cm|45 cm|firm limed soil|half shade|once a week|from September to April|beetroots|cabbage white|pick after frost for sweet leaves
cabbages|leaf|from March to May|in a seed bed|2 cm|45 cm|firm limed soil|full sun|twice a week|from July to December|thyme|cabbage white|tread the soil firm around them
*broccoli|flower head|from April to May|in a seed bed|2 cm|60 cm|firm limed soil|full sun|once a week|from February to April|dill|pigeons|stake the stems against the wind
cauliflowers|flower head|from March to May|in a seed bed|2 cm|60 cm|rich limed soil|full sun|twice a week|from August to November|celery|cabbage white|fold a leaf over each white head
Brussels sprouts|bud|from March to April|in a seed bed|2 cm|75 cm|firm limed soil|full sun|once a week|from October to February|thyme|pigeons|pick from the bottom up
*celery|stem|from March to April|in trays under glass|0 cm|25 cm|soil full of compost|half shade|every day|from August to October|leeks|slugs|never cover the seed
*rhubarb|stem|from November to March|straight into the ground|3 cm|100 cm|soil full of manure|half shade|once a week|from April to June|garlic|crown rot|pull the stalks and never cut them
*asparagus|stem|from March to April|in a ridged trench|10 cm|40 cm|light well-drained soil|full sun|once a week|from April to June|tomatoes|asparagus beetle|wait two years before you cut
*basil|herb|from April to June|in pots under glass|1 cm|20 cm|light warm soil|full sun|little and often|from June to September|tomatoes|slugs|pinch out the flowers
*parsley|herb|from March to July|straight into the ground|1 cm|15 cm|moist rich soil|half shade|twice a week|all year round|asparagus|carrot fly|soak the seed in warm water
*mint|herb|from March to May|in a buried pot|1 cm|30 cm|moist rich soil|half shade|every other day|from May to October|cabbages|rust|keep it in a pot lest it wander
*thyme|herb|from March to May|in trays under glass|0 cm|25 cm|poor stony soil|full sun|rarely|all year round|cabbages|wet roots|clip it after it flowers
*sage|herb|from April to May|in pots under glass|1 cm|45 cm|poor stony soil|full sun|rarely|all year round|carrots|wet roots|renew the bush every four years
*rosemary|herb|from April to June|in pots under glass|1 cm|80 cm|poor stony soil|full sun|rarely|all year round|beans|wet roots|shelter it from the north wind
*dill|herb|from April to July|straight into the ground|1 cm|20 cm|light well-drained soil|full sun|once a week|from June to October|cucumbers|greenfly|sow it where it is to stay
chives|herb|from March to May|in pots under glass|1 cm|20 cm|moist rich soil|half shade|twice a week|from April to October|carrots|rust|cut them low and they come again
strawberries|fruit|from July to September|straight into the ground|3 cm|40 cm|light fertile soil|full sun|twice a week|from May to July|French beans|slugs|lay straw beneath the fruit
raspberries|fruit|from November to March|straight into the ground|5 cm|45 cm|moist well-drained soil|half shade|once a week|from July to October|garlic|raspberry beetle|cut down the canes that have fruited
gooseberries|fruit|from November to March|straight into the ground|10 cm|120 cm|moist well-drained soil|half shade|once a week|from June to July|tomatoes|sawfly|keep the middle of the bush open
sunflowers|flower|from April to May|straight into the ground|2 cm|45 cm|deep fertile soil|full sun|twice a week|from September to October|cucumbers|slugs|tie the stems to a strong stake
marigolds|flower|from March to May|straight into the ground|1 cm|20 cm|poor dry soil|full sun|once a week|from June to October|tomatoes|slugs|snip off the faded flowers
nasturtiums|flower|from April to June|straight into the ground|2 cm|30 cm|poor dry soil|full sun|rarely|from June to October|courgettes|blackfly|give them no manure
roses|flower|from November to March|straight into the ground|10 cm|60 cm|rich clay soil|full sun|deeply once a week|from June to October|garlic|greenfly|prune them before the spring
sweet peas|flower|from October to April|in deep pots|2 cm|20 cm|soil full of compost|full sun|every other day|from June to September|runner beans|mildew|pick often and more will come
"""

CREATURES = ("side", "eats", "home", "act", "deed")
CREATURE_TABLE = """
earthworms|friends|fallen leaves|in moist soil|feed the soil with compost|they mix and drain the soil
ladybirds|friends|greenfly|in hollow stems|leave some nettles for them|one can eat fifty greenfly a day
hoverflies|friends|nectar and greenfly|among open flowers|sow marigolds for them|their young clear greenfly from leaves
lacewings|friends|greenfly|in dry leaf heaps|hang up a bundle of straw|their young hunt at night
bees|friends|nectar and pollen|in hives and old walls|grow flowers from March to October|they set the fruit on beans and apples
hedgehogs|friends|slugs and beetles|under hedges|leave a gap beneath the fence|they hunt all night long
frogs|friends|slugs and flies|beside ponds|dig a small pond|they wait for slugs in the damp
toads|friends|slugs and ants|under cool stones|leave a pot on its side for them|they come back to the same place
ground beetles|friends|slug eggs|under logs and stones|leave a log to rot|they run by night after slugs
centipedes|friends|small grubs|under bark and stones|let them be|they are quick hunters
spiders|friends|flies|in webs on every fence|let their webs hang|they catch what flies by
robins|friends|grubs and worms|in ivy and old sheds|turn the soil while they watch|they clear grubs behind the spade
woodlice|harmless|rotting wood|under damp logs|let them be|they turn dead wood into soil
ants|harmless|honeydew|in dry banks|leave them unless they farm greenfly|they carry seeds about
slugs|foes|young leaves|under boards and pots|gather them by lamp light|they come out on damp nights
snails|foes|soft leaves|on walls and under ivy|pick them off after rain|they seal themselves in when it is dry
greenfly|foes|sap|on young shoots|wash them off with water|they breed without end in May
caterpillars|foes|cabbage leaves|beneath leaves|pick them off by hand|they hatch from yellow eggs
vine weevils|foes|roots|in pots|tap the pots out and look|their white grubs eat by stealth
moles|harmless|worms|in tunnels under lawns|use their soil for pots|they dig where worms are many
"""

EARTHS = ("is", "holds", "suits", "care")
EARTH_TABLE = """
*clay|heavy soil of the finest grains|water too long|roses and cabbages|dig in compost in autumn
*sand|light soil of coarse grains|hardly any water|carrots and thyme|add compost every spring
*silt|smooth soil that a river left|water well|lettuces and leeks|keep it covered against rain
*loam|an even mix of sand, silt and clay|water well and drains well|almost every crop|feed it with compost once a year
*chalk|pale stony soil full of lime|little water|cabbages and sage|add leaf mould and manure
*peat|dark soil of old bog plants|water like a sponge|raspberries|leave it in the bog
*humus|what is left when leaves have rotted|water like a sponge|every root|make more by adding compost
*compost|rotted kitchen and garden waste|water well|hungry crops|turn the heap once a month
*leaf mould|leaves that have rotted for two years|water well|seedlings|keep a wire cage for leaves
*manure|rotted straw and dung|water well|pumpkins and roses|let it rot for half a year
*mulch|a cover laid on the soil|the water that is in the soil|every bed in summer|lay it on when the soil is wet
*wood ash|what a wood fire leaves|no water|onions and fruit bushes|keep it dry until it is used
*gravel|small round stones|no water|paths and herbs|rake it level in spring
"""

TOOLS = ("use", "care", "hint")
TOOL_TABLE = """
a spade|digging and cutting edges|wipe the blade with an oily rag|keep your back straight
a fork|loosening soil and lifting roots|wash the tines after use|rock it and do not heave
a hoe|cutting weeds|sharpen the blade with a file|hoe on a dry morning
a rake|levelling a seed bed|hang it with the teeth to the wall|draw it lightly towards you
a trowel|planting small plants|dry it before you put it away|choose one with a strong neck
a dibber|making holes for seeds|oil the wood in winter|mark the depth on it
secateurs|pruning thin stems|clean the blades with spirit|cut just above a bud
shears|clipping hedges|oil the hinge|cut with the sun behind you
loppers|cutting thick branches|sharpen the blade each winter|never twist them in the cut
a watering can|watering seedlings|empty it before a frost|use a fine rose for seed
a wheelbarrow|carrying soil and compost|pump the tyre in spring|load it over the wheel
a sieve|sifting soil and compost|brush it clean|let the soil dry first
a cloche|warming young plants|wash the glass in autumn|open it on mild days
a cold frame|hardening off seedlings|mend the lid before winter|prop it open at noon
a water butt|keeping rain water|scrub it out once a year|put a lid on against flies
a garden line|keeping rows straight|wind it up dry|peg it tight at both ends
a compost bin|rotting waste|lift the lid and look each week|stand it on bare soil
gloves|guarding your hands|turn them inside out to dry|keep a thick pair for thorns
"""

WEATHER = ("does", "act", "sign")
WEATHER_TABLE = """
*frost|blackens tender leaves|cover young plants with fleece|a clear still evening
*rain|feeds the roots and brings out slugs|fill the water butts|low grey cloud in the west
*drought|stops growth and drops the flowers|water deeply and lay mulch|cracks in the clay
*wind|dries leaves and breaks stems|stake tall plants|high torn clouds
*hail|tears soft leaves|close the cloches|a tall dark cloud
*snow|keeps the ground warm and bends branches|shake it from the hedges|a yellow grey sky
*fog|brings mildew to crowded beds|give plants more air|a cold night after rain
*dew|wets the leaves before dawn|water less that day|a clear night without wind
*heat|wilts leaves and makes lettuce bolt|shade the seedlings|a red sunset
*thunder|comes with sudden heavy rain|tie up the tall plants|still and heavy air
*thaw|loosens roots in the ground|press young plants firm again|a warm wind from the south
"""

PRACTICES = ("do", "how", "why", "when")
PRACTICE_TABLE = """
making compost|make compost|layer green waste and dry stems|it feeds the soil for nothing|all year round
mulching|mulch|spread compost a hand deep|it keeps the soil moist and dark|in late spring
weeding|weed|cut the weeds below the ground|weeds take water and light|on dry mornings
watering|water my plants|pour slowly at the root|roots follow water down|early in the morning
thinning|thin seedlings|pull the weakest seedlings|crowded plants stay small|when two leaves show
pruning|prune|cut above a bud that faces out|it lets in light and air|in late winter
digging|dig|turn the soil one spade deep|it opens heavy soil to frost|in autumn
crop rotation|rotate crops|move each family to a new bed|it starves pests and rests the soil|every year
hardening off|harden off seedlings|set plants out by day for a week|soft leaves must learn the wind|in May
saving seed|save seed|dry the ripest pods in paper bags|it costs nothing and suits your soil|in September
planting out|plant out|firm each root in and water it|plants need room to grow|after the last frost
testing soil|test my soil|shake some soil in a jar of water|it shows the sand and the clay|before you plant
keeping worms|keep worms|feed them peelings in a dark box|their casts make the best feed|all year round
edging beds|edge my beds|cut a clean line with a spade|it keeps the grass out|in early spring
making leaf mould|make leaf mould|pile wet leaves in a wire cage|it makes the softest soil|in November
drying herbs|dry herbs|hang small bunches in the shade|they keep their scent until spring|before they flower
"""

MONTHS = ("job", "sky", "moon")
MONTH_TABLE = """
January|clean the tools and order seed|short cold days|Wolf Moon
February|prune the roses and warm the soil|frost and thin sun|Snow Moon
March|rake the seed beds|wind and showers|Worm Moon
April|sow the main crops|sun and sudden showers|Pink Moon
May|harden off the seedlings|mild days and a late frost|Flower Moon
June|hoe the rows and pinch out tomatoes|long light evenings|Strawberry Moon
July|water deeply and pick beans|heat and thunder|Hay Moon
August|gather onions and save seed|dry golden days|Grain Moon
September|store the roots and clear the beds|cool nights and dew|Harvest Moon
October|plant garlic and rake leaves|mist and first frost|Hunter's Moon
November|spread manure and plant fruit bushes|rain and bare trees|Beaver Moon
December|mend the fences and rest|long dark nights|Cold Moon
"""

TABLES = {
    "plant": (PLANTS, PLANT_TABLE), "creature": (CREATURES, CREATURE_TABLE), "earth": (EARTHS, EARTH_TABLE),
    "tool": (TOOLS, TOOL_TABLE), "weather": (WEATHER, WEATHER_TABLE), "practice": (PRACTICES, PRACTICE_TABLE),
    "month": (MONTHS, MONTH_TABLE),
}
ORDER = [line.split("|")[0] for line in MONTH_TABLE.strip().splitlines()]
PLANTED = {"potatoes", "garlic", "shallots", "rhubarb", "asparagus", "strawberries", "raspberries", "gooseberries",
           "roses"}
# What people also call things when they ask: understood, never answered with.
ALIASES = {
    "earthworms": "worms", "lettuces": "lettuce", "cabbages": "cabbage", "courgettes": "zucchini", "beetroots": "beets",
    "broad beans": "fava beans", "greenfly": "aphids", "vine weevils": "weevils", "clay": "clay soil",
    "sand": "sandy soil", "chalk": "chalk soil", "secateurs": "pruning shears", "cauliflowers": "cauliflower",
    "ladybirds": "ladybugs", "a water butt": "a rain barrel", "chard": "Swiss chard", "making compost": "composting",
}
PLURAL_TOOLS = {"secateurs", "shears", "loppers", "gloves"}


def sown_in(month, plants):
    """Three plants whose months of sowing include this one, the same three each time; fewer in months of rest."""
    def includes(plant):
        first, last = (ORDER.index(word) for word in plant["sow"].split() if word in ORDER)
        at = ORDER.index(month)
        return first <= at <= last if first <= last else at >= first or at <= last
    names = [plant["name"] for plant in plants if includes(plant)]
    step = max(1, len(names) // 3)
    return names[::step][:3]


def things():
    """Every thing as a dictionary: group, name, whether plural, and its properties."""
    found = []
    for group, (columns, table) in TABLES.items():
        for line in table.strip().splitlines():
            name, *values = line.split("|")
            assert len(values) == len(columns), line
            if group == "tool":
                plural = name in PLURAL_TOOLS
            else:
                plural = not name.startswith("*") and group in ("plant", "creature")
            found.append({"group": group, "name": name.lstrip("*"), "plural": plural} | dict(zip(columns, values)))
    plants = [thing for thing in found if thing["group"] == "plant"]
    for thing in found:
        if thing["group"] == "plant":
            depth = "on the surface" if thing["depth"] == "0 cm" else f"{thing['depth']} deep"
            thing["bed"] = f"{depth} and {thing['space']} apart"
            thing["verb"] = "plant" if thing["name"] in PLANTED else "sow"
        if thing["group"] == "month":
            names = sown_in(thing["name"], plants)
            thing["sow"] = ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]
    return found
