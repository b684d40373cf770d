"""Transformers with PEFT: answers the cases of `cases.py`, and says how good other engines' answers are.

    python peer_transformers.py FOLDER --threads N [--dtype float32]

A case that brings "tokens" is not measured but judged: each of those tokens is looked up in what this model says after
the same prompt and the tokens before it. The answer is {"same", "worst"}: the share of tokens that are this model's
likeliest, and the most that one lies below it, in standard deviations of the logits it was chosen among.
"""

import argparse
import pathlib
import time

import peft
import torch
import transformers

from cases import ADAPTERS, adapter_of, answer_cases, prompts


class Peer:
    def __init__(self, folder, threads, dtype):
        torch.set_num_threads(threads)
        transformers.utils.logging.set_verbosity_error()
        base = transformers.AutoModelForCausalLM.from_pretrained(folder / "model", dtype=dtype)
        # Into memory: left in the mapped file they would lie in small pages, and be read slower.
        for weight in base.parameters():
            weight.data = weight.data.clone()
        self.vocabulary = base.config.vocab_size
        # Adapters keep the model's type; PEFT would widen them to f32, and compute slower.
        path = folder / "adapters"
        self.model = peft.PeftModel.from_pretrained(base, path / "0", adapter_name="0", autocast_adapter_dtype=False)
        for number in range(1, ADAPTERS):
            self.model.load_adapter(path / str(number), adapter_name=str(number), autocast_adapter_dtype=False)
        self.model.to(dtype).eval()

    def describe(self):
        versions = f"transformers {transformers.__version__}, peft {peft.__version__}, torch {torch.__version__}"
        return f"{versions}, eager, {str(self.model.dtype).removeprefix('torch.')}"

    def with_adapters(self, case):
        """The forward pass of a case's rows: of the base alone, of one adapter, or of an adapter a row."""
        names = [str(adapter_of(case, row)) for row in range(case["batch"])]
        self.model.base_model.enable_adapter_layers()
        if case["adapters"] == 0:
            self.model.base_model.disable_adapter_layers()
            return self.model.base_model
        if case["adapters"] == 1:
            self.model.set_adapter(names[0])
            return self.model.base_model
        return lambda **inputs: self.model(adapter_names=names, **inputs)

    @torch.inference_mode()
    def measure(self, case):
        rows, forward = torch.tensor(prompts(case, self.vocabulary)), self.with_adapters(case)
        if "tokens" in case:
            return judge(forward, rows, torch.tensor(case["tokens"]))
        began = time.perf_counter()
        out = forward(input_ids=rows, use_cache=True, logits_to_keep=1)
        answers = [out.logits[:, -1].argmax(-1, keepdim=True)]
        all_began = time.perf_counter()
        for _ in range(case["max_tokens"] - 1):
            out = forward(input_ids=answers[-1], cache=out.cache, use_cache=True)
            answers.append(out.logits[:, -1].argmax(-1, keepdim=True))
        ended = time.perf_counter()
        tokens = torch.cat(answers, 1).tolist()
        return {"prefill_s": all_began - began, "decode_s": ended - all_began, "tokens": tokens}


def judge(forward, rows, answers):
    said = torch.cat([rows, answers[:, :-1]], 1)
    logits = forward(input_ids=said, use_cache=False, logits_to_keep=answers.shape[1]).logits.float()
    chosen = logits.gather(2, answers[..., None])[..., 0]
    below = (logits.amax(2) - chosen) / logits.std(2)
    return {"same": (below == 0).float().mean().item(), "worst": below.max().item()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--dtype", default="bfloat16")
    arguments = parser.parse_args()

    def open_engine():
        peer = Peer(arguments.folder, arguments.threads, getattr(torch, arguments.dtype))
        return peer.describe(), peer.measure

    answer_cases(open_engine)


if __name__ == "__main__":
    main()
