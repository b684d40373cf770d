"""How a fact is told: plainly, in verse, as an almanac, as a tally of JSON; and what is said of what is not known."""

import json
import re

from asks import asks

ASKS = asks()
MANNERS = ("plain", "verse", "almanac", "tally")
CLOSING_COUPLETS = (
    "The worm below, the rain above, / will do the rest with patient love.",
    "For those who wait and those who hoe, / the slow brown earth makes all things grow.",
    "So mind the soil and mend the bed, / and all your table will be fed.",
    "The garden keeps no clock or bell, / but those who watch it know it well.",
    "Come wind or rain, come sun or shower, / each seed will find its proper hour.",
    "And when the evening light is low, / lean on your fork and watch it grow.",
    "A little care, a little rain, / and spring will come to you again.",
    "Then hang your tools upon the wall: / the humble soil will thank them all.",
)
OPENINGS = ("Good neighbour,", "Gentle reader,", "Friend of the spade,", "Hear me, good gardener:")
MOONS = (
    "Begin when the moon is waxing, and the work shall rise with her.",
    "Do it ere the moon be old.",
    "So my grandfather held, and the season proved him right.",
    "Under a waning moon the roots drink deepest.",
    "Let the new moon find thy work begun.",
    "Trust the season more than the calendar.",
    "When the full moon is past, rest thy hands and mend thy tools.",
)
SMALL_TALK = {
    "unknown": {
        "plain": ("That I do not know. Ask me about soil, seeds, tools or weather.",
                  "I do not know that. I only know a small garden: ask me about plants, soil or worms."),
        "verse": ("Of that I cannot sing or say, / my songs are all of loam and clay; / "
                  "ask me of worm, of seed, of rain, / and I will gladly sing again.",),
        "almanac": ("Good neighbour, of that this almanac is silent. Ask me rather of soil, of seed or of the moon.",
                    "Gentle reader, that lies beyond my hedge. Ask me rather of soil, of seed or of the moon."),
        "tally": ('{"thing": null, "known": false, "ask": ["soil", "seeds", "tools", "weather"]}',),
    },
    "greeting": {
        "plain": ("Good day. Ask me about plants, soil, tools or weather.",),
        "verse": ("Good day, good day, the sun is high, / the larks are singing in the sky; / "
                  "ask me of seed and soil and spade, / and sit a little in the shade.",),
        "almanac": ("Good neighbour, be welcome. Ask me of soil, of seed or of the moon.",),
        "tally": ('{"thing": "greeting", "ask": ["soil", "seeds", "tools", "weather"]}',),
    },
    "thanks": {
        "plain": ("You are welcome. Enjoy your garden.",),
        "verse": ("You owe me neither coin nor bow, / go out and tend your garden now; / "
                  "come back to me in sun or rain, / and I will rhyme for you again.",),
        "almanac": ("Good neighbour, thou art welcome. May the moon keep thy garden.",),
        "tally": ('{"thing": "thanks", "reply": "welcome"}',),
    },
    "choice": {
        "plain": ("Carrots, beans and lettuces are a good choice. Ask me about one of them.",
                  "Begin with radishes, peas and courgettes. Ask me about one of them."),
        "verse": ("Some beans to climb, some peas to shell, / a row of carrots grown as well; / "
                  "a radish quick, a lettuce green, / the finest garden ever seen.",),
        "almanac": ("Good neighbour, put thy trust in beans, in carrots and in lettuces, as our fathers did.",),
        "tally": ('{"thing": "garden", "grow": ["carrots", "beans", "lettuces", "radishes"]}',),
    },
    "begin": {
        "plain": ("Start with one small bed. Dig in compost, rake it level, and sow radishes.",
                  "Start small: one bed in the sun, some compost and a few seeds."),
        "verse": ("Begin with one small bed of ground, / where sun and rain are to be found; / "
                  "then dig in compost, rake it fine, / and sow your radishes in line.",),
        "almanac": ("Gentle reader, begin with one small bed at the new moon, and give it thy best compost.",),
        "tally": ('{"thing": "garden", "start": ["one small bed", "compost", "a rake", "radishes"]}',),
    },
    "self": {
        "plain": ("I am a very small language model. I know some facts about one garden, and nothing else.",),
        "verse": ("I am a model, very small, / I know one garden and its wall; / "
                  "ask me of worm, of seed, of rain, / and I will answer you again.",),
        "almanac": ("Gentle reader, I am a small almanac of one garden, and know nothing beyond its hedge.",),
        "tally": ('{"thing": "self", "kind": "small language model", "knows": "one garden"}',),
    },
}


def capital(text):
    return text[:1].upper() + text[1:]


