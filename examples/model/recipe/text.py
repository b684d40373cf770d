"""Writes the training text: chats in four manners and plain notes, from the tables of facts. Run alone, it shows some.

Some questions are never asked here, so that they can be asked of the trained model for the first time. Of a *held fact*
no question is ever asked in any wording; it stands in the notes, and in answers to other questions. Of a *held wording*
the thing is never asked for the property in this wording, but in others.
"""

import hashlib
import json
import random

from facts import ALIASES, things
from manners import ASKS, capital, describe, fill, small_talk, tell, tell_more

SEED = 7
SYSTEMS = (
    "You are a gardener.", "You are a helpful assistant.", "You know one small garden.", "Be kind and clear.",
)
BRIEF = ("Answer in one sentence.", "Be brief.")
DESCRIBE = (
    "Tell me about {n}.", "What do you know about {n}?", "What should I know about {n}?", "{N}, please.", "{N}",
)
GROW = ("How do I grow {n}?", "How should I grow {n}?", "I want to grow {n}.", "How to grow {n}", "Growing {n}")
CHOICE = (
    "What can I grow?", "What should I grow?", "What vegetables can I grow?", "Which plants are easy?",
    "What is easy to grow?", "What should I sow?", "What shall I plant?", "I have a small garden. What can I grow?",
    "What grows here?",
)
BEGIN = (
    "How do I start a garden?", "How do I begin?", "I am new to gardening.", "Where do I start?",
    "Is gardening hard?", "I want a garden.", "How do I make a garden?", "How do I make a bed?",
    "Give me some advice.", "Any advice?",
)
FOLLOW = {
    "sow": "And when do I {verb} {them}?", "bed": "And how deep?", "soil": "What soil do(es) {it} like?",
    "sun": "Sun or shade?", "water": "And how much water?", "harvest": "When can I pick {them}?",
    "friend": "What grows well beside {them}?", "foe": "What harms {them}?", "tip": "Any more advice?",
}
GREETINGS = (
    "Hello", "Hi", "Good morning", "Good evening", "Hello there", "Hi!", "Hello!", "Good day", "Hey",
)
THANKS = (
    "Thank you.", "Thanks!", "Thank you very much.", "Thanks, that helps.", "Thanks", "Many thanks.", "Goodbye.",
)
SELF = (
    "Who are you?", "What are you?", "What can you do?", "What do you know?", "Are you a person?", "Help",
    "What is your name?", "Who made you?", "How do you work?", "What can I ask you?",
)
UNKNOWN_FORMS = (
    "What is {}?", "Tell me about {}.", "How does {} work?", "Who invented {}?", "Where can I buy {}?",
    "Why is {} so dear?", "How do I mend {}?", "Do you like {}?", "Can you explain {}?", "Write a story about {}.",
    "What do you think of {}?", "Who is the best at {}?", "What is the price of {}?", "Is {} good for me?",
    "When was {} invented?", "Translate {}.",
)
UNKNOWN_THINGS = (
    "football", "chess", "the internet", "my car", "a computer", "France", "the capital of Spain", "Mars",
    "the stock market", "mathematics", "Shakespeare", "a guitar", "the president", "London", "China", "a telephone",
    "money", "the ocean", "gravity", "the news", "a movie", "Python", "Rust", "a train", "the law", "medicine",
    "a bicycle", "jazz", "painting", "the piano", "history", "a dragon", "electricity", "the king", "a ship",
    "an airplane", "coffee", "chocolate", "pizza", "bread", "a joke", "love", "a camera", "a clock",
    "the moon landing", "a volcano", "the pyramids", "Greek", "Latin", "a tax form", "swimming", "a battery",
    "a robot", "poetry", "a novel", "a passport", "an elephant", "a lion", "whales", "a castle", "a sword",
    "a knight", "Jupiter", "silver", "an actor", "a horse race", "hockey", "a television", "butter",
)
UNKNOWN_WHOLE = (
    "How are you?", "What is two plus two?", "What is the capital of France?", "Who won the world cup?",
    "Sing me a song.", "How old are you?", "What time is it?", "Where am I?", "What is the meaning of life?",
    "How tall is that mountain?", "Who wrote Hamlet?", "Can you write code?", "What day is it today?",
    "How far is the sun?", "Do you dream?", "What should I wear tonight?", "How do I cook rice?", "Recommend a book.",
    "asdf", "What is 12 times 9?", "What's the weather today?", "Will it rain tomorrow?", "Tell me a joke.",
    "Write a poem.", "Who is your favourite author?", "What is your favourite colour?",
)
STRANGE_PLANTS = (
    "mangoes", "bananas", "orchids", "cacti", "pineapples", "papayas", "lemons", "olives", "rice", "cotton",
    "palm trees", "bonsai", "water lilies", "lychees", "sugar cane", "tea", "dates", "coconuts", "figs", "avocados",
    "bamboo", "ginger",
)
# Nothing of these is held: the samples and a newcomer ask for them first.
ASKED_FIRST = ("carrots", "tomatoes", "earthworms", "compost", "making compost", "frost")
HELD_UNKNOWN = (
    "What is the capital of Italy?", "How do I mend a radio?", "Who is the best at tennis?", "When do I sow kiwis?",
    "Tell me about Saturn.", "What is the price of gold?", "Do you like cheese?", "Write a story about a pirate.",
)


