"""What is computed: a workload answers a step with ops, counted in elements; formats and machines come later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

#: Steps that a user can ask for.
PHASES = ("decode", "prefill")

#: Op kinds, in the order tables print them.
KINDS = (
    "embedding",
    "norm",
    "attention_proj",
    "attention",
    "mlp",
    "router",
    "experts",
    "shared_experts",
    "latent",
    "mamba_proj",
    "conv",
    "ssm",
    "mtp",
    "head",
    "link",
    "gemm",
)

#: Weight classes a format map may name, and those it may not (fixed formats).
WEIGHT_CLASSES = (
    "embedding",
    "head",
    "attention_qkv",
    "attention_out",
    "mlp",
    "experts",
    "shared_experts",
    "latent",
    "mamba_in",
    "mamba_out",
    "mtp",
)
FIXED_CLASSES = {"norm": "bf16", "conv": "bf16", "ssm": "bf16", "router": "fp32"}

#: What a workload keeps from one step to the next, by role -> the kind of bytes that a Result counts it as.
CACHES = {"kv": "kv", "ssm": "state", "conv": "state"}


@dataclass(frozen=True, slots=True)
class StepOptions:
    """What is asked of a workload.

    phase:    "decode": one token per sequence over `context` cached ones; "prefill": a prompt of `context` tokens,
              the cache empty, the head for the last position; "draft": one token of the model's own draft block.
    chips, parallel: how many chips share the step, and how: "tensor", "tensor+expert" or "data+expert".
    skew:     how tokens choose experts: "even", or "zipf(a)" by popularity.
    new:      tokens per sequence in a decode step: 1, or 1 + the draft tokens that the step verifies.
    keep_windows: caches keep every position, also where a layer reads only the last ones.
    """

    phase: str = "decode"
    batch: int = 1
    context: int = 8192
    chips: int = 1
    parallel: str = "tensor"
    skew: str = "even"
    new: int = 1
    keep_windows: bool = False

    @property
    def tokens(self) -> int:
        """Tokens that the step computes."""
        return self.batch * (self.context if self.phase == "prefill" else self.new)


class Stored(NamedTuple):
    """Weights that must stay in one chip's memory: elements of one weight class in one layer (-1: outside them)."""

    weights: str
    layer: int
    elements: int


class Kept(NamedTuple):
    """What one chip keeps from one step to the next: `rows` rows of `row` elements, in the format of its role."""

    role: str
    rows: int
    row: int


class Workload(Protocol):
    """Anything that hwsim can run: a name, and answers to three questions about one step on one chip."""

    @property
    def name(self) -> str:
        """What results call it."""

    @property
    def max_context(self) -> int | None:
        """The longest context that it was made for; None: no limit."""

    def ops(self, step: StepOptions) -> tuple[Op, ...]:
        """The kernels of the step in program order. raises: InputError where it cannot be taken."""

    def stored(self, step: StepOptions) -> tuple[Stored, ...]:
        """Weights in memory, whether the step reads them or not."""

    def kept(self, step: StepOptions) -> tuple[Kept, ...]:
        """Caches and state in memory at the end of the step."""

    def config(self) -> dict[str, Any]:
        """The workload as plain data, for the Result and for the key of a study's point."""


@dataclass(frozen=True, slots=True)
class Gemm:
    """`count` GEMMs Y[m,n] = X[m,k] W[n,k]^T, each with a weight matrix of its own."""

    m: int
    n: int
    k: int
    count: int = 1

    @property
    def macs(self) -> int:
        """Multiply-adds of all `count` GEMMs."""
        return self.count * self.m * self.n * self.k

    @property
    def weights(self) -> int:
        """Weight elements of all `count` matrices."""
        return self.count * self.n * self.k


@dataclass(frozen=True, slots=True)
class AttentionCore:
    """Shape of an attention core: `new` tokens of each sequence after `cached` ones; window 0: all positions."""

    sequences: int
    new: int
    cached: int
    q_heads: int
    kv_heads: int
    head_dim: int
    window: int = 0


@dataclass(frozen=True, slots=True)
class Cache:
    """What an op reads of a cache and writes to it, in elements of rows of `row` (blocks run along a row)."""

    role: str
    row: int
    read: int
    write: int


@dataclass(frozen=True, slots=True)
class Op:
    """Work of one step of one layer; every count is in elements of the whole batch.

    weights:     weight class: the format of `gemms` and `params` is looked up by it ("" = none).
    gemms:       weight matrices on the dot array.
    macs:        dot-array work on tensors that are not weights (attention core, chunked scan).
    vector:      element passes on the vector unit (sourced table in `vector.py`).
    vector_macs: multiply-adds on the vector unit (router, conv), one pass each, beside `vector`.
    params:      weight elements read beside `gemms` (gains, conv taps, embedding rows, router).
    cache:       what it reads and writes of a cache or a state (None: nothing).
    inputs, outputs: activation elements in and out.
    link:        collective between `peers` chips ("" = none) on a vector of link_elements (`arch.link`).
    core:        of an attention core, its shape.
    distinct:    of experts, how many different ones the step is expected to choose, unrounded.
    """

    name: str
    kind: str
    layer: int = -1
    weights: str = ""
    gemms: tuple[Gemm, ...] = ()
    macs: int = 0
    vector: int = 0
    vector_macs: int = 0
    params: int = 0
    cache: Cache | None = None
    inputs: int = 0
    outputs: int = 0
    link: str = ""
    link_elements: int = 0
    peers: int = 1
    core: AttentionCore | None = None
    distinct: float | None = None

    @property
    def dot_macs(self) -> int:
        """Multiply-adds on the dot array."""
        return self.macs + sum(g.macs for g in self.gemms)

    @property
    def cached(self) -> int:
        """Elements that the op writes into its cache."""
        return self.cache.write if self.cache else 0

    @property
    def weight_elements(self) -> int:
        """Weight elements that the op reads once."""
        return self.params + sum(g.weights for g in self.gemms)
