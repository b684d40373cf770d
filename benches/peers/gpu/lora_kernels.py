#!/usr/bin/env python3
"""Times the LoRA kernels of vLLM, of SGLang and of Loam at the four sites of a Llama-3-8B layer.

    ./prepare.sh DIR                                            # where package registries can be reached
    python3 lora_kernels.py --peers-dir DIR --ours loam-bench --out lora.jsonl    # on the GPU machine
    TRITON_INTERPRET=1 python3 lora_kernels.py --peers-dir DIR --check-cpu        # small sizes, no GPU

Their kernel files are imported from DIR beside small stand-ins for the rest of their packages. Every case is checked
against a float32 reference per adapter before it is timed. One JSON object a line; a case that fails carries "error".
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import time
import traceback

import torch

from lora_case import SITES, TINY_SITES, TOLERANCE, Case
from lora_ours import Ours
from lora_peers import PEERS

ROWS, DISTINCT, RANKS = (1, 32, 128, 2048, 8), (1, 8, 32, 128), (16, 8, 64)  # most wanted first


def capture(call, order):
    """A graph of the calls, on the current stream. Not torch.cuda.graph: it empties the allocator's cache each time."""
    graph = torch.cuda.CUDAGraph()
    graph.capture_begin(capture_error_mode="thread_local")
    try:
        for i in order:
            call(i)
    except BaseException:
        try:
            graph.capture_end()
        except Exception:
            pass
        raise
    graph.capture_end()
    return graph


