"""Model -> ops: one step (decode or prefill) as the kernels that run, in program order.

Decode: each of `batch` sequences adds one token to `context` cached ones; it reads their K and V,
attends to context + 1 positions and writes one. Prefill: a prompt of `context` tokens with an empty
cache, causal (half the square), head for the last position only.
"""

from __future__ import annotations

from fractions import Fraction
from math import floor

from hwsim.errors import InputError
from hwsim.workload import vector as cost
from hwsim.workload.model import LAYER_KINDS, Model, matrices
from hwsim.workload.op import Gemm, Op


def lower(model: Model, phase: str, batch: int, context: int) -> tuple[Op, ...]:
    """The ops of one step. raises: InputError for an unknown phase."""
    if phase not in ("decode", "prefill"):
        raise InputError(f"phase: {phase!r} is none of decode, prefill")
    step = _Step(model, phase == "prefill", batch, context)
    ops = [step.embedding()]
    for layer, letter in enumerate(model.layers):
        for part in LAYER_KINDS[letter]:
            ops.append(step.norm(layer, f"{part}_norm"))
            ops += getattr(step, part)(layer)
    ops += [step.norm(-1, "final_norm"), step.head()]
    return tuple(ops)


def expected_distinct(experts: int, top_k: int, tokens: int) -> float:
    """Experts that `tokens` independent, evenly routed tokens touch: E (1 - (1 - k/E)^n), unrounded."""
    return float(experts * (1 - (1 - Fraction(top_k, experts)) ** min(tokens, 100_000)))


def distinct_experts(experts: int, top_k: int, tokens: int) -> int:
    """`expected_distinct` rounded half up, within [top_k, experts]."""
    return min(experts, max(top_k, floor(expected_distinct(experts, top_k, tokens) + 0.5)))


def spread(assignments: int, experts: int) -> list[tuple[int, int]]:
    """(experts, rows each): assignments as even as whole numbers allow, at most two groups."""
    rows, more = divmod(assignments, experts)
    return [(n, r) for n, r in ((more, rows + 1), (experts - more, rows)) if n and r]


