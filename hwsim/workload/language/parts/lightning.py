"""Lightning attention (arXiv 2401.04658, MiniMax-01 2501.08313): linear attention with a fixed decay per head."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from hwsim.workload import vector as passes
from hwsim.workload.language.parts.mamba2 import chunk_pairs, chunks
from hwsim.workload.language.parts.step import Counts, Step
from hwsim.workload.language.share import Parallel, indivisible
from hwsim.workload.op import Cache, Kept, Op


@dataclass(frozen=True, slots=True)
class Lightning:
    """Lightning attention: `heads` of `head_dim`, with a gate and a norm over all heads; `chunk` positions a block."""

    heads: int
    head_dim: int
    chunk: int = 256

    @property
    def width(self) -> int:
        """Elements of all queries, all keys or all values of a token."""
        return self.heads * self.head_dim

    def parameters(self, hidden: int, active: bool = False) -> Counts:
        """(weight class, elements)."""
        n = self.width
        return [("norm", n), ("mamba_in", 4 * hidden * n), ("mamba_out", n * hidden)]

    def kept(self, tokens: int, all_positions: bool = False) -> list[Kept]:
        """State of one sequence."""
        return [Kept("ssm", self.width, self.head_dim)]

    def on_chip(self, parallel: Parallel) -> Lightning:
        """The heads of one chip."""
        return replace(self, heads=self.heads // parallel.tensors)

    def problems(self, parallel: Parallel) -> list[str]:
        """Why the chips cannot share it."""
        return indivisible("heads of linear attention", self.heads, parallel.tensors, repeated=False)

    def contradictions(self) -> Iterable[tuple[str, str]]:
        """None."""
        return ()

    def ops(self, step: Step, layer: int) -> list[Op]:
        """Projections to q, k, v (with SiLU) and gate, state update or blocks, norm times gate, out-projection."""
        h, t, n, d = step.hidden, step.tokens, self.width, self.head_dim
        kind, state = "linear_proj", self.width * self.head_dim
        into = step.linear("linear_in", kind, layer, "mamba_in", 4 * n, h)
        work, macs = passes.SILU * 3 * t * n, 0
        if step.prefill:
            pairs = step.batch * self.heads * chunk_pairs(self.chunk, step.new)
            macs = 2 * t * state + 2 * pairs * d
            work += passes.LIGHTNING_PAIR * pairs + 2 * t * n + step.batch * chunks(self.chunk, step.new) * state
        else:
            work += passes.LIGHTNING_UPDATE * t * state
        core = Op(
            "linear_attention",
            "linear_attention",
            layer,
            macs=macs,
            vector=work,
            cache=Cache("ssm", d, step.read(state), step.states * state),
            inputs=3 * t * n,
            outputs=t * n,
        )
        norm = Op(
            "gated_norm", "norm", layer, "norm", params=n, vector=(passes.RMSNORM + passes.SIGMOID_GATE) * t * n,
            inputs=2 * t * n, outputs=t * n,
        )  # fmt: skip
        sums = step.collective("norm_sum", layer, "all_reduce", t)
        return [into, core, *sums, norm, step.linear("linear_out", kind, layer, "mamba_out", h, n)]
