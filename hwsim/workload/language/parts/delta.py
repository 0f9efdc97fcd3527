"""Linear attention with the delta rule: gated DeltaNet (arXiv 2412.06464) and Kimi Delta Attention (arXiv 2510.26692).

The state S of a head (key_dim x value_dim) decays, S k is taken from v, the rest times beta is added along k, and S q
is the result. Decode updates S token by token; prefill works in chunks, with GEMMs inside a chunk and a triangular
system for the corrections. Kimi's form has a decay per key channel, and low-rank projections for decay and gate.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from hwsim.workload import vector as passes
from hwsim.workload.language.parts.mamba2 import chunk_pairs, chunks
from hwsim.workload.language.parts.step import Counts, Step
from hwsim.workload.language.share import Parallel, indivisible
from hwsim.workload.op import Cache, Kept, Op


@dataclass(frozen=True, slots=True)
class DeltaNet:
    """Gated DeltaNet: `key_heads` of `key_dim`, `value_heads` of `value_dim`; several value heads share a key head.

    chunk: positions per chunk in prefill.
    """

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv_kernel: int
    chunk: int = 64

    @property
    def key_width(self) -> int:
        """Elements of all keys of a token."""
        return self.key_heads * self.key_dim

    @property
    def value_width(self) -> int:
        """Elements of all values of a token."""
        return self.value_heads * self.value_dim

    @property
    def conv_channels(self) -> int:
        """Channels of the short convolution: queries, keys, values."""
        return 2 * self.key_width + self.value_width

    @property
    def in_width(self) -> int:
        """Outputs of the in-projections: q, k, v and gate, then beta and decay of each value head."""
        return 2 * self.key_width + 2 * self.value_width + 2 * self.value_heads

    @property
    def decays(self) -> int:
        """Decays per token."""
        return self.value_heads

    def parameters(self, hidden: int, active: bool = False) -> Counts:
        """(weight class, elements)."""
        return [
            ("norm", self.value_dim),
            ("mamba_in", hidden * self.in_width),
            ("conv", self.conv_channels * self.conv_kernel),
            ("ssm", 2 * self.value_heads),
            ("mamba_out", self.value_width * hidden),
        ]

    def kept(self, tokens: int, all_positions: bool = False) -> list[Kept]:
        """State of one sequence."""
        return [Kept("ssm", self.value_width, self.key_dim), Kept("conv", self.conv_channels, self.conv_kernel - 1)]

    def on_chip(self, parallel: Parallel) -> DeltaNet:
        """The heads of one chip."""
        return replace(self, key_heads=parallel.heads(self.key_heads), value_heads=self.value_heads // parallel.tensors)

    def problems(self, parallel: Parallel) -> list[str]:
        """Why the chips cannot share it."""
        return [
            *indivisible("value heads of linear attention", self.value_heads, parallel.tensors, repeated=False),
            *indivisible("key heads of linear attention", self.key_heads, parallel.tensors, repeated=True),
        ]

    def contradictions(self) -> Iterable[tuple[str, str]]:
        """(field, error) of numbers that contradict one another."""
        if self.value_heads % self.key_heads:
            yield "value_heads", f"is not a multiple of the {self.key_heads} key_heads; write one"

    def ops(self, step: Step, layer: int) -> list[Op]:
        """In-projections, convolution, state update or chunked form, norm times gate, out-projection."""
        h = step.hidden
        into = step.linear("linear_in", "linear_proj", layer, "mamba_in", self.in_width, h)
        conv = step.convolution(layer, self.conv_channels, self.conv_kernel, False, passes.SILU)
        out = step.linear("linear_out", "linear_proj", layer, "mamba_out", h, self.value_width)
        shape = (self.key_width, self.value_heads, self.key_dim, self.value_dim)
        core = core_op(step, layer, *shape, self.chunk, self.decays, 2 * self.value_heads)
        return [into, conv, core, gated_norm(step, layer, self.value_width, self.value_dim, passes.SILU), out]


@dataclass(frozen=True, slots=True)
class Kda:
    """Kimi Delta Attention: `heads` of `head_dim`; decay per key channel; decay and gate through rank `head_dim`."""

    heads: int
    head_dim: int
    conv_kernel: int
    chunk: int = 64

    @property
    def width(self) -> int:
        """Elements of all queries, all keys or all values of a token."""
        return self.heads * self.head_dim

    def parameters(self, hidden: int, active: bool = False) -> Counts:
        """(weight class, elements)."""
        n, d = self.width, self.head_dim
        return [
            ("norm", d),
            ("mamba_in", 3 * hidden * n + 2 * (hidden * d + d * n) + hidden * self.heads),
            ("conv", 3 * n * self.conv_kernel),
            ("ssm", n + self.heads),
            ("mamba_out", n * hidden),
        ]

    def kept(self, tokens: int, all_positions: bool = False) -> list[Kept]:
        """State of one sequence."""
        return [Kept("ssm", self.width, self.head_dim), Kept("conv", 3 * self.width, self.conv_kernel - 1)]

    def on_chip(self, parallel: Parallel) -> Kda:
        """The heads of one chip."""
        return replace(self, heads=self.heads // parallel.tensors)

    def problems(self, parallel: Parallel) -> list[str]:
        """Why the chips cannot share it."""
        return indivisible("heads of linear attention", self.heads, parallel.tensors, repeated=False)

    def contradictions(self) -> Iterable[tuple[str, str]]:
        """None."""
        return ()

    def ops(self, step: Step, layer: int) -> list[Op]:
        """In-projections (those of decay and gate in two steps), convolution, core, norm times gate, out-projection."""
        h, n, d = step.hidden, self.width, self.head_dim
        kind = "linear_proj"
        into = step.linear("linear_in", kind, layer, "mamba_in", 3 * n + 2 * d + self.heads, h)
        ups = [step.linear(name, kind, layer, "mamba_in", n, d) for name in ("linear_decay", "linear_gate")]
        conv = step.convolution(layer, 3 * n, self.conv_kernel, False, passes.SILU)
        core = core_op(step, layer, n, self.heads, d, d, self.chunk, n, n + self.heads)
        norm = gated_norm(step, layer, n, d, passes.SIGMOID_GATE - passes.GATE)
        return [into, *ups, conv, core, norm, step.linear("linear_out", kind, layer, "mamba_out", h, n)]


def core_op(
    step: Step, layer: int, keys: int, heads: int, dk: int, dv: int, chunk: int, decays: int, params: int
) -> Op:
    """Norms of queries and keys, decay, beta, and the state update or its chunked form.

    Prefill, per token and head: 3 dk dv for the state (out, in, and its correction); per pair inside a chunk: k k^T,
    q k^T and the two products with the triangular system (dk and dv), and the scores times the values (dv).
    """
    t, state = step.tokens, heads * dk * dv
    work = passes.L2NORM * t * 2 * keys + (passes.DELTA_HEAD - passes.DELTA_DECAY) * t * heads
    work += passes.DELTA_DECAY * t * decays + passes.DELTA_CHANNEL * t * heads * dv
    macs = 0
    if step.prefill:
        pairs = step.batch * heads * chunk_pairs(chunk, step.new)
        macs = 3 * t * state + pairs * (3 * dk + 2 * dv)
        work += passes.DELTA_PAIR * pairs + passes.DELTA_KEY * t * heads * dk
        work += step.batch * chunks(chunk, step.new) * state
    else:
        work += passes.DELTA_UPDATE * t * state
    return Op(
        "linear_attention",
        "linear_attention",
        layer,
        "ssm",
        macs=macs,
        vector=work,
        params=params,
        cache=Cache("ssm", dk, step.read(state), step.states * state),
        inputs=t * (2 * keys + heads * dv + heads + decays),
        outputs=t * heads * dv,
    )


def gated_norm(step: Step, layer: int, width: int, gains: int, gate: int) -> Op:
    """RMS norm of each head, with one gain for all heads, times an activation of the gate."""
    n = step.tokens * width
    return Op(
        "gated_norm", "norm", layer, "norm", vector=(gate + passes.GATE + passes.RMSNORM) * n, params=gains,
        inputs=2 * n, outputs=n,
    )  # fmt: skip