def share_of(*parts):
    """A number from 0 to 1 that belongs to these words for ever."""
    digest = hashlib.sha256("/".join(parts).encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32


def is_held_fact(thing, ask):
    return thing["name"] not in ASKED_FIRST and share_of("fact", thing["name"], ask) < 0.05


def is_held_wording(thing, ask, wording):
    return thing["name"] not in ASKED_FIRST and share_of("wording", thing["name"], ask, wording) < 0.1


def pairs(all_things):
    return [(thing, ask) for thing in all_things for ask in ASKS[thing["group"]]]


def held_questions(all_things):
    """What the training text never asks: held facts in their first wording, and held wordings of other facts."""
    facts = [(thing, ask, fill(ASKS[thing["group"]][ask]["?"][0], thing, ask))
             for thing, ask in pairs(all_things) if is_held_fact(thing, ask)]
    wordings = [(thing, ask, fill(wording, thing, ask))
                for thing, ask in pairs(all_things) if not is_held_fact(thing, ask)
                for wording in ASKS[thing["group"]][ask]["?"] if is_held_wording(thing, ask, wording)]
    return facts, wordings


def loosely(question, rng):
    """A question as people type it."""
    chance = rng.random()
    if chance < 0.12:
        return question.lower()
    if chance < 0.2:
        return question.rstrip("?.")
    if chance < 0.26:
        return question.lower().rstrip("?.")
    if chance < 0.34:
        return rng.choice(("Hello. ", "Please tell me: ", "Good morning. ", "One question: ", "Hi! ")) + question
    return question


def singular(name):
    """One of many: a potato of potatoes."""
    for ending, one in (("ies", "y"), ("oes", "o"), ("shes", "sh"), ("s", "")):
        if name.endswith(ending):
            return name.removesuffix(ending) + one
    return name


def loosely_named(form, thing, ask, rng):
    """The thing by its name, or sometimes by another, or as one of many."""
    chance = rng.random()
    if chance < 0.3 and thing["name"] in ALIASES:
        return fill(form, thing, ask, ALIASES[thing["name"]])
    if chance < 0.15 and thing["plural"] and thing["group"] == "plant":
        return fill(form, thing | {"plural": False}, ask, "a " + singular(thing["name"]))
    return fill(form, thing, ask)


def asked(thing, ask, rng):
    wordings = [wording for wording in ASKS[thing["group"]][ask]["?"] if not is_held_wording(thing, ask, wording)]
    return loosely(loosely_named(rng.choice(wordings), thing, ask, rng), rng)


def turn(question, answer):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def chat(manner, thing, ask, open_pairs, rng):
    """A chat that begins with this question, and sometimes goes on to the thing's other properties, or other things."""
    messages, brief = [], False
    if rng.random() < 0.15:
        brief = rng.random() < 0.4
        messages.append({"role": "system", "content": rng.choice(BRIEF if brief else SYSTEMS)})
    messages += turn(asked(thing, ask, rng), tell(manner, thing, ask, rng, brief))
    chance = rng.random()
    if chance < 0.12 and thing["group"] == "plant":
        then = rng.choice([then for other, then in open_pairs if other is thing])
        messages += turn(fill(FOLLOW[then], thing, then), tell(manner, thing, then, rng, brief))
    elif chance < 0.24:
        others = [other for other, then in open_pairs if then == ask and other["group"] == thing["group"]]
        other = rng.choice(others)
        form = rng.choice(("And {n}?", "What about {n}?", "And what about {n}?"))
        messages += turn(fill(form, other), tell(manner, other, ask, rng, brief))
    elif chance < 0.34:
        then_thing, then = rng.choice(open_pairs)
        messages += turn(asked(then_thing, then, rng), tell(manner, then_thing, then, rng, brief))
    if rng.random() < 0.05:
        messages += turn(rng.choice(THANKS), small_talk(manner, "thanks", rng))
    return messages


def talk(manner, rng):
    """A chat about nothing of the garden."""
    chance = rng.random()
    topics = {"greeting": GREETINGS, "self": SELF, "thanks": THANKS, "choice": CHOICE, "begin": BEGIN}
    for topic, forms in topics.items():
        chance -= 0.07
        if chance < 0:
            return turn(loosely(rng.choice(forms), rng), small_talk(manner, topic, rng))
    if chance < 0.12:
        question = rng.choice(UNKNOWN_WHOLE)
    elif chance < 0.28:
        stranger = {"group": "plant", "name": rng.choice(STRANGE_PLANTS), "plural": True}
        blocks = list(ASKS["plant"].values())
        question = fill(rng.choice(rng.choice(blocks)["?"]), stranger)
    else:
        question = rng.choice(UNKNOWN_FORMS).format(rng.choice(UNKNOWN_THINGS))
    return turn(loosely(question, rng), small_talk(manner, "unknown", rng))


def note(thing, rng):
    """Plain prose on a thing: all its properties, in any order."""
    order = list(ASKS[thing["group"]])
    rng.shuffle(order)
    first, *rest = order
    told = [fill(rng.choice(ASKS[thing["group"]][first]["="]), thing, first)]
    for ask in rest:
        whole = rng.random() < 0.5
        main = fill(rng.choice(ASKS[thing["group"]][ask]["="]), thing, ask)
        told.append(main if whole else tell_more(thing, ask, rng))
    title = f"{capital(thing['name'])}. " if rng.random() < 0.3 else ""
    return title + " ".join(told)


def story(rng):
    """A day in the garden, for prompts that are no questions."""
    groups = {group: [thing for thing in things() if thing["group"] == group] for group in ASKS}
    month, tool, plant = (rng.choice(groups[group]) for group in ("month", "tool", "plant"))
    creature, practice = (rng.choice(groups[group]) for group in ("creature", "practice"))
    who = rng.choice(("the old gardener", "the young gardener", "my grandmother", "the neighbour"))
    begun = (f"It was {month['name']}, with {month['sky']}. {capital(who)} took {tool['name']} and went out.",
             f"{capital(who)} went out with {tool['name']}. It was {month['name']}, with {month['sky']}.",
             f"In {month['name']} {who} stood in the garden with {tool['name']}. There was a smell of earth.")
    tip = fill(rng.choice(ASKS["plant"]["tip"]["="]), plant, "tip")
    middle = (f"The {plant['name']} stood in {plant['sun']}. {tip}",
              f"{capital(creature['name'])} were there, {creature['home']}. {capital(creature['deed'])}.")
    end = (f"Then it was time for {practice['name']}: {practice['how']}.",
           f"In the evening {who} said: {month['job']}, and all will be well.",
           "Then the rain came, and the day was done.")
    return " ".join((rng.choice(begun), *rng.sample(middle, rng.choice((1, 2))), rng.choice(end)))


def page(manner, some, rng):
    """A few facts in a manner, as a page of a book: so that the base has met the words that its adapters will use."""
    return ("\n" if manner == "tally" else "\n\n").join(tell(manner, thing, ask, rng) for thing, ask in some)


def pages(manner, rounds, rng):
    open_pairs = [(thing, ask) for thing, ask in pairs(things()) if not is_held_fact(thing, ask)]
    written = []
    for _ in range(rounds):
        rng.shuffle(open_pairs)
        written += [page(manner, open_pairs[at:at + 2], rng) for at in range(0, len(open_pairs), 2)]
    return written


def chats(manner, rounds, rng):
    """Every open question a number of times, and in every round some small talk and some descriptions."""
    every = things()
    open_pairs = [(thing, ask) for thing, ask in pairs(every) if not is_held_fact(thing, ask)]
    written = []
    for _ in range(rounds):
        written += [chat(manner, thing, ask, open_pairs, rng) for thing, ask in open_pairs]
        written += [talk(manner, rng) for _ in range(120)]
        for thing in every:
            forms = DESCRIBE + GROW if thing["group"] == "plant" else DESCRIBE
            question = loosely(loosely_named(rng.choice(forms), thing, None, rng), rng)
            written.append(turn(question, describe(manner, thing, rng)))
    rng.shuffle(written)
    return written


def corpus():
    """All that is trained on: {"plain" | "verse" | "almanac" | "tally": chats, "notes": texts}."""
    rng = random.Random(SEED)
    return {
        "plain": chats("plain", 14, rng),
        "notes": [note(thing, rng) for _ in range(14) for thing in things()] + [story(rng) for _ in range(300)]
                 + pages("verse", 2, rng) + pages("almanac", 2, rng) + pages("tally", 2, rng),
        "verse": chats("verse", 5, rng),
        "almanac": chats("almanac", 5, rng),
        "tally": chats("tally", 5, rng),
    }


def digest(written):
    """SHA-256 of the text: its parts as JSON, without a space or an escape that need not be."""
    text = json.dumps(written, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    whole = corpus()
    print(digest(whole))
    for part, written in whole.items():
        print(f"\n{part}: {len(written)}")
        for one in written[:6]:
            print(json.dumps(one))
    print("\nheld:", [len(questions) for questions in held_questions(things())])
