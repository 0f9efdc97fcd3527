"""Op: one node of a workload, counted in elements; formats and machines come later."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Gemm:
    """`count` products Y[m,n] = X[m,k] W[n,k]^T, each with a weight matrix of its own."""

    m: int
    n: int
    k: int
    count: int = 1

    @property
    def macs(self) -> int:
        """Multiply-adds of all `count` products."""
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
class Op:
    """Work of one step of one layer; every count is in elements of the whole batch.

    weights:     weight class: the format of `gemms` and `params` is looked up by it ("" = none).
    gemms:       weight matrices on the dot array.
    macs:        dot-array work on tensors that are not weights (attention core, chunked scan).
    vector:      element passes on the vector unit (sourced table in `vector.py`).
    vector_macs: multiply-adds on the vector unit (router, conv), one pass each, beside `vector`.
    params:      weight elements read beside `gemms` (gains, conv taps, embedding rows, router).
    cache:       "" | "kv" | "ssm" | "conv": what cache_read and cache_write are elements of.
    cache_row:   elements a row of that cache (blocks run along it): head_dim, state or conv taps.
    inputs, outputs: activation elements in and out.
    link:        collective between `peers` chips ("" = none) on a vector of link_elements (`arch.link`).
    core:        of an attention core, its shape.
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
    cache: str = ""
    cache_row: int = 1
    cache_read: int = 0
    cache_write: int = 0
    inputs: int = 0
    outputs: int = 0
    link: str = ""
    link_elements: int = 0
    peers: int = 1
    core: AttentionCore | None = None

    @property
    def dot_macs(self) -> int:
        """Multiply-adds on the dot array."""
        return self.macs + sum(g.macs for g in self.gemms)

    @property
    def weight_elements(self) -> int:
        """Weight elements that the op reads once."""
        return self.params + sum(g.weights for g in self.gemms)
