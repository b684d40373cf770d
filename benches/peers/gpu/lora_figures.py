#!/usr/bin/env python3
"""The rows of lora_kernels.py as figures: our time over each peer's, the worst of all cases.

    python3 lora_figures.py lora.jsonl          lines {"figure","value","unit","roof","note"}

Of a peer with several backends the fastest is taken, case by case. Where a case is missing on either side the note says
how many there were; where none has both the figure is null.
"""

import json
import math
import sys

FIGURES = {"lora_kernel_over_vllm": "vllm", "lora_kernel_over_sglang": "sglang"}
OURS = "ours"


def read(path):
    """Microseconds by peer and case, and what failed: the last row of each holds. A line cut short is left out."""
    times, failed = {}, {}
    with open(path) as f:
        for line in f:
            if not line.endswith("\n"):
                continue
            row = json.loads(line)
            key = row["peer"], (row["rows"], row["distinct"], row["rank"], row["site"])
            times.pop(key, None)
            failed.pop(key, None)
            if "error" in row:
                failed[key] = row["error"]
            else:
                times[key] = row["pair_us"]
    return times, failed


def fastest(times, peer):
    """The best of a peer's backends, by case."""
    best = {}
    for (name, case), us in times.items():
        if name == peer or name.startswith(peer + "_") and name != "vllm_invariant":
            best[case] = min(us, best.get(case, us))
    return best


def figure(name, times, failed):
    ours, theirs = fastest(times, OURS), fastest(times, FIGURES[name])
    found = sorted((us / theirs[case], case) for case, us in ours.items() if case in theirs)
    cases = {case for (_, case) in times} | {case for (_, case) in failed}
    wrong = sum(peer == OURS for peer, _ in failed)
    if not found:
        value, note = None, f"not measured: no case has both; {len(ours)} of ours, {len(theirs)} of theirs"
    else:
        value, (rows, distinct, rank, site) = found[-1]
        mean = math.exp(sum(math.log(ratio) for ratio, _ in found) / len(found))
        note = (f"aim 0.8; the worst of {len(found)} cases of {len(cases)}: {rows} rows, {distinct} adapters, "
                f"rank {rank}, {site}; geometric mean {mean:.3f}, best {found[0][0]:.3f}")
    if wrong:
        note += f"; OURS FAILED IN {wrong} CASES"
    return {"figure": name, "value": value, "unit": "x", "roof": None, "note": note}


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: lora_figures.py ROWS.jsonl")
    times, failed = read(sys.argv[1])
    for name in FIGURES:
        print(json.dumps(figure(name, times, failed), separators=(",", ":")))


if __name__ == "__main__":
    main()
