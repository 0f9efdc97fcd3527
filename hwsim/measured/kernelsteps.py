"""Step times from measured kernels of one model on one card: what tells the error of the loop from that of the steps.

Tables: kernels by tokens (`*_llama31_8b.csv`), attention by chunk, sequences and contexts (`*_attention.csv`), both of
casys-kaist/LLMServingSim (MIT). Between rows: straight lines.
"""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property

from hwsim.jobs.serving.curve import Cell
from hwsim.jobs.serving.requests import ticks
from hwsim.jobs.serving.steptimes import StepTimes
from hwsim.measured.sets import FOLDER

#: Kernels of a layer by tokens, and how often a layer runs each; kernels outside the layers; by sequences.
LAYER = {
    "layernorm": 2, "qkv_proj": 1, "rotary_emb": 1, "o_proj": 1, "gate_up_proj": 1, "act_fn": 1, "down_proj": 1,
}  # fmt: skip
OUTSIDE, PER_SEQUENCE = ("embedding", "final_layernorm"), ("lm_head", "sampler")
LAYERS = 32


def between(axis: Sequence[int], x: float) -> tuple[int, int, float]:
    """(row below, row above, share of the way) of x on an axis; ends are the ends."""
    if x <= axis[0]:
        return axis[0], axis[0], 0.0
    if x >= axis[-1]:
        return axis[-2], axis[-1], (x - axis[-2]) / (axis[-1] - axis[-2])
    at = bisect_right(axis, x)
    low, high = axis[at - 1], axis[at]
    return low, high, (x - low) / (high - low)


class MeasuredKernels(StepTimes):
    """Passes of Llama-3.1-8B in bf16 under vLLM on a card, of its kernels' times; no software between them."""

    def __init__(self, card: str, graphs: Sequence[int] = ()):
        super().__init__(graphs)
        self.dense: dict[str, dict[int, float]] = {}
        for row in csv.DictReader((FOLDER / f"{card}.csv").open(encoding="utf-8")):
            self.dense.setdefault(row["layer"], {})[int(row["tokens"])] = 1e-6 * float(row["us"])
        self.core: dict[tuple[int, int, int, int], float] = {}
        names = ("chunk", "done", "sequences", "context")
        for row in csv.DictReader((FOLDER / f"{card}_attention.csv").open(encoding="utf-8")):
            key = int(row["chunk"]), int(row["done"]), int(row["sequences"]), int(row["context"])
            assert len(key) == len(names)
            self.core[key] = 1e-6 * float(row["us"])
        self._sums: dict[int, float] = {}

    @cached_property
    def axes(self) -> tuple[list[int], list[int], list[int], list[int], list[int]]:
        """Chunks alone, what was done before them, sequences, contexts, chunks beside decode steps."""
        alone = sorted({c for c, _, n, _ in self.core if c and not n})
        done = sorted({d for c, d, n, _ in self.core if c and not n})
        sequences = sorted({n for _, _, n, _ in self.core if n})
        contexts = sorted({k for _, _, n, k in self.core if n and k})
        beside = [0, *sorted({c for c, _, n, _ in self.core if c and n})]
        return alone, done, sequences, contexts, beside

    def _dense(self, name: str, count: int) -> float:
        table = self.dense[name]
        low, high, share = between(sorted(table), count)
        return table[low] + share * (table[high] - table[low])

    def matrices(self, tokens: int) -> float:
        """All kernels that are not attention, without the head."""
        if tokens not in self._sums:
            layer = sum(often * self._dense(name, tokens) for name, often in LAYER.items())
            self._sums[tokens] = LAYERS * layer + sum(self._dense(name, tokens) for name in OUTSIDE)
        return self._sums[tokens]

    def head(self, sequences: int) -> float:
        """Logits and sampling."""
        return sum(self._dense(name, sequences) for name in PER_SEQUENCE)

    def _decodes(self, chunk: int, sequences: int, context: int) -> float:
        """Attention of decode steps beside a chunk of a new prompt; seconds of a layer."""
        return self.core[chunk, 0, sequences, context] - (self.core[chunk, 0, 0, 0] if chunk else 0.0)

    def _beside(self, chunk: float, sequences: float, context: float) -> float:
        _, _, counts, contexts, chunks = self.axes
        found = 0.0
        c0, c1, cs = between(chunks, min(chunk, chunks[-1]))
        n0, n1, ns = between(counts, sequences)
        k0, k1, ks = between(contexts, context)
        for c, c_share in ((c0, 1 - cs), (c1, cs)):
            for n, n_share in ((n0, 1 - ns), (n1, ns)):
                for k, k_share in ((k0, 1 - ks), (k1, ks)):
                    if c_share * n_share * k_share:
                        found += c_share * n_share * k_share * self._decodes(c, n, k)
        return found

    def attention(self, sequences: int, context: float, mixed: bool) -> Cell:
        """Between measured contexts; of passes that only decode."""
        low, high, _ = between(self.axes[3], max(context, self.axes[3][0] + 1e-9))
        at = [LAYERS * self._beside(0, sequences, x) for x in (low, high)]
        if context < self.axes[3][0]:
            return Cell(0, low, at[0], at[0])
        return Cell(low, high, *at)

    def prompts(self, chunks: Sequence[tuple[int, int]]) -> float:
        """Chunks share the start of their kernel, which is that of the shortest."""
        start = self.core[self.axes[0][0], 0, 0, 0]
        return LAYERS * (start + sum(self._prompt(*chunk) - start for chunk in chunks))

    def _prompt(self, chunk: int, done: int) -> float:
        c0, c1, cs = between(self.axes[0], chunk)
        d0, d1, ds = between(self.axes[1], done)
        shares = ((c0, d0, (1 - cs) * (1 - ds)), (c0, d1, (1 - cs) * ds), (c1, d0, cs * (1 - ds)), (c1, d1, cs * ds))
        return sum(share * self.core[c, d, 0, 0] for c, d, share in shares if share)

    def software(self, sequences: int, chunks: int) -> float:
        """None."""
        return 0.0

    def mixed(self, sequences: int, contexts: int, chunks: Sequence[tuple[int, int]], new: int = 1) -> int:
        """Decode attention beside chunks is measured by how long they are."""
        tokens = sequences * new + sum(chunk for chunk, _ in chunks)
        found = self.matrices(self.padded(tokens, True)) + self.head(sequences + len(chunks)) + self.prompts(chunks)
        if sequences:
            found += LAYERS * self._beside(sum(chunk for chunk, _ in chunks), sequences, contexts / sequences)
        return ticks(found)
