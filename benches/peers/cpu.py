"""Loam beside its peers on the CPU: tokens a second of prefill and decode, with none, one and eight adapters in use.

    python cpu.py FOLDER --threads 2                      measures, some 20 minutes; leave the machine alone meanwhile
    python cpu.py FOLDER --threads 2 --check              whether all engines say the same; measures nothing
    python cpu.py FOLDER --threads 2 --results ../results keeps the figures as .json and .md, as loam-bench does

FOLDER is what make_model.py wrote. All engines are open at once and take turns, case by case, so that what the machine
does besides falls on all of them; the first round is not counted. A ratio is a time of ours over a peer's time in the
same round, so less than 1 is faster; figures are medians over rounds.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

from cases import ADAPTERS, CASES, rate

HERE = pathlib.Path(__file__).resolve().parent
OURS = "loam"
PEERS = ["llama_cpp", "transformers"]
NOTES = {
    ("llama_cpp", "prefill_8x64_8_adapters"): "one sequence after the other: it mixes no adapters in a batch",
    ("llama_cpp", "decode_b8_8_adapters"): "one sequence after the other: it mixes no adapters in a batch",
    ("transformers", "prefill_8x64_8_adapters"): "adapter_names, one a row",
    ("transformers", "decode_b8_8_adapters"): "adapter_names, one a row",
}
# Ours asks the system for large pages; so that peers have them too, their allocators are told to.
LARGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "THP_MEM_ALLOC_ENABLE": "1"}
# Rounding in bf16 moves a logit by some hundredths of their deviation. A wrong rotation, or an adapter that is left out
# or another row's, gives tokens that lie whole deviations below the likeliest.
BELOW_MAX = 0.25
CHECKED = ["decode_b8_base", "decode_b8_one_adapter", "decode_b8_8_adapters"]


class Engine:
    """A process that answers cases."""

    def __init__(self, command):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, env=os.environ | LARGE_PAGES, text=True, **pipes)
        self.description = self.read()["ready"]

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"ended early: {' '.join(map(str, self.process.args))}")
        return json.loads(line)

    def ask(self, case):
        self.process.stdin.write(json.dumps(case) + "\n")
        self.process.stdin.flush()
        return self.read()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def command(name, arguments, *more):
    if name == OURS:
        folders = [arguments.folder / f"adapters/{number}" for number in range(ADAPTERS)]
        adapters = [word for folder in folders for word in ("--adapter", folder)]
        options = ["--threads", str(arguments.threads), "--cases", "-"]
        return [arguments.loam, "engine", "--model", arguments.folder / "model", *adapters, *options]
    return [sys.executable, HERE / f"peer_{name}.py", arguments.folder, "--threads", str(arguments.threads), *more]


def check(arguments):
    """Holds each engine's greedy answers against what Transformers in f32 says after the same tokens."""
    judge = Engine(command("transformers", arguments, "--dtype", "float32"))
    failed = False
    for name in arguments.engines:
        engine = Engine(command(name, arguments))
        for case_name in CHECKED:
            case = CASES[case_name] | {"prompt_tokens": 48, "max_tokens": 16, "seed": 5000}
            said = engine.ask(case)["tokens"]
            judged = judge.ask(case | {"tokens": said})
            wrong = judged["worst"] > BELOW_MAX
            failed |= wrong
            words = f"{judged['same']:.1%} of tokens the likeliest, the worst {judged['worst']:.3f} deviations below"
            print(f"{name:<14}{case_name:<28}{words}{', WRONG' if wrong else ''}", flush=True)
        engine.close()
    judge.close()
    return 1 if failed else 0


