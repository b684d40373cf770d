"""One site of a Llama-3-8B layer with adapters: the same tensors for whoever computes it."""

import torch

# name -> (input width, widths of the stacked outputs)
SITES = {
    "qkv": (4096, (4096, 1024, 1024)),
    "o": (4096, (4096,)),
    "gate_up": (4096, (14336, 14336)),
    "down": (14336, (4096,)),
}
TINY_SITES = {"qkv": (96, (64, 32, 32)), "o": (64, (64,)), "gate_up": (64, (128, 128)), "down": (160, (64,))}
SCALING = 0.5
PREFILL_ROWS = 1024  # from here on rows come in runs, as prompts do; below, rows of adapters are interleaved
TOLERANCE = 2e-2


class Case:
    """One site, batch and rank: tensors for `sets` rotations, the same for every peer."""

    def __init__(self, site, shape, rows, distinct, rank, sets, device, dtype):
        self.site, (self.k, self.slices), self.rows, self.distinct, self.rank = site, shape, rows, distinct, rank
        self.sets, self.device, self.dtype = sets, torch.device(device), dtype
        self.n, s = sum(self.slices), len(self.slices)
        self.prefill = rows >= PREFILL_ROWS
        gen = torch.Generator(device=device).manual_seed(
            sum(ord(c) for c in site) * 1000003 + rows * 10007 + distinct * 101 + rank)
        host = torch.Generator().manual_seed(7)
        slots = torch.arange(rows) * distinct // rows
        self.slots = (slots if self.prefill else slots[torch.randperm(rows, generator=host)]).to(torch.int32)

        def normal(*shape, std=1.0):
            return torch.randn(*shape, generator=gen, device=device, dtype=dtype).mul_(std)

        self.x = normal(sets, rows, self.k)
        self.y0 = normal(sets, rows, self.n)
        self.a = normal(sets, distinct, s * rank, self.k, std=self.k ** -0.5)
        self.b = normal(sets, distinct, self.n, rank, std=rank ** -0.5)
        self.offsets = [0]
        for width in self.slices:
            self.offsets.append(self.offsets[-1] + width)
        self._deltas = {}
        self.adapter_bytes = distinct * (s * rank * self.k + self.n * rank) * 2

    @staticmethod
    def bytes_a_set(shape, rows, distinct, rank):
        k, slices = shape
        return 2 * (distinct * rank * (len(slices) * k + sum(slices)) + rows * (k + sum(slices)))

    def delta(self, i):
        """What the adapters add, in float32, one adapter at a time."""
        if i in self._deltas:
            return self._deltas[i]
        out = torch.zeros(self.rows, self.n, device=self.device)
        for adapter in range(self.distinct):
            rows = torch.nonzero(self.slots == adapter).reshape(-1).to(self.device)
            if not rows.numel():
                continue
            h = self.x[i][rows].float() @ self.a[i][adapter].float().T
            for s, (lo, hi) in enumerate(zip(self.offsets, self.offsets[1:])):
                mine = h[:, s * self.rank:(s + 1) * self.rank]
                out[rows, lo:hi] = SCALING * (mine @ self.b[i][adapter, lo:hi].float().T)
        self._deltas[i] = out
        return out

    def rel_err(self, i, y):
        delta = self.delta(i)
        return ((y.float() - self.y0[i].float() - delta).norm() / delta.norm()).item()


class Ops:
    """What a peer gives for a case: one call each for set i. `pair` is what the site does, buffers included."""

    def __init__(self, shrink, expand, pair, outputs):
        self.shrink, self.expand, self.pair, self.outputs = shrink, expand, pair, outputs
