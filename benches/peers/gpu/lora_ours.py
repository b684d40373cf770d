#!/usr/bin/env python3
"""Loam beside the peers: `loam-bench site`, a process that is handed a case's tensors as files.

    python3 lora_ours.py LOAM_BENCH [--device cpu]      whether it computes what the reference does, at small sizes

It takes the time of its own graphs, over as many sets of tensors as the peers go round, with the delta added into y as
theirs is. What it computed comes back as a file, and is held against the same reference as theirs.
"""

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile

import torch

from lora_case import SCALING, TINY_SITES, TOLERANCE, Case

LIMIT_S = 60  # for one case
MEMORY = "/dev/shm"  # files that never reach a disk


class Ours:
    NAME = "ours"

    def __init__(self, program, device="cuda"):
        self.command, self.process = [program, "site", "--device", device], None

    def start(self):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(self.command, text=True, bufsize=1, **pipes)
        print(self.read()["ready"], flush=True)

    def read(self):
        """A line within the limit; else the process is ended, and the next case has a fresh one."""
        ready, _, _ = select.select([self.process.stdout], [], [], LIMIT_S)
        line = self.process.stdout.readline() if ready else ""
        if line:
            return json.loads(line)
        self.process.kill()
        self.process = None
        raise TimeoutError(f"{LIMIT_S} s are over" if not ready else "the process ended: the log says why")

    def measure(self, case):
        """Microseconds of a pass, and the relative error of what one pass made of y0."""
        if self.process is None:
            self.start()
        with tempfile.TemporaryDirectory(dir=MEMORY if os.path.isdir(MEMORY) else None) as folder:
            for name, tensor in (("x", case.x), ("a", case.a), ("b", case.b), ("y0", case.y0)):
                tensor[0].contiguous().view(torch.int16).cpu().numpy().tofile(os.path.join(folder, name))
            asked = {"folder": folder, "in_features": case.k, "modules": list(case.slices), "rank": case.rank,
                     "scale": SCALING, "adapters": case.distinct, "slots": case.slots.tolist(), "sets": case.sets}
            self.process.stdin.write(json.dumps(asked) + "\n")
            answer = self.read()
            if "error" in answer:
                raise ValueError(answer["error"])
            with open(os.path.join(folder, "y"), "rb") as f:
                y = torch.frombuffer(bytearray(f.read()), dtype=torch.bfloat16)
        y = y.reshape(case.rows, case.n).to(case.device)
        return {"pair": answer["pair_us"]}, case.rel_err(0, y)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("program")
    p.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    args = p.parse_args()
    ours, worst, count = Ours(args.program, args.device), 0.0, 0
    for rows, distinct in ((1, 1), (5, 3), (21, 2)):
        for rank in (8, 16, 64):
            for site, shape in TINY_SITES.items():
                case = Case(site, shape, rows, distinct, rank, 2, "cpu", torch.bfloat16)
                _, err = ours.measure(case)
                worst, count = max(worst, err if err == err else float("inf")), count + 1
    print(f"ours: {count} cases, worst relative error {worst:.2e}")
    return 0 if worst < TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