def measure(arguments):
    """Tokens a second: by engine and case, one number a round."""
    engines = {name: Engine(command(name, arguments)) for name in arguments.engines}
    rates = {(name, case): [] for name in engines for case in arguments.cases}
    for turn in range(arguments.rounds + 1):
        for number, case_name in enumerate(arguments.cases):
            case = CASES[case_name] | {"seed": 10_000 * turn + 100 * number}
            # Each begins in turn, so that none always comes after the same other.
            order = list(engines)
            order = order[turn % len(order):] + order[: turn % len(order)]
            for name in order:
                time.sleep(arguments.rest)
                value = rate(case, engines[name].ask(case))
                print(f"round {turn}  {name:<14}{case_name:<28}{value:8.1f} tokens/s", file=sys.stderr, flush=True)
                if turn > 0:
                    rates[name, case_name].append(value)
    described = {name: engine.description for name, engine in engines.items()}
    for engine in engines.values():
        engine.close()
    return rates, described


def figures(rates, described, cases):
    out = []

    def figure(name, value, unit, note):
        out.append({"figure": name, "value": value, "unit": unit, "roof": None, "note": note})
        print(f"{name:<56} {digits(value):>10} {unit:<9} {note}")

    for case in cases:
        for name in described:
            whose = "" if name == OURS else f"_{name}"
            notes = [described[name], NOTES.get((name, case)), f"median of {len(rates[name, case])}"]
            note = ", ".join(note for note in notes if note)
            figure(f"cpu_{case}{whose}_tok_s", statistics.median(rates[name, case]), "tokens/s", note)
        for peer in PEERS:
            if OURS in described and peer in described:
                ratios = [theirs / ours for ours, theirs in zip(rates[OURS, case], rates[peer, case])]
                note = ", ".join(filter(None, ["time over time", NOTES.get((peer, case))]))
                figure(f"cpu_{case}_over_{peer}", statistics.median(ratios), "x", note)
    return out


def digits(value):
    """A number with three digits that count, as loam-bench prints it."""
    digits_after = next((after for least, after in ((1000, 0), (10, 1), (0.1, 2)) if abs(value) >= least), 4)
    return f"{value:.{digits_after}f}"


def said_by(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True, cwd=HERE).stdout.strip()


def write(folder, lines):
    """The two files of a run, named and laid out as loam-bench's own."""
    processor = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())[1]
    cores = len(os.sched_getaffinity(0))
    vendor = next((word for word in ("EPYC", "Xeon", "Ryzen", "Core") if word in processor), "cpu").lower()
    moment, commit = said_by("date", "-u", "+%Y-%m-%d-%H%M"), said_by("git", "rev-parse", "--short", "HEAD")
    dirty = ", with changes on top" if said_by("git", "status", "--porcelain") else ""
    text = f"# {moment}, {processor}, {cores} cores\n\n"
    text += f"Commit {commit}{dirty}. Shared machine: quote ratios, not times.\n\n"
    text += "| figure | value | unit | roof | note |\n|---|---:|---|---:|---|\n"
    for line in lines:
        text += f"| {line['figure']} | {digits(line['value'])} | {line['unit']} |  | {line['note']} |\n"
    path = folder / f"{moment}-{vendor}-{cores}core-{commit}"
    folder.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))
    path.with_suffix(".md").write_text(text)
    print(f"wrote {path}.md and .json")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--threads", type=int, required=True, help="of every engine")
    parser.add_argument("--check", action="store_true", help="hold answers against each other instead")
    parser.add_argument("--results", type=pathlib.Path, help="where to write the results")
    parser.add_argument("--loam", type=pathlib.Path, default=HERE / "../../.bin/loam-bench", help="our program")
    parser.add_argument("--engines", nargs="+", default=[OURS, *PEERS], choices=[OURS, *PEERS])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rest", type=float, default=0.5, help="seconds between turns, for threads to fall asleep")
    arguments = parser.parse_args()
    if arguments.check:
        sys.exit(check(arguments))
    rates, described = measure(arguments)
    lines = figures(rates, described, arguments.cases)
    if arguments.results:
        write(arguments.results, lines)


if __name__ == "__main__":
    main()
