"""Model: the shape of a language model, and every count that follows from it.

Counts are elements (parameters or cache entries). Formulas: per layer kind in the docstrings;
published totals stand in the model files and are compared in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Letters of a layer pattern and what one layer of each holds.
LAYER_KINDS = {
    "M": ("mamba",),
    "E": ("moe",),
    "*": ("attention",),
    "-": ("mlp",),
    "X": ("attention", "mlp"),
    "Y": ("attention", "moe"),
}


@dataclass(frozen=True, slots=True)
class Attention:
    """Grouped-query attention: q_heads share kv_heads. rope: rotary positions are applied."""

    q_heads: int
    kv_heads: int
    head_dim: int
    rope: bool

    @property
    def qkv_width(self) -> int:
        """Outputs of the fused Q, K and V projection."""
        return (self.q_heads + 2 * self.kv_heads) * self.head_dim

    @property
    def kv_width(self) -> int:
        """K and V elements a token and layer."""
        return 2 * self.kv_heads * self.head_dim


@dataclass(frozen=True, slots=True)
class Mamba2:
    """Mamba-2 mixer: `heads` x `head_dim` channels, `state` per channel, B and C shared in `groups`."""

    heads: int
    head_dim: int
    state: int
    groups: int
    conv_kernel: int
    chunk: int

    @property
    def inner(self) -> int:
        """Inner width."""
        return self.heads * self.head_dim

    @property
    def conv_channels(self) -> int:
        """Channels that the short convolution runs over: x, B and C."""
        return self.inner + 2 * self.groups * self.state

    @property
    def in_width(self) -> int:
        """Outputs of the in-projection: z, x, B, C and dt."""
        return 2 * self.inner + 2 * self.groups * self.state + self.heads

    @property
    def state_elements(self) -> int:
        """SSM state of one layer and sequence."""
        return self.heads * self.head_dim * self.state

    @property
    def conv_elements(self) -> int:
        """Convolution state of one layer and sequence: the last kernel - 1 inputs."""
        return self.conv_channels * (self.conv_kernel - 1)


@dataclass(frozen=True, slots=True)
class Mlp:
    """Feed-forward pair; gated: a third matrix multiplies the activation (SwiGLU)."""

    intermediate: int
    gated: bool
    activation: str


@dataclass(frozen=True, slots=True)
class Moe:
    """Mixture of experts: `top_k` of `experts` a token, and a shared expert (0: none)."""

    experts: int
    top_k: int
    intermediate: int
    shared_intermediate: int
    gated: bool
    activation: str


@dataclass(frozen=True, slots=True)
class Model:
    """A model. layers: kinds of the layers in order, as letters of LAYER_KINDS."""

    name: str
    description: str
    hidden: int
    vocab: int
    tied_embeddings: bool
    layers: str
    attention: Attention | None = None
    mamba2: Mamba2 | None = None
    mlp: Mlp | None = None
    moe: Moe | None = None
    published_total: float | None = None
    published_active: float | None = None

    def count(self, part: str) -> int:
        """Layers that hold `part`: attention, mamba, mlp or moe."""
        return sum(part in LAYER_KINDS[letter] for letter in self.layers)

    def parameters(self) -> tuple[tuple[str, int], ...]:
        """(weight class, elements) of the whole model, in the order of the classes.

        Attention h(nq + 2 nkv)dh + nq dh h; Mamba-2 h(2di + 2GN + H) + 4c + c + 3H + di + di h;
        MoE E g h m + E h + g h ms with g matrices (2, gated 3); one norm gain of h a block.
        """
        h, counts = self.hidden, {}

        def add(name: str, elements: int) -> None:
            counts[name] = counts.get(name, 0) + elements

        add("embedding", self.vocab * h)
        if not self.tied_embeddings:
            add("head", self.vocab * h)
        add("norm", h)
        for part in ("attention", "mamba", "mlp", "moe"):
            n = self.count(part)
            if n:
                add("norm", n * h)
            for name, elements in self._part(part) if n else ():
                add(name, n * elements)
        return tuple(counts.items())

    def _part(self, part: str) -> tuple[tuple[str, int], ...]:
        h = self.hidden
        if part == "attention":
            a = self.attention
            return ("attention_qkv", h * a.qkv_width), ("attention_out", a.q_heads * a.head_dim * h)
        if part == "mamba":
            s = self.mamba2
            return (
                ("mamba_in", h * s.in_width),
                ("conv", s.conv_channels * (s.conv_kernel + 1)),
                ("ssm", 3 * s.heads),
                ("norm", s.inner),
                ("mamba_out", s.inner * h),
            )
        if part == "mlp":
            return (("mlp", matrices(self.mlp.gated) * h * self.mlp.intermediate),)
        e = self.moe
        return (
            ("experts", e.experts * matrices(e.gated) * h * e.intermediate),
            ("router", e.experts * h),
            ("shared_experts", matrices(e.gated) * h * e.shared_intermediate),
        )

    @property
    def total(self) -> int:
        """All parameters."""
        return sum(n for _, n in self.parameters())

    @property
    def active_body(self) -> int:
        """Parameters that one token uses, without embedding and head."""
        idle = 0
        if self.moe:
            e = self.moe
            idle = self.count("moe") * (e.experts - e.top_k) * matrices(e.gated) * self.hidden * e.intermediate
        tables = sum(n for name, n in self.parameters() if name in ("embedding", "head"))
        return self.total - idle - tables

    @property
    def active_with_head(self) -> int:
        """Parameters that one token uses, head included, embedding not."""
        return self.active_body + self.vocab * self.hidden

    @property
    def kv_elements_per_token(self) -> int:
        """K and V elements of all layers that one token adds."""
        return self.count("attention") * self.attention.kv_width if self.attention else 0

    @property
    def ssm_state_elements(self) -> int:
        """SSM state elements of all layers, one sequence."""
        return self.count("mamba") * self.mamba2.state_elements if self.mamba2 else 0

    @property
    def conv_state_elements(self) -> int:
        """Convolution state elements of all layers, one sequence."""
        return self.count("mamba") * self.mamba2.conv_elements if self.mamba2 else 0


def matrices(gated: bool) -> int:
    """Weight matrices of a feed-forward block: up and down, and a gate."""
    return 3 if gated else 2
