"""Model: the shape of a language model, and the counts that follow from it.

Counts are numbers of elements: parameters or cache entries. `Model.parameters` has the formulas. The model files
contain the totals that the authors publish, and tests compare the two.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from hwsim.workload.op import Kept, Op, StepOptions, Stored

Part = TypeVar("Part", "Attention", "Mamba2", "Mlp", "Moe")

#: Letters of a layer pattern, and the parts of such a layer. Each part has a norm before it. The letters M E * - are
#: those of the nemotron_h configurations; layers with lower-case letters use sliding-window attention.
LAYER_KINDS = {
    "M": ("mamba",),
    "E": ("moe",),
    "*": ("attention",),
    "-": ("mlp",),
    "X": ("attention", "mlp"),
    "Y": ("attention", "moe"),
    "x": ("window_attention", "mlp"),
    "y": ("window_attention", "moe"),
}


@dataclass(frozen=True, slots=True)
class Attention:
    """Grouped-query attention: `q_heads` share `kv_heads`.

    rope:    queries and keys are rotated by position.
    qk_norm: each query and key head has an RMS norm.
    bias:    the four projections add a bias.
    sinks:   each softmax includes one learned logit per query head.
    window:  positions that sliding-window layers attend to, including their own (0: there are no such layers).
    """

    q_heads: int
    kv_heads: int
    head_dim: int
    rope: bool
    qk_norm: bool = False
    bias: bool = False
    sinks: bool = False
    window: int = 0

    @property
    def q_width(self) -> int:
        """Outputs of the query projection, and inputs of the output projection."""
        return self.q_heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """K and V elements per token and layer."""
        return 2 * self.kv_heads * self.head_dim

    @property
    def qkv_width(self) -> int:
        """Outputs of the fused Q, K and V projection."""
        return self.q_width + self.kv_width


@dataclass(frozen=True, slots=True)
class Mamba2:
    """Mamba-2 mixer (arXiv 2405.21060): `heads` of `head_dim` channels, `state` elements per channel.

    groups: heads in one group share B and C. chunk: positions per chunk of the scan in prefill.
    """

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
        """Outputs of the in-projection: z, then x, B and C, then dt."""
        return self.inner + self.conv_channels + self.heads

    @property
    def state_elements(self) -> int:
        """SSM state elements per layer and sequence."""
        return self.inner * self.state

    @property
    def conv_elements(self) -> int:
        """Convolution state elements per layer and sequence: the last kernel - 1 inputs of each channel."""
        return self.conv_channels * (self.conv_kernel - 1)


@dataclass(frozen=True, slots=True)
class Mlp:
    """Feed-forward block. gated: the activation is multiplied by the output of a third matrix (SwiGLU)."""

    intermediate: int
    gated: bool
    activation: str
    bias: bool = False

    def parameters(self, width: int) -> int:
        """Weights and biases of one block with `width` inputs and outputs."""
        return feed_forward(self.gated, width, self.intermediate, self.bias)


@dataclass(frozen=True, slots=True)
class Moe:
    """Mixture of experts: `top_k` of `experts` per token, and a shared expert (width 0: none).

    latent: the routed experts take a projection of this width (LatentMoE, arXiv 2601.18089; 0: the hidden state);
            router and shared expert take the hidden state.
    bias:   router and experts add a bias.
    """

    experts: int
    top_k: int
    intermediate: int
    gated: bool
    activation: str
    shared_intermediate: int = 0
    latent: int = 0
    bias: bool = False

    def expert(self, hidden: int) -> int:
        """Weights and biases of one routed expert."""
        return feed_forward(self.gated, self.latent or hidden, self.intermediate, self.bias)


def required(part: Part | None) -> Part:
    """`part` of a model with layers that use it; a file without it is refused when it is read (`load`)."""
    assert part is not None, "the model has a layer whose shape it does not describe"
    return part


def matrices(gated: bool) -> int:
    """Number of weight matrices of a feed-forward block: up, down and, if gated, a gate."""
    return 3 if gated else 2


def feed_forward(gated: bool, width: int, intermediate: int, bias: bool) -> int:
    """Weights (and biases) of width -> intermediate -> width."""
    biases = (matrices(gated) - 1) * intermediate + width if bias else 0
    return matrices(gated) * width * intermediate + biases


@dataclass(frozen=True, slots=True)
class Model:
    """A language model.

    layers:    kinds of the layers in order, as letters of LAYER_KINDS.
    max_context: the longest context that the model was made for (None: no limit is known).
    mtp:       layers of the multi-token-prediction block, as letters ("": none); not in the totals.
    published: parameter counts of the authors (None: not published); active counts include the head and, where the
               name says so, the embedding.
    """

    name: str
    description: str
    hidden: int
    vocab: int
    tied_embeddings: bool
    layers: str
    max_context: int | None = None
    attention: Attention | None = None
    mamba2: Mamba2 | None = None
    mlp: Mlp | None = None
    moe: Moe | None = None
    mtp: str = ""
    published_total: float | None = None
    published_active: float | None = None
    published_active_with_embedding: float | None = None

    # -- the answers of a workload -----------------------------------------------------------------

    @property
    def unit(self) -> str:
        """A step computes tokens."""
        return "token"

    def ops(self, step: StepOptions) -> tuple[Op, ...]:
        """The ops of one step in program order; see `lowering.lower`."""
        from hwsim.workload.language.lowering import lower

        return lower(self, step)

    def stored(self, step: StepOptions) -> tuple[Stored, ...]:
        """Weights in the memory of one chip, without the multi-token-prediction block."""
        from hwsim.workload.language.parallel import Parallel, chip_parameters

        return chip_parameters(self, Parallel(step.chips, step.parallel))

    def kept(self, step: StepOptions) -> tuple[Kept, ...]:
        """KV cache and states of one chip's sequences at the end of the step."""
        from hwsim.workload.language.parallel import Parallel, chip_model

        shared = Parallel(step.chips, step.parallel)
        model, sequences = chip_model(self, shared), -(-step.batch // shared.sequences)
        a, s, found = model.attention, model.mamba2, []
        if a:
            tokens = step.context + (step.phase == "decode")
            if step.keep_windows and a.window:
                model = replace(model, attention=replace(a, window=tokens))
            found.append(Kept("kv", sequences * model.kv_elements(tokens) // a.head_dim, a.head_dim))
        if s:
            found.append(Kept("ssm", sequences * model.ssm_state_elements // s.state, s.state))
            taps = s.conv_kernel - 1
            found.append(Kept("conv", sequences * model.conv_state_elements // taps if taps else 0, taps))
        return tuple(found)

    def config(self) -> dict[str, Any]:
        """The model as plain data in the layout of its file, without absent parts; `load_model_text` can read it."""
        config: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.startswith("published_"):
                if value is not None:
                    config.setdefault("published", {})[field.name.removeprefix("published_")] = value
            elif value is not None and value != "":
                plain = isinstance(value, (str, int))
                config[field.name] = value if plain else {f.name: getattr(value, f.name) for f in fields(value)}
        return config

    # -- counts ------------------------------------------------------------------------------------

    def count(self, part: str) -> int:
        """Number of layers that contain `part`: attention, window_attention, mamba, mlp or moe."""
        return sum(part in LAYER_KINDS[letter] for letter in self.layers)

    def parameters(self) -> tuple[tuple[str, int], ...]:
        """(weight class, elements) of the whole model, without the MTP block.

        With h hidden, V vocabulary, g matrices per feed-forward block (2, gated 3), w the latent width or h:

        attention  h dh (nq + 2 nkv) + nq dh h        [+ 2 dh QK norm] [+ biases] [+ nq sinks]
        mamba      h (2 di + 2 G N + H) + c (kernel + 1) + 3 H + di + di h,   di = H P,  c = di + 2 G N
        moe        E g w m + E h router + g h ms shared + 2 h l latent        [+ biases]
        mlp        g h m                                                      [+ biases]
        tables     V h embedding, V h head (none where tied), and a norm of h before each part and the head
        """
        table = self.vocab * self.hidden
        tables = {"embedding": table} if self.tied_embeddings else {"embedding": table, "head": table}
        counts = self._layers(self.layers, all_experts=True)
        counts["norm"] += self.hidden
        return (*tables.items(), *counts.items())

    def layer_parameters(self) -> tuple[Stored, ...]:
        """Weights by class and layer, in program order; they sum to `parameters`."""
        rows = [Stored(name, -1, n) for name, n in self.parameters() if name in ("embedding", "head")]
        for layer, letter in enumerate(self.layers):
            rows += [Stored(name, layer, n) for name, n in self._layers(letter, all_experts=True).items()]
        return (*rows, Stored("norm", -1, self.hidden))

    def mtp_parameters(self) -> int:
        """Parameters of the MTP block: fusion 2h x h, three norms, layers; embedding and head are shared."""
        return self._mtp(all_experts=True)

    @property
    def total(self) -> int:
        """All parameters, without the MTP block."""
        return sum(n for _, n in self.parameters())

    @property
    def active_body(self) -> int:
        """Parameters used per token, without embedding and head."""
        return self.hidden + self._layers(self.layers, all_experts=False).total()

    @property
    def active_with_head(self) -> int:
        """Parameters used per token, with the head, without the embedding."""
        return self.active_body + self.vocab * self.hidden

    @property
    def active_with_embedding(self) -> int:
        """Parameters used per token, with the head and the whole embedding; a tied table counts once."""
        return self.active_with_head + (0 if self.tied_embeddings else self.vocab * self.hidden)

    @property
    def mtp_active(self) -> int:
        """Parameters of the MTP block used per draft token, without the head."""
        return self._mtp(all_experts=False)

    def kv_elements(self, tokens: int) -> int:
        """K and V elements kept for a sequence of `tokens`; sliding-window layers keep the window only."""
        if self.attention is None:
            return 0
        windowed = self.count("window_attention") * min(tokens, self.attention.window)
        return self.attention.kv_width * (self.count("attention") * tokens + windowed)

    @property
    def kv_elements_per_token(self) -> int:
        """K and V elements that each token adds permanently: those of the layers without a window."""
        return self.count("attention") * self.attention.kv_width if self.attention else 0

    @property
    def ssm_state_elements(self) -> int:
        """SSM state elements of all layers, per sequence."""
        return self.count("mamba") * self.mamba2.state_elements if self.mamba2 else 0

    @property
    def conv_state_elements(self) -> int:
        """Convolution state elements of all layers, per sequence."""
        return self.count("mamba") * self.mamba2.conv_elements if self.mamba2 else 0

    def _layers(self, letters: str, all_experts: bool) -> Counter[str]:
        """Elements by weight class, summed over the layers."""
        total: Counter[str] = Counter()
        for part, n in Counter(part for letter in letters for part in LAYER_KINDS[letter]).items():
            for name, elements in self._part(part, all_experts):
                total[name] += n * elements
        return total

    def _part(self, part: str, all_experts: bool) -> list[tuple[str, int]]:
        h = self.hidden
        if part in ("attention", "window_attention"):
            a = required(self.attention)
            norms = h + (2 * a.head_dim if a.qk_norm else 0) + (a.q_heads if a.sinks else 0)
            qkv, out = h * a.qkv_width, a.q_width * h
            if a.bias:
                qkv, out = qkv + a.qkv_width, out + h
            return [("norm", norms), ("attention_qkv", qkv), ("attention_out", out)]
        if part == "mamba":
            s = required(self.mamba2)
            return [
                ("norm", h + s.inner),
                ("mamba_in", h * s.in_width),
                ("conv", s.conv_channels * (s.conv_kernel + 1)),
                ("ssm", 3 * s.heads),
                ("mamba_out", s.inner * h),
            ]
        if part == "mlp":
            return [("norm", h), ("mlp", required(self.mlp).parameters(h))]
        e = required(self.moe)
        counts = [
            ("norm", h),
            ("router", e.experts * h + (e.experts if e.bias else 0)),
            ("experts", (e.experts if all_experts else e.top_k) * e.expert(h)),
            ("shared_experts", feed_forward(e.gated, h, e.shared_intermediate, False)),
            ("latent", 2 * h * e.latent),
        ]
        return [(name, n) for name, n in counts if n]

    def _mtp(self, all_experts: bool) -> int:
        if not self.mtp:
            return 0
        h = self.hidden
        return 2 * h * h + 3 * h + self._layers(self.mtp, all_experts).total()
