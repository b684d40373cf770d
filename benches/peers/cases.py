"""What is measured, and how an engine is asked for it: a case a line in, what it took a line out.

`loam-bench engine --cases -` speaks this by itself, `peer_llama_cpp.py` and `peer_transformers.py` for their engines.
`loam-bench engine --cases -` speaks this by itself, `peer_llama_cpp.py` and `peer_transformers.py` for other engines.
the time until each request has its first token, the time from then until each has `max_tokens`, and the tokens.
"""

import json
import os
import sys

ADAPTERS = 8

# 96 tokens of prompt and 64 of answer: a context of 128 on average.
CASES = {
    "prefill_512_base": {"batch": 1, "prompt_tokens": 512, "max_tokens": 1, "adapters": 0},
    "prefill_512_one_adapter": {"batch": 1, "prompt_tokens": 512, "max_tokens": 1, "adapters": 1},
    "prefill_8x64_8_adapters": {"batch": 8, "prompt_tokens": 64, "max_tokens": 1, "adapters": 8},
    "decode_b1_base": {"batch": 1, "prompt_tokens": 96, "max_tokens": 65, "adapters": 0},
    "decode_b1_one_adapter": {"batch": 1, "prompt_tokens": 96, "max_tokens": 65, "adapters": 1},
    "decode_b8_base": {"batch": 8, "prompt_tokens": 96, "max_tokens": 65, "adapters": 0},
    "decode_b8_one_adapter": {"batch": 8, "prompt_tokens": 96, "max_tokens": 65, "adapters": 1},
    "decode_b8_8_adapters": {"batch": 8, "prompt_tokens": 96, "max_tokens": 65, "adapters": 8},
}


def rate(case, took):
    """Tokens a second: of prompts where a case has one token to say, else of answers after their first token."""
    if case["max_tokens"] == 1:
        return case["batch"] * case["prompt_tokens"] / took["prefill_s"]
    return case["batch"] * (case["max_tokens"] - 1) / took["decode_s"]


def prompts(case, vocabulary):
    """The prompts that `loam-bench engine` makes of the same seed: no two begin alike."""

    def token(prompt, at):
        return ((prompt * 7919 & 0xFFFFFFFF) + (at * 104729 & 0xFFFFFFFF) & 0xFFFFFFFF) % (vocabulary - 10) + 5

    first = case["seed"] + 1
    return [[token(first + row, at) for at in range(case["prompt_tokens"])] for row in range(case["batch"])]


def adapter_of(case, row):
    """The number of a row's adapter, or none: one for all, or each row its own in turn."""
    return row % case["adapters"] if case["adapters"] else None


def answer_cases(open_engine):
    """Opens an engine, says so, and answers cases until the input ends. Whatever else is printed goes to stderr."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    description, measure = open_engine()
    print(json.dumps({"ready": description}), file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(json.loads(line))), file=out, flush=True)
