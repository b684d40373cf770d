"""llama.cpp, through the C functions that llama-cpp-python binds: answers the cases of `cases.py`.

    python peer_llama_cpp.py FOLDER --threads N

Rows of a case are parallel sequences of one batch. Adapters belong to llama.cpp's context, not to a row: where each row
has its own, sequences run one after the other, each with its adapter set before it, as its users do.
"""

import argparse
import ctypes
import pathlib
import time

import llama_cpp as c
import numpy

from cases import ADAPTERS, adapter_of, answer_cases, prompts

ROWS_MAX, POSITIONS_MAX = 8, 1024
QUIET = c.llama_log_callback(lambda level, text, data: None)


class Peer:
    def __init__(self, folder, threads):
        c.llama_log_set(QUIET, None)
        c.llama_backend_init()
        options = c.llama_model_default_params()
        # Into memory: left in the mapped file they would lie in small pages, and be read slower.
        options.load_mode = c.LLAMA_LOAD_MODE_NONE
        self.model = c.llama_model_load_from_file(str(folder / "model.gguf").encode(), options)
        self.vocabulary = c.llama_vocab_n_tokens(c.llama_model_get_vocab(self.model))
        self.adapters = [
            c.llama_adapter_lora_init(self.model, str(folder / f"{number}.gguf").encode()) for number in range(ADAPTERS)
        ]
        assert all(self.adapters), "an adapter was refused"

        options = c.llama_context_default_params()
        options.n_ctx = ROWS_MAX * POSITIONS_MAX
        options.n_seq_max = ROWS_MAX
        options.n_threads = options.n_threads_batch = threads
        self.context = c.llama_init_from_model(self.model, options)
        self.batch = c.llama_batch_init(options.n_batch, 0, 1)

    def describe(self):
        has = {word.strip() for word in c.llama_print_system_info().decode().split("CPU : ")[-1].split("|")}
        widest = next((name for name in ("AVX512_BF16", "AVX512", "AVX2") if f"{name} = 1" in has), "no AVX2")
        return f"llama-cpp-python {c.__version__}, bf16, {widest}"

    def use(self, number):
        """Sets the context's one adapter, or none."""
        chosen = [] if number is None else [self.adapters[number]]
        pointers = (c.llama_adapter_lora_p_ctypes * len(chosen))(*chosen)
        scales = (ctypes.c_float * len(chosen))(*[1.0] * len(chosen))
        assert c.llama_set_adapters_lora(self.context, pointers, len(chosen), scales) == 0

    def step(self, rows, first_position):
        """Computes each row's next tokens, and returns the likeliest token after each row."""
        batch, at = self.batch, 0
        ends = []
        for row, tokens in enumerate(rows):
            for position, token in enumerate(tokens, first_position):
                batch.token[at], batch.pos[at] = token, position
                batch.n_seq_id[at], batch.seq_id[at][0] = 1, row
                batch.logits[at] = position == first_position + len(tokens) - 1
                at += 1
            ends.append(at - 1)
        batch.n_tokens = at
        assert c.llama_decode(self.context, batch) == 0
        logits = [c.llama_get_logits_ith(self.context, end) for end in ends]
        return [int(numpy.ctypeslib.as_array(row, (self.vocabulary,)).argmax()) for row in logits]

    def together(self, rows, max_tokens, adapter):
        """Answers prompts of one length side by side, with one adapter or none."""
        c.llama_memory_clear(c.llama_get_memory(self.context), False)
        began = time.perf_counter()
        self.use(adapter)
        last = self.step(rows, 0)
        all_began = time.perf_counter()
        answers = [[token] for token in last]
        for position in range(len(rows[0]), len(rows[0]) + max_tokens - 1):
            last = self.step([[token] for token in last], position)
            for answer, token in zip(answers, last):
                answer.append(token)
        return {"prefill_s": all_began - began, "decode_s": time.perf_counter() - all_began, "tokens": answers}

    def measure(self, case):
        rows = prompts(case, self.vocabulary)
        if case["adapters"] <= 1:
            return self.together(rows, case["max_tokens"], adapter_of(case, 0))
        took = {"prefill_s": 0.0, "decode_s": 0.0, "tokens": []}
        for at, row in enumerate(rows):
            alone = self.together([row], case["max_tokens"], adapter_of(case, at))
            took = {name: took[name] + alone[name] for name in took}
        return took


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()

    def open_engine():
        peer = Peer(arguments.folder / "gguf", arguments.threads)
        return peer.describe(), peer.measure

    answer_cases(open_engine)


if __name__ == "__main__":
    main()
