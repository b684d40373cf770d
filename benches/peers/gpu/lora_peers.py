"""The peers: each prepares a case's shrink, expand, and both together as its server runs them."""

import importlib
import sys
import types

import torch

from lora_case import SCALING, Ops
from stand_ins import import_sglang, import_vllm


class Vllm:
    def __init__(self, root, invariant=False):
        self.lib, self.invariant = import_vllm(root), invariant

    def prepare(self, case):
        lib = self.lib
        for cache in (lib.utils._LORA_A_PTR_DICT, lib.utils._LORA_B_PTR_DICT):
            cache.clear()  # keyed by address alone, and addresses come back with other shapes
        for module in (lib.shrink, lib.utils):
            module.is_batch_invariant = self.invariant
        lib.utils.get_lora_op_configs.cache_clear()
        s, r = len(case.slices), case.rank
        a = [[case.a[i][:, j * r:(j + 1) * r].contiguous() for j in range(s)] for i in range(case.sets)]
        b = [[case.b[i][:, lo:hi].contiguous() for lo, hi in zip(case.offsets, case.offsets[1:])]
             for i in range(case.sets)]
        meta = lib.meta.make(case.distinct, case.rows, case.device)
        meta.prepare_tensors(case.slots.to(case.device))
        args = meta.meta_args(case.rows, True)  # grid depth = the adapters present, their best setting
        y = case.y0.clone()

        def buffer():
            return torch.empty((s, case.rows, r), dtype=torch.float32, device=case.device)

        kept = [buffer() for _ in range(case.sets)]

        def shrink(i, out=None):
            lib.shrink.lora_shrink(case.x[i], a[i], kept[i] if out is None else out, *args, SCALING)

        def expand(i, h=None):
            lib.expand.lora_expand(kept[i] if h is None else h, b[i], y[i], *args, offset_start=0, add_inputs=True)

        def pair(i):
            h = buffer()
            shrink(i, h)
            expand(i, h)

        return Ops(shrink, expand, pair, y)


class Chunked:
    """SGLang's default backend: rows sorted by adapter and cut into chunks."""

    def __init__(self, root, max_chunk=16):
        import_sglang_once(root)
        base = "sglang.kernels.ops.lora.dense."
        self.shrink = importlib.import_module(base + "chunked_sgmv_shrink").chunked_sgmv_lora_shrink_forward
        self.expand = importlib.import_module(base + "chunked_sgmv_expand").chunked_sgmv_lora_expand_forward
        self.max_chunk = max_chunk

    def chunk(self, rows):
        return min(self.max_chunk, 128 if rows >= 256 else 32 if rows >= 64 else 16)

    def prepare(self, case):
        chunk, bounds, owners = self.chunk(case.rows), [0], []
        order = torch.argsort(case.slots, stable=True)
        for adapter, count in zip(*torch.unique_consecutive(case.slots[order], return_counts=True)):
            left = int(count)
            while left:
                take = min(chunk, left)
                bounds.append(bounds[-1] + take)
                owners.append(int(adapter))
                left -= take

        def ints(values):
            return torch.tensor(values, dtype=torch.int32, device=case.device)

        info = types.SimpleNamespace(
            use_cuda_graph=False, bs=case.rows, num_segments=len(owners), max_len=chunk, seg_indptr=ints(bounds),
            weight_indices=ints(owners), permutation=order.to(torch.int32).to(case.device), seg_lens=None,
            lora_ranks=ints([case.rank] * case.distinct),
            scalings=torch.full((case.distinct,), SCALING, dtype=torch.float32, device=case.device))
        s, y = len(case.slices), case.y0.clone()
        offsets, offsets_cpu = ints(case.offsets), torch.tensor(case.offsets, dtype=torch.int32)
        kept = [None] * case.sets

        def shrink(i):
            h = self.shrink(x=case.x[i], weights=case.a[i], batch_info=info, num_slices=s)
            if kept[i] is None:
                kept[i] = h
            return h

        def expand(i, h=None):
            self.expand(x=kept[i] if h is None else h, weights=case.b[i], batch_info=info, slice_offsets=offsets,
                        slice_offsets_cpu=offsets_cpu, max_slice_size=max(case.slices), base_output=y[i])

        return Ops(shrink, expand, lambda i: expand(i, shrink(i)), y)


class TritonV2:
    """SGLang's planned backend: its own table picks the kernels. Without a base GEMM, its overlap does not apply."""

    def __init__(self, root):
        import_sglang_once(root)
        self.runner = importlib.import_module("sglang.srt.lora.dense.runner")
        self.plan = importlib.import_module("sglang.srt.lora.dense.plan")
        self.workspace = importlib.import_module("sglang.srt.lora.workspace")
        self.phase = sys.modules["sglang.srt.lora.utils"].Phase
        if not torch.cuda.is_available():
            self._cpu_geometry()

    def _cpu_geometry(self):
        """Their expand wants its offset table on a CUDA device; under the interpreter it is built here."""
        b = importlib.import_module("sglang.kernels.ops.lora.common.lora_b")

        def geometry(offsets, block, device, out_offsets=None):
            widths = [hi - lo for lo, hi in zip(offsets, offsets[1:])]
            same = widths[0] if len(set(widths)) == 1 else 0
            table = torch.tensor(offsets, dtype=torch.int32)
            return b.SliceGeometry(table, table[:-1].clone(), len(widths), sum(-(-w // block) for w in widths), same,
                                   same, all(w % block == 0 for w in widths), block)
        self.runner.slice_geometry = geometry

    def prepare(self, case):
        runner = self.runner.DenseLoraRunner(self.workspace.LoraWorkspace(), max_loras=case.distinct,
                                             device=case.device,
                                             architecture=None if case.device.type == "cuda" else "sm90")
        runner.begin_batch(
            token_slots=case.slots.to(case.device), num_tokens=case.rows,
            lora_ranks=torch.full((case.distinct,), case.rank, dtype=torch.int32, device=case.device),
            scalings=torch.full((case.distinct,), SCALING, dtype=torch.float32, device=case.device),
            phase=self.phase.PREFILL if case.prefill else self.phase.DECODE, graph_mode=case.device.type == "cuda")
        plan = runner.plan_for(self.plan.DenseLoraKind.LINEAR, case.rank, case.k, case.n, num_tokens=case.rows)
        s, y, offsets = len(case.slices), case.y0.clone(), tuple(case.offsets)
        kept = [None] * case.sets

        def copy(bridge):  # their scratch is shared by all calls; keep the first result of each set
            t = bridge.tensor
            return bridge._replace(tensor=t.clone(memory_format=torch.preserve_format))

        def shrink(i):
            h = runner.run_a(case.x[i], case.a[i], stack=s, plan=plan)
            if kept[i] is None:
                kept[i] = copy(h)
            return h

        def expand(i, h=None):
            runner.run_b(kept[i] if h is None else h, case.b[i], y[i], offsets=offsets, plan=plan)

        return Ops(shrink, expand, lambda i: expand(i, shrink(i)), y)


_sglang_ready = False


def import_sglang_once(root):
    global _sglang_ready
    if not _sglang_ready:
        import_sglang(root)
        _sglang_ready = True


PEERS = {
    "vllm": Vllm,
    "sglang_csgmv": Chunked,
    "sglang_csgmv128": lambda root: Chunked(root, 128),
    "sglang_triton_v2": TritonV2,
    "vllm_invariant": lambda root: Vllm(root, True),
}
