"""Feed-forward blocks: an MLP, and what an expert has in common with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from hwsim.workload import vector as passes
from hwsim.workload.language.parts.step import Counts, Step
from hwsim.workload.language.share import Parallel
from hwsim.workload.op import Kept, Op


def matrices(gated: bool) -> int:
    """Number of weight matrices of a feed-forward block: up, down and, if gated, a gate."""
    return 3 if gated else 2


def feed_forward(gated: bool, width: int, intermediate: int, bias: bool) -> int:
    """Weights (and biases) of width -> intermediate -> width."""
    biases = (matrices(gated) - 1) * intermediate + width if bias else 0
    return matrices(gated) * width * intermediate + biases


def block_ops(
    step: Step, kind: str, layer: int, width: int, gated: bool, activation: str, bias: bool = False
) -> list[Op]:
    """Up (and gate) projection with the activation, then down projection."""
    h, t, inner = step.hidden, step.tokens, (matrices(gated) - 1) * width
    up = step.linear(f"{kind}_up", kind, layer, kind, inner, h, inner if bias else 0)
    work = up.vector + passes.feed_forward(activation, gated) * t * width
    down = step.linear(f"{kind}_down", kind, layer, kind, h, width, h if bias else 0)
    return [replace(up, vector=work, outputs=t * width), down]


@dataclass(frozen=True, slots=True)
class Mlp:
    """Feed-forward block. gated: the activation is multiplied by the output of a third matrix (SwiGLU)."""

    intermediate: int
    gated: bool
    activation: str
    bias: bool = False

    def parameters(self, hidden: int, active: bool = False) -> Counts:
        """(weight class, elements)."""
        return [("mlp", feed_forward(self.gated, hidden, self.intermediate, self.bias))]

    def kept(self, tokens: int, all_positions: bool = False) -> list[Kept]:
        """Nothing."""
        return []

    def on_chip(self, parallel: Parallel) -> Mlp:
        """The part of the inner width on one chip."""
        return replace(self, intermediate=parallel.share(self.intermediate))

    def problems(self, parallel: Parallel) -> list[str]:
        """Any number of chips can share it."""
        return []

    def contradictions(self) -> Iterable[tuple[str, str]]:
        """None."""
        return ()

    def ops(self, step: Step, layer: int) -> list[Op]:
        """Up (and gate) projection with the activation, then down projection."""
        return block_ops(step, "mlp", layer, self.intermediate, self.gated, self.activation, self.bias)
