"""Attention with heads of its own keys and values: grouped queries, windows, chunks, both directions, a source."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from hwsim.workload import vector as passes
from hwsim.workload.language.parts.step import Counts, Step, causal_pairs, chunked_pairs, two_sided_pairs
from hwsim.workload.language.share import Parallel, indivisible
from hwsim.workload.op import AttentionCore, Cache, Gemm, Kept, Op


@dataclass(frozen=True, slots=True)
class Attention:
    """Grouped-query attention: `q_heads` share `kv_heads`.

    rope:      whether queries and keys are rotated by position, or the share of each head that is.
    qk_norm:   True or "head": each query and key head has an RMS norm; "width": one norm over all heads; "plain": per
               head, without a gain.
    bias:      True: the four projections add a bias; "qkv": all but the output; "qvo": all but K.
    sinks:     each softmax includes one learned logit per query head.
    window:    positions that a token attends to, including its own (0: all). Of a model's part `attention`: the window
               of the layers with `window_attention`.
    v_dim:     elements of a value (0: head_dim).
    chunk:     positions are cut into chunks, and a token attends to its own chunk only (0: no chunks).
    gate:      a projection of the input, through a sigmoid, multiplies the result (a second query projection).
    shared_kv: one projection makes K and V; the cache holds both.
    v_norm:    each value head has a norm without a gain.
    softcap:   scores pass through a scaled tanh.
    causal:    tokens see earlier positions only; False: both directions, no cache.
    source:    positions of another sequence, to which this part attends instead of its own (cross attention).
    """

    q_heads: int
    kv_heads: int
    head_dim: int
    rope: bool | float
    qk_norm: bool | str = False
    bias: bool | str = False
    sinks: bool = False
    window: int = 0
    v_dim: int = 0
    chunk: int = 0
    gate: bool = False
    shared_kv: bool = False
    v_norm: bool = False
    softcap: bool = False
    causal: bool = True
    source: int = 0

    @property
    def value_dim(self) -> int:
        """Elements of a value."""
        return self.v_dim or self.head_dim

    @property
    def q_width(self) -> int:
        """Elements of all queries of a token."""
        return self.q_heads * self.head_dim

    @property
    def out_width(self) -> int:
        """Inputs of the output projection."""
        return self.q_heads * self.value_dim

    @property
    def kv_width(self) -> int:
        """K and V elements per token and layer."""
        return self.kv_heads * (self.head_dim + self.value_dim)

    @property
    def row(self) -> int:
        """Elements of a row of the cache: a key or a value, or both together where they differ in width."""
        return self.head_dim if self.value_dim == self.head_dim else self.head_dim + self.value_dim

    @property
    def qkv_width(self) -> int:
        """Outputs of the fused Q, K and V projection, with the gate."""
        return self.q_width + (self.out_width if self.gate else 0) + self._kv_outputs

    @property
    def _kv_outputs(self) -> int:
        return self.kv_heads * self.head_dim if self.shared_kv else self.kv_width

    @property
    def _qkv_bias(self) -> int:
        return 0 if not self.bias else self.qkv_width - (self.kv_heads * self.head_dim if self.bias == "qvo" else 0)

    @property
    def _gains(self) -> int:
        """Gains of the QK norm."""
        if self.qk_norm == "plain" or not self.qk_norm:
            return 0
        heads = self.q_heads + self.kv_heads if self.qk_norm == "width" else 2
        return heads * self.head_dim

    def parameters(self, hidden: int, active: bool = False) -> Counts:
        """(weight class, elements)."""
        out = self.out_width * hidden + (hidden if self.bias in (True, "qvo") else 0)
        return [
            ("norm", self._gains + (self.q_heads if self.sinks else 0)),
            ("attention_qkv", hidden * self.qkv_width + self._qkv_bias),
            ("attention_out", out),
        ]

    def kept(self, tokens: int, all_positions: bool = False) -> list[Kept]:
        """K and V of one sequence."""
        if not self.causal and not self.source:
            return []
        positions = self.source or tokens
        if not all_positions and not self.source:
            positions = min(tokens, self.window or self.chunk or tokens)
        return [Kept("kv", positions * self.kv_width // self.row, self.row)]

    def on_chip(self, parallel: Parallel) -> Attention:
        """The heads of one chip."""
        heads = self.q_heads // parallel.tensors
        return replace(self, q_heads=heads, kv_heads=parallel.heads(self.kv_heads))

    def problems(self, parallel: Parallel) -> list[str]:
        """Why the chips cannot share it."""
        return [
            *indivisible("query heads", self.q_heads, parallel.tensors, repeated=False),
            *indivisible("K and V heads", self.kv_heads, parallel.tensors, repeated=True),
        ]

    def contradictions(self) -> Iterable[tuple[str, str]]:
        """(field, error) of numbers that contradict one another."""
        if self.q_heads % self.kv_heads:
            yield "q_heads", f"is not a multiple of the {self.kv_heads} kv_heads; write one"
        if self.chunk and self.window:
            yield "chunk", "cannot be combined with a window; write one of them"
        if self.shared_kv and self.value_dim != self.head_dim:
            yield "shared_kv", "needs values as wide as keys; leave out v_dim"
        if self.source and not self.causal:
            yield "source", "is attention to another sequence; leave out causal"

    # -- ops ---------------------------------------------------------------------------------------

    def ops(self, step: Step, layer: int) -> list[Op]:
        """QKV projection (with QK norm and rotation), attention core on the cache, output projection."""
        h, t = step.hidden, step.tokens
        bias = h if self.bias in (True, "qvo") else 0
        out = step.linear("attention_out", "attention_proj", layer, "attention_out", h, self.out_width, bias)
        into = self._projections(step, layer)
        turned = t * (self.q_heads + (0 if self.source else self.kv_heads)) * self.head_dim
        share = int(self.head_dim * self.rope) / self.head_dim
        work = int(passes.ROPE * turned * share)
        if self.v_norm:
            work += passes.L2NORM * t * self.kv_heads * self.value_dim
        if not self.qk_norm:
            return [*into[:-1], replace(into[-1], vector=into[-1].vector + work), self._core(step, layer), out]
        each = passes.L2NORM if self.qk_norm == "plain" else passes.RMSNORM
        norm = Op(
            "qk_norm", "norm", layer, "norm", params=self._gains,
            vector=each * turned + work, inputs=turned, outputs=turned,
        )  # fmt: skip
        wide = self.qk_norm == "width"
        sums = step.collective("qk_norm_sum", layer, "all_reduce", 2 * t) if wide else []
        return [*into, *sums, norm, self._core(step, layer), out]

    def _projections(self, step: Step, layer: int) -> list[Op]:
        """One fused projection; of cross attention, K and V of the source once per prompt, then the queries."""
        h, kind, weights = step.hidden, "attention_proj", "attention_qkv"
        if not self.source:
            return [step.linear("qkv", kind, layer, weights, self.qkv_width, h, self._qkv_bias)]
        q = self.qkv_width - self._kv_outputs
        ops = [step.linear("q", kind, layer, weights, q, h, q if self.bias else 0)]
        if step.prefill:
            n, kv = step.batch * self.source, self._kv_outputs
            bias = self._qkv_bias - q if self.bias else 0
            made = Op(
                "kv_source", kind, layer, weights, (Gemm(n, kv, h),),
                vector=passes.BIAS * n * bias, params=bias, inputs=n * h, outputs=n * kv,
            )  # fmt: skip
            ops.insert(0, made)
        return ops

    def _pairs(self, step: Step) -> int:
        if self.source:
            return step.new * self.source
        if not self.causal:
            return two_sided_pairs(step.new, self.window)
        if self.chunk:
            return chunked_pairs(step.cached, step.new, self.chunk)
        return causal_pairs(step.cached, step.new, self.window)

    def _cache(self, step: Step) -> Cache | None:
        if self.source:
            n = step.batch * self.source * self.kv_width
            return Cache("kv", self.row, 0 if step.prefill else n, n if step.prefill else 0)
        if not self.causal:
            return None
        read, written = step.cached, step.new
        if self.window:
            read, written = min(read, self.window - 1), min(written, self.window)
        if self.chunk:
            read, written = read % self.chunk, min(written, self.chunk)
        return Cache("kv", self.row, step.batch * read * self.kv_width, step.batch * written * self.kv_width)

    def _core(self, step: Step, layer: int) -> Op:
        """Q K^T, softmax, times V: a MAC per pair of positions, query head and element of key and value."""
        t, pairs = step.tokens, step.batch * self._pairs(step)
        extra = passes.SINK * t * self.q_heads if self.sinks else 0
        extra += passes.SIGMOID_GATE * t * self.out_width if self.gate else 0
        extra += passes.SOFTCAP * pairs * self.q_heads if self.softcap else 0
        core, half = None, (self.head_dim + self.value_dim) // 2
        if self.causal and not self.source:
            window = self.window or (step.cached % self.chunk + 1 if self.chunk and not step.prefill else self.chunk)
            sizes = step.batch, step.new, step.cached, self.q_heads, self.kv_heads, half
            core = AttentionCore(*sizes, window, chunk=step.prefill)
        name = "cross_attention" if self.source else "window_attention" if self.window else "attention"
        return Op(
            name,
            "attention",
            layer,
            weights="norm" if self.sinks else "",
            macs=pairs * (self.q_width + self.out_width),
            vector=passes.SOFTMAX * pairs * self.q_heads + extra,
            params=self.q_heads if self.sinks else 0,
            cache=self._cache(step),
            inputs=t * self.qkv_width if not self.source else t * (self.qkv_width - self._kv_outputs),
            outputs=t * self.out_width,
            core=core,
        )
