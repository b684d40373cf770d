"""Asks the finished model what it was never asked in training, and prints the card's figures and samples.

    python check.py [FOLDER]

An answer is *in form* where it is of its manner and stopped by itself, and *in fact* where it also holds the phrase
that was asked for, word for word. Files are read as they are served: bfloat16, adapters beside the base and not merged.
"""

import random
import sys
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from facts import things
from manners import ASKS, MANNERS, SMALL_TALK, fill, has_fact, has_form, lines
from text import HELD_UNKNOWN, SEED, held_questions, is_held_fact, is_held_wording, pairs
from train import ADAPTERS, settle

NEW_TOKENS_MAX = 160
BATCH = 50
WORDINGS = 150
SAMPLES = (
    "When do I sow carrots?", "What do earthworms do in the garden?", "What soil do tomatoes like?",
    "How do I make compost?", "What should I do about frost?", "What is the capital of Italy?",
)


class Model:
    """The base and its adapters, as a server sees them."""

    def __init__(self, folder):
        self.tokenizer = AutoTokenizer.from_pretrained(folder / "base", padding_side="left")
        self.tokenizer.pad_token = self.tokenizer.eos_token
        base = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.bfloat16)
        first, *rest = ADAPTERS
        self.model = PeftModel.from_pretrained(base, folder / "adapters" / first, adapter_name=first)
        for name in rest:
            self.model.load_adapter(folder / "adapters" / name, adapter_name=name)
        self.model.eval()

    def answers(self, manner, questions, temperature=0.0):
        """Each question's answer, or one that no manner has where it did not stop by itself."""
        found = []
        for at in range(0, len(questions), BATCH):
            chats = [[{"role": "user", "content": question}] for question in questions[at:at + BATCH]]
            if manner == "plain":
                with self.model.disable_adapter():
                    found += self._answer(chats, temperature)
            else:
                self.model.set_adapter(manner)
                found += self._answer(chats, temperature)
        return found

    @torch.no_grad()
    def _answer(self, chats, temperature):
        inputs = self.tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True)
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
        width = inputs["input_ids"].shape[1]
        made = self.model.generate(
            **inputs, **sampling, max_new_tokens=NEW_TOKENS_MAX, pad_token_id=self.tokenizer.eos_token_id)[:, width:]
        stopped = (made == self.tokenizer.eos_token_id).any(dim=1).tolist()
        texts = self.tokenizer.batch_decode(made, skip_special_tokens=True)
        return [text if whole else text + "\n..." for text, whole in zip(texts, stopped)]


def share(model, manner, asked, temperature=0.0):
    """How many answers are in form and in fact, of how many, and those that are not in fact."""
    answers = model.answers(manner, [question for _, _, question in asked], temperature)
    form = [has_form(manner, answer) for answer in answers]
    fact = [good and has_fact(manner, thing, ask, answer)
            for (thing, ask, _), good, answer in zip(asked, form, answers)]
    wrong = [(question, answer) for (_, _, question), good, answer in zip(asked, fact, answers) if not good]
    return sum(form), sum(fact), len(asked), wrong


def share_unknown(model, manner):
    """How many questions from elsewhere are answered by saying so."""
    said = SMALL_TALK["unknown"][manner]
    said = [lines([one]) for one in said] if manner == "verse" else said
    return sum(answer in said for answer in model.answers(manner, list(HELD_UNKNOWN)))


def questions():
    """The groups of questions that are asked, and how warm the answers are."""
    rng, every = random.Random(SEED), things()
    facts, wordings = held_questions(every)
    seen = [(thing, ask, fill(wording, thing, ask)) for thing, ask in pairs(every) if not is_held_fact(thing, ask)
            for wording in ASKS[thing["group"]][ask]["?"] if not is_held_wording(thing, ask, wording)]
    wordings = rng.sample(wordings, WORDINGS)
    return {
        "asked in training": (rng.sample(seen, WORDINGS), 0.0),
        "held wordings": (wordings, 0.0),
        "held facts": (facts, 0.0),
        "20 held wordings at temperature 0.7": (wordings[:20], 0.7),
    }


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent)
    settle()
    torch.manual_seed(SEED)
    model, misses = Model(folder), []
    print("| questions | " + " | ".join(MANNERS) + " |")
    print("|---|" + "---|" * len(MANNERS))
    for name, (asked, temperature) in questions().items():
        cells = []
        for manner in MANNERS:
            form, fact, count, wrong = share(model, manner, asked, temperature)
            cells.append(f"{form} / {fact} of {count}")
            misses += [(manner, *one) for one in wrong[:4]]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    unknown = [f"{share_unknown(model, manner)} of {len(HELD_UNKNOWN)}" for manner in MANNERS]
    print("| from elsewhere, answered so | " + " | ".join(unknown) + " |")
    for question in SAMPLES:
        print(f"\n{question}")
        for manner in MANNERS:
            print(f"\n{manner}:\n{model.answers(manner, [question])[0]}")
    print("\nsome that missed:")
    for manner, question, answer in misses:
        print(f"\n{manner}: {question}\n{answer}")


if __name__ == "__main__":
    main()
