"""Step: the sizes of one step on one chip, and the ops that several kinds of part are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hwsim.workload import vector as passes
from hwsim.workload.language.share import Parallel
from hwsim.workload.op import Cache, Gemm, Op

#: (weight class, elements) of one part.
Counts = list[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Norm:
    """The norms of a model.

    kind:  "rms" (gain) or "layer" (gain, and a bias if `bias`).
    place: "pre": before each part; "post": after each part; "both".
    """

    kind: str = "rms"
    bias: bool = False
    place: str = "pre"

    def parameters(self, width: int) -> int:
        """Gain, and bias if there is one."""
        return width * (1 + self.bias)

    @property
    def passes(self) -> int:
        """Vector passes per element."""
        return passes.RMSNORM if self.kind == "rms" else passes.LAYERNORM - (0 if self.bias else passes.BIAS)

    @property
    def per_part(self) -> int:
        """Norms around one part."""
        return 2 if self.place == "both" else 1


@dataclass(frozen=True, slots=True)
class Step:
    """Each of `batch` sequences on this chip adds `new` tokens to its `cached` ones.

    prefill:  the cache is empty, and the head computes only the last position of each sequence.
    routed:   tokens of all chips, which experts are chosen for.
    mla:      the form of latent attention (`op.MLA_FORMS`); "": that of the phase.
    """

    hidden: int
    batch: int
    cached: int
    new: int
    prefill: bool
    skew: str
    parallel: Parallel
    routed: int
    mla: str = ""

    @property
    def tokens(self) -> int:
        """Tokens of this chip's sequences."""
        return self.batch * self.new

    @property
    def states(self) -> int:
        """States written: one per sequence at the end of a prompt, else one after each token that may be rejected."""
        return self.batch * (1 if self.prefill else self.new)

    def read(self, elements: int) -> int:
        """Elements of state that the step reads: those of every sequence, none in prefill."""
        return 0 if self.prefill else self.batch * elements

    def linear(self, name: str, kind: str, layer: int, weights: str, n: int, k: int, bias: int = 0) -> Op:
        """[tokens, k] x [n, k]^T; the first `bias` outputs add a bias."""
        t = self.tokens
        return Op(
            name, kind, layer, weights, (Gemm(t, n, k),),
            vector=passes.BIAS * t * bias, params=bias, inputs=t * k, outputs=t * n,
        )  # fmt: skip

    def collective(self, name: str, layer: int, kind: str, elements: int, weights: str = "") -> list[Op]:
        """A collective on a vector of `elements`; no op if there is one chip, or if the chips share no tensors."""
        chips = self.parallel.chips if kind == "all_to_all" else self.parallel.tensors
        if chips == 1:
            return []
        op = Op(name, "link", layer, weights, inputs=elements, outputs=elements)
        return [replace(op, link=kind, link_elements=elements, peers=chips)]

    def summed(self, layer: int, ops: list[Op]) -> list[Op]:
        """`ops`, whose last leaves partial sums on each chip, followed by the all_reduce of these sums."""
        return ops + self.collective(f"{ops[-1].name}_sum", layer, "all_reduce", self.tokens * self.hidden)

    def convolution(self, layer: int, channels: int, kernel: int, bias: bool, activation: int) -> Op:
        """Short causal convolution over the last `kernel` inputs of each channel."""
        t, state = self.tokens, channels * (kernel - 1)
        return Op(
            "conv",
            "conv",
            layer,
            "conv",
            vector=activation * t * channels,
            vector_macs=t * channels * kernel,
            params=channels * (kernel + bias),
            cache=Cache("conv", kernel - 1, self.read(state), self.states * state),
            inputs=t * channels,
            outputs=t * channels,
            channels=channels,
        )


def causal_pairs(cached: int, new: int, window: int = 0) -> int:
    """(query, key) pairs of a sequence: new token i, counted from 1, sees cached + i positions, or the window."""
    if not window:
        return new * cached + new * (new + 1) // 2
    growing = min(new, max(0, window - cached))
    return growing * cached + growing * (growing + 1) // 2 + (new - growing) * window


def chunked_pairs(cached: int, new: int, chunk: int) -> int:
    """Pairs where the positions are cut into chunks and a token sees the earlier ones of its own chunk, and itself."""

    def until(tokens: int) -> int:
        full, rest = divmod(tokens, chunk)
        return full * causal_pairs(0, chunk) + causal_pairs(0, rest)

    return until(cached + new) - until(cached)


def two_sided_pairs(tokens: int, window: int = 0) -> int:
    """Pairs of attention in both directions: every position sees all, or those at most window // 2 away."""
    if not window:
        return tokens * tokens
    side = min(window // 2, tokens - 1)
    return tokens + 2 * (side * (tokens - side) + side * (side - 1) // 2)