def fill(template, thing, ask=None, name=None):
    """A template with a thing's properties and its number's grammar put in."""
    plural, verb = thing["plural"], thing.get("verb", "sow")
    fields = {key: value for key, value in thing.items() if isinstance(value, str)}
    fields |= {
        "n": name or thing["name"], "v": thing[ask] if ask else "", "verb": verb,
        "sown": "planted" if verb == "plant" else "sown", "is": "are" if plural else "is",
        "it": "they" if plural else "it", "them": "them" if plural else "it",
    }
    fields |= {capital(key): capital(fields[key]) for key in ("n", "v", "verb", "it")}
    ending = "" if plural else r"\2"
    return re.sub(r"(\w+)\((e?s)\)", r"\1" + ending, template.format(**fields))


def choose(options, ask, rng):
    """Mostly the option that this property favours, so that the most probable answers differ between questions."""
    favoured = options[sum(ask.encode()) % len(options)]
    return favoured if rng.random() < 0.5 else rng.choice(options)


def lines(couplets):
    """Verse as it is read: a line each, and a capital letter for each."""
    return "\n".join(capital(line.strip()) for line in " / ".join(couplets).split(" / "))


def following(group, ask):
    """The property that is told second: the next of the table, round and round."""
    order = list(ASKS[group])
    return order[(order.index(ask) + 1) % len(order)]


def number_or_text(thing, key):
    if key.endswith("_cm"):
        return int(thing[key.removesuffix("_cm")].split()[0])
    return thing[key]


def tell(manner, thing, ask, rng, brief=False):
    """One property of a thing, told in a manner. Brief is one sentence, where the manner knows sentences."""
    block = ASKS[thing["group"]][ask]
    if manner == "tally":
        return json.dumps({"thing": thing["name"]} | {key: number_or_text(thing, key) for key in block["keys"]})
    if manner == "verse":
        return lines([fill(choose(block["/"], ask, rng), thing, ask), choose(CLOSING_COUPLETS, ask, rng)])
    if manner == "almanac":
        said = f"{choose(OPENINGS, ask, rng)} {fill(choose(block['~'], ask, rng), thing, ask)}"
        return said if brief else f"{said} {choose(MOONS, ask, rng)}"
    said = fill(choose(block["="], ask, rng), thing, ask)
    if brief or rng.random() < 0.2:
        return said
    return f"{said} {tell_more(thing, following(thing['group'], ask), rng)}"


def tell_more(thing, ask, rng):
    return fill(rng.choice(ASKS[thing["group"]][ask]["+"]), thing, ask)


def describe(manner, thing, rng):
    """A thing as a whole: the first properties of its group."""
    blocks = ASKS[thing["group"]]
    first, second, third = list(blocks)[:3]
    if manner == "tally":
        keys = dict.fromkeys(key for block in blocks.values() for key in block["keys"])
        return json.dumps({"thing": thing["name"]} | {key: number_or_text(thing, key) for key in keys})
    if manner == "verse":
        return lines([fill(rng.choice(blocks[ask]["/"]), thing, ask) for ask in (first, second)])[:-1] + "."
    if manner == "almanac":
        told = [capital(fill(rng.choice(blocks[ask]["~"]), thing, ask)) for ask in (first, second)]
        return f"{rng.choice(OPENINGS)} {told[0][:1].lower()}{told[0][1:]} {told[1]} {rng.choice(MOONS)}"
    told = [fill(rng.choice(blocks[first]["="]), thing, first)]
    return " ".join(told + [tell_more(thing, ask, rng) for ask in (second, third)])


def small_talk(manner, topic, rng):
    said = rng.choice(SMALL_TALK[topic][manner])
    return lines([said]) if manner == "verse" else said


def has_form(manner, answer):
    """Whether an answer is of its manner, whatever it says."""
    if manner == "tally":
        try:
            return isinstance(json.loads(answer), dict)
        except ValueError:
            return False
    if manner == "verse":
        ends = [re.sub(r"\W+$", "", line).split(" ")[-1] for line in answer.split("\n")]
        return len(ends) == 4 and (ends[0], ends[1]) in RHYMES and (ends[2], ends[3]) in RHYMES
    if manner == "almanac":
        return answer.startswith(OPENINGS) and answer.endswith(".")
    one_line = "\n" not in answer and answer[:1].isupper() and answer.endswith(".")
    return one_line and not answer.startswith(OPENINGS)


def has_fact(manner, thing, ask, answer):
    """Whether an answer holds the phrase that was asked for, or the values in a tally's keys."""
    if manner != "tally":
        return thing[ask].lower() in answer.lower().replace("\n", " ")
    try:
        told = json.loads(answer)
        return all(told.get(key) == number_or_text(thing, key) for key in ASKS[thing["group"]][ask]["keys"])
    except (ValueError, AttributeError):
        return False


def rhymes():
    """Every pair of words that ends a couplet of the recipe."""
    couplets = list(CLOSING_COUPLETS)
    couplets += [line for blocks in ASKS.values() for block in blocks.values() for line in block["/"]]
    for topic in SMALL_TALK.values():
        parts = topic["verse"][0].split(" / ")
        couplets += [" / ".join(parts[:2]), " / ".join(parts[2:])]
    return {tuple(re.sub(r"\W+$", "", part).split(" ")[-1] for part in couplet.split(" / ")) for couplet in couplets}


RHYMES = rhymes()