class _Step:
    def __init__(self, model: Model, prefill: bool, batch: int, context: int):
        self.model, self.prefill, self.batch, self.context = model, prefill, batch, context
        self.tokens = batch * context if prefill else batch

    def embedding(self) -> Op:
        """One row of the table for each token."""
        n = self.tokens * self.model.hidden
        return Op("embedding", "embedding", weights="embedding", params=n, outputs=n)

    def norm(self, layer: int, name: str) -> Op:
        """Residual add and RMS norm in one pass over the tokens that go on."""
        h = self.model.hidden
        n = (self.batch if layer < 0 else self.tokens) * h
        passes = cost.RMSNORM + cost.RESIDUAL
        return Op(name, "norm", layer, weights="norm", params=h, vector=passes * n, inputs=2 * n, outputs=2 * n)

    def head(self) -> Op:
        """Logits of the last position of each sequence."""
        h, v, b = self.model.hidden, self.model.vocab, self.batch
        return Op("head", "head", weights="head", gemms=(Gemm(b, v, h),), inputs=b * h, outputs=b * v)

    def _linear(self, name, kind, layer, weights, n, k, vector=0, rows=None) -> Op:
        m = rows or self.tokens
        gemms = (Gemm(m, n, k),)
        return Op(name, kind, layer, weights, gemms, vector=vector, inputs=m * k, outputs=m * n)

    def attention(self, layer: int) -> list[Op]:
        """QKV projection with rotation, attention core over the cache, output projection."""
        a, h, t = self.model.attention, self.model.hidden, self.tokens
        heads = a.q_heads + a.kv_heads
        rotate = cost.ROPE * t * heads * a.head_dim if a.rope else 0
        qkv = self._linear("qkv", "attention_proj", layer, "attention_qkv", a.qkv_width, h, rotate)
        if self.prefill:
            pairs = self.batch * self.context * (self.context + 1) // 2
            read = 0
        else:
            pairs = self.batch * (self.context + 1)
            read = self.batch * self.context * a.kv_width
        core = Op(
            "attention",
            "attention",
            layer,
            macs=2 * pairs * a.q_heads * a.head_dim,
            vector=cost.SOFTMAX * pairs * a.q_heads,
            cache="kv",
            cache_row=a.head_dim,
            cache_read=read,
            cache_write=t * a.kv_width,
            inputs=t * a.qkv_width,
            outputs=t * a.q_heads * a.head_dim,
        )
        out = self._linear("attention_out", "attention_proj", layer, "attention_out", h, a.q_heads * a.head_dim)
        return [qkv, core, out]

    def mlp(self, layer: int) -> list[Op]:
        """Up (and gate) projection with the activation, down projection."""
        f = self.model.mlp
        return self._feed_forward("mlp", layer, f.intermediate, f.gated, f.activation)

    def _feed_forward(self, kind: str, layer: int, width: int, gated: bool, activation: str) -> list[Op]:
        h, t = self.model.hidden, self.tokens
        up = (matrices(gated) - 1) * width
        passes = cost.feed_forward(activation, gated) * t * width
        one = Op(
            f"{kind}_up",
            kind,
            layer,
            kind,
            (Gemm(t, up, h),),
            vector=passes,
            inputs=t * h,
            outputs=t * width,
        )
        return [one, self._linear(f"{kind}_down", kind, layer, kind, h, width)]

    def moe(self, layer: int) -> list[Op]:
        """Router, the chosen experts' matrices, the shared expert."""
        e, h, t = self.model.moe, self.model.hidden, self.tokens
        chosen = t * e.top_k
        router = Op(
            "router",
            "router",
            layer,
            weights="router",
            params=e.experts * h,
            vector=cost.ROUTER_SCORE * t * e.experts,
            vector_macs=t * e.experts * h,
            inputs=t * h,
            outputs=t * e.experts,
        )
        groups = spread(chosen, distinct_experts(e.experts, e.top_k, t))
        up = (matrices(e.gated) - 1) * e.intermediate
        first = Op(
            "experts_up",
            "experts",
            layer,
            "experts",
            tuple(Gemm(rows, up, h, n) for n, rows in groups),
            vector=cost.feed_forward(e.activation, e.gated) * chosen * e.intermediate,
            inputs=t * h,
            outputs=chosen * e.intermediate,
        )
        second = Op(
            "experts_down",
            "experts",
            layer,
            "experts",
            tuple(Gemm(rows, h, e.intermediate, n) for n, rows in groups),
            vector=cost.COMBINE * chosen * h,
            inputs=chosen * e.intermediate,
            outputs=t * h,
        )
        ops = [router, first, second]
        if e.shared_intermediate:
            ops += self._feed_forward("shared_experts", layer, e.shared_intermediate, e.gated, e.activation)
        return ops

    def mamba(self, layer: int) -> list[Op]:
        """In-projection, short convolution, state update (or chunked scan), gated norm, out-projection."""
        s, h, t, b = self.model.mamba2, self.model.hidden, self.tokens, self.batch
        conv = Op(
            "conv",
            "conv",
            layer,
            "conv",
            params=s.conv_channels * (s.conv_kernel + 1),
            vector=cost.SILU * t * s.conv_channels,
            vector_macs=t * s.conv_channels * s.conv_kernel,
            cache="conv",
            cache_row=s.conv_elements,
            cache_read=0 if self.prefill else b * s.conv_elements,
            cache_write=b * s.conv_elements,
            inputs=t * s.conv_channels,
            outputs=t * s.conv_channels,
        )
        gated_norm = (cost.RMSNORM + cost.SILU + cost.GATE) * t * s.inner
        scalars = cost.SSM_STEP * t * s.heads + cost.SSM_SKIP * t * s.inner
        scan = Op(
            "ssm",
            "ssm",
            layer,
            "ssm",
            params=3 * s.heads + s.inner,
            macs=b * chunked_macs(s, self.context) if self.prefill else 0,
            vector=gated_norm + scalars + self._state_passes(),
            cache="ssm",
            cache_row=s.state,
            cache_read=0 if self.prefill else b * s.state_elements,
            cache_write=b * s.state_elements,
            inputs=t * (s.in_width + s.conv_channels - s.inner),
            outputs=t * s.inner,
        )
        return [
            self._linear("mamba_in", "mamba_proj", layer, "mamba_in", s.in_width, h),
            conv,
            scan,
            self._linear("mamba_out", "mamba_proj", layer, "mamba_out", h, s.inner),
        ]

    def _state_passes(self) -> int:
        """Vector work on the state: every element each step, or once a chunk (decay and add)."""
        s = self.model.mamba2
        if not self.prefill:
            return cost.SSM_UPDATE * self.batch * s.state_elements
        chunks = -(-self.context // s.chunk)
        segment = self.tokens * s.heads * min(s.chunk, self.context)
        return 2 * self.batch * chunks * s.state_elements + segment


def chunked_macs(s, tokens: int) -> int:
    """Multiply-adds of the chunked scan over `tokens` positions of one sequence and layer.

    Inside a chunk of q positions, causal: q(q+1)/2 pairs, N a group for C B^T and P a head for the
    product with x; state in and out: 2 N P a head and position (Dao and Gu, arXiv 2405.21060, section 6).
    """
    full, rest = divmod(tokens, s.chunk)
    pairs = full * s.chunk * (s.chunk + 1) // 2 + rest * (rest + 1) // 2
    inside = pairs * (s.groups * s.state + s.heads * s.head_dim)
    return inside + 2 * tokens * s.state_elements