def median(values):
    values = sorted(values)
    return values[len(values) // 2]


def time_graph(graph, calls, stream):
    """Median microseconds a call."""
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    times = []
    for _ in range(2):
        graph.replay()
    until = time.monotonic() + 0.08
    while len(times) < 5 or (len(times) < 15 and time.monotonic() < until):
        start.record(stream)
        graph.replay()
        stop.record(stream)
        stop.synchronize()
        times.append(start.elapsed_time(stop) * 1e3 / calls)
    return median(times)


def measure(peer, case, stream):
    """Microseconds by name, and the relative error of what was computed."""
    if isinstance(peer, Ours):  # a process of its own, which takes its own time
        return peer.measure(case)
    with torch.inference_mode(), torch.cuda.stream(stream):
        ops = peer.prepare(case)
        for i in range(case.sets):  # compiles, fills their pointer tables and their scratch
            ops.pair(i)
        stream.synchronize()
        errors = [case.rel_err(i, ops.outputs[i]) for i in {0, case.sets - 1}]
        err = max(errors)
        for i in range(case.sets):
            ops.shrink(i)
            ops.expand(i)
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record(stream)
        for i in range(min(case.sets, 8)):
            ops.pair(i)
        stop.record(stream)
        stop.synchronize()
        guess = max(1.0, start.elapsed_time(stop) * 1e3 / min(case.sets, 8))
        rounds = max(1, min(64, round(2000 / guess)) // case.sets)
        order = [i for _ in range(rounds) for i in range(case.sets)]
        result = {}
        for name in ("shrink", "expand", "pair"):
            graph = capture(getattr(ops, name), order)
            result[name] = time_graph(graph, len(order), stream)
            del graph
    return result, err


def sets_for(shape, rows, distinct, rank, flush, cap=1024):
    return max(3, min(cap, -(-flush // Case.bytes_a_set(shape, rows, distinct, rank))))


def cases(args):
    for rank in args.ranks:
        for rows in args.rows:
            for distinct in args.distinct:
                if distinct <= rows:
                    for site in args.sites:
                        yield site, rows, distinct, rank


def load_peers(args):
    loaded = {}
    for name in args.peers:
        try:
            loaded[name] = PEERS[name](args.peers_dir)
        except Exception as e:
            print(f"{name}: not available: {type(e).__name__}: {e}", flush=True)
            if args.verbose:
                traceback.print_exc()
    if args.ours:
        loaded[Ours.NAME] = Ours(args.ours)
    return loaded


def skip(name, rows):
    return name == "sglang_csgmv128" and rows < 64  # same as sglang_csgmv there


def warm(args):
    """Compiles in parallel into Triton's cache on disk, each process its share of the cases."""
    began = time.monotonic()
    argv = [sys.executable, os.path.abspath(__file__), "--peers-dir", args.peers_dir, "--compile-only",
            "--limit-s", str(args.warm_s)]
    for name in ("peers", "sites", "rows", "distinct", "ranks"):
        argv += ["--" + name, ",".join(map(str, getattr(args, name)))]
    jobs = [subprocess.Popen(argv + ["--shard", f"{i}/{args.warm}"], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL) for i in range(args.warm)]
    for job in jobs:
        try:
            job.wait(max(1, args.warm_s + 20 - (time.monotonic() - began)))
        except subprocess.TimeoutExpired:
            job.kill()
    print(f"compiled by {args.warm} processes in {time.monotonic() - began:.0f} s", flush=True)


def compile_only(args, loaded):
    until = time.monotonic() + args.limit_s
    part, parts = map(int, args.shard.split("/"))
    for n, (site, rows, distinct, rank) in enumerate(cases(args)):
        if n % parts != part:
            continue
        if time.monotonic() > until:
            return
        case = Case(site, SITES[site], rows, distinct, rank, 1, "cuda", torch.bfloat16)
        for name, peer in loaded.items():
            if not skip(name, rows):
                try:
                    with torch.inference_mode():
                        peer.prepare(case).pair(0)
                        torch.cuda.synchronize()
                except Exception:
                    pass
        del case


def check_cpu(args, loaded):
    """Right answers only, under Triton's interpreter. In float16: the interpreter multiplies bfloat16 wrongly."""
    if args.real:
        grid = [(site, SITES[site], *rest) for site, *rest in cases(args)]
    else:
        grid = [(site, TINY_SITES[site], rows, distinct, rank) for rows, distinct in ((1, 1), (5, 3), (21, 2))
                for rank in args.ranks for site in args.sites]
    bad = 0
    for name, peer in loaded.items():
        worst, ran, failed = 0.0, 0, {}
        for site, shape, rows, distinct, rank in grid:
            try:
                case = Case(site, shape, rows, distinct, rank, 1, "cpu", torch.float16)
                with torch.inference_mode():
                    ops = peer.prepare(case)
                    ops.pair(0)
                err = case.rel_err(0, ops.outputs[0])
                worst, ran = max(worst, err if err == err else float("inf")), ran + 1
            except Exception as e:
                why = f"{type(e).__name__}: {str(e).strip()[:150]}"
                failed.setdefault(why, []).append((site, rows, distinct, rank))
                if args.verbose:
                    traceback.print_exc()
        bad += bool(failed) or not worst < TOLERANCE
        print(f"{name}: {ran} cases, worst relative error {worst:.2e}", flush=True)
        for why, where in failed.items():
            print(f"  {len(where)} failed, first {where[0]}: {why}", flush=True)
    return 1 if bad or not loaded else 0


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names, ints = (lambda s: s.split(",")), (lambda s: [int(v) for v in s.split(",")])
    p.add_argument("--peers-dir", default="peers")
    p.add_argument("--out", default="lora.jsonl")
    p.add_argument("--peers", type=names, default=[n for n in PEERS if n != "vllm_invariant"])
    p.add_argument("--ours", help="loam-bench, built with kernels for a GPU")
    p.add_argument("--sites", type=names, default=list(SITES))
    p.add_argument("--rows", type=ints, default=list(ROWS))
    p.add_argument("--distinct", type=ints, default=list(DISTINCT))
    p.add_argument("--ranks", type=ints, default=list(RANKS))
    p.add_argument("--limit-s", type=float, default=420, help="stop starting cases after this; rerun to go on")
    p.add_argument("--warm", type=int, default=0, help="processes that compile first (4 on a 16-core machine)")
    p.add_argument("--warm-s", type=float, default=150)
    p.add_argument("--fresh", action="store_true", help="forget results in --out instead of going on from them")
    p.add_argument("--check-cpu", action="store_true", help="answers at tiny sizes under TRITON_INTERPRET=1")
    p.add_argument("--real", action="store_true", help="with --check-cpu: the real sites, at --rows and so on (slow)")
    p.add_argument("--compile-only", action="store_true", help=argparse.SUPPRESS)
    p.add_argument("--shard", default="0/1", help=argparse.SUPPRESS)
    p.add_argument("--verbose", action="store_true")
    args = p.parse_args()
    if args.check_cpu and os.environ.get("TRITON_INTERPRET") != "1":
        p.error("--check-cpu needs TRITON_INTERPRET=1")
    return args


def measured_before(args):
    """What --out has already, by peer and case; what failed is tried again."""
    if args.fresh and os.path.exists(args.out):
        os.remove(args.out)
    if not os.path.exists(args.out):
        return set()
    with open(args.out) as f:
        rows = [json.loads(line) for line in f if line.endswith("\n")]
    return {(r["peer"], r["site"], r["rows"], r["distinct"], r["rank"]) for r in rows if "error" not in r}


def row_of(peer, case, stream, verbose):
    """One row of --out, and whether the device is lost."""
    row = {"site": case.site, "rows": case.rows, "distinct": case.distinct, "rank": case.rank}
    try:
        us, err = measure(peer, case, stream)
        row.update({f"{k}_us": round(v, 3) for k, v in us.items()})
        row["gbps"] = round(case.adapter_bytes / us["pair"] / 1e3, 1)
        row["rel_err"] = float(f"{err:.3g}") if err == err else None
        if not err < TOLERANCE:  # NaN too
            row["error"] = "wrong"
    except Exception as e:
        row["error"] = f"{type(e).__name__}: {str(e).strip()[:200]}"
        if verbose:
            traceback.print_exc()
        return row, isinstance(e, RuntimeError) and "CUDA error" in str(e)
    return row, False


def measure_all(args, loaded):
    """Every case that is not in --out, as long as there is time. How many are left, and how many of ours failed."""
    import triton
    props = torch.cuda.get_device_properties(0)
    flush = 2 * (getattr(props, "L2_cache_size", 0) or 50 << 20)
    print(json.dumps({"device": props.name, "l2_mib": flush // 2 >> 20, "torch": torch.__version__,
                      "triton": triton.__version__, "rotation_mib": flush >> 20}), flush=True)
    done, left, bad = measured_before(args), 0, 0
    until = time.monotonic() + args.limit_s
    stream = torch.cuda.Stream()
    gc.disable()  # a collection inside a capture could free device objects
    with open(args.out, "a") as out:
        for site, rows, distinct, rank in cases(args):
            todo = [n for n in loaded if not skip(n, rows) and (n, site, rows, distinct, rank) not in done]
            if not todo:
                continue
            if time.monotonic() > until:
                left += len(todo)
                continue
            shape = SITES[site]
            case = Case(site, shape, rows, distinct, rank, sets_for(shape, rows, distinct, rank, flush), "cuda",
                        torch.bfloat16)
            torch.cuda.synchronize()
            for name in todo:
                row, lost = row_of(loaded[name], case, stream, args.verbose)
                line = json.dumps({"peer": name} | row)
                out.write(line + "\n")
                out.flush()
                print(line, flush=True)
                bad += name == Ours.NAME and "error" in row
                if lost:
                    sys.exit(f"error: the device is lost; run again with --peers to leave {name} out")
            del case
            gc.collect()
            torch.cuda.empty_cache()
    return left, bad


def main():
    args = arguments()
    if not args.check_cpu and not torch.cuda.is_available():
        sys.exit("error: no CUDA device; --check-cpu checks answers at small sizes without one")
    if args.warm and not args.compile_only:
        began = time.monotonic()
        warm(args)
        args.limit_s -= time.monotonic() - began
    loaded = load_peers(args)
    if args.check_cpu:
        return check_cpu(args, loaded)
    if args.compile_only:
        return compile_only(args, loaded)
    left, bad = measure_all(args, loaded)
    if bad:
        print(f"error: {bad} of our own cases failed: their rows in {args.out} say how", flush=True)
    elif left:
        print(f"error: out of time with {left} measurements left; run again to go on", flush=True)
    return 1 if left or bad else 0


if __name__ == "__main__":
    sys.exit(main())
