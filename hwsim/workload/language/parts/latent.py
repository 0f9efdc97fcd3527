"""Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): K and V are projections of one cached row per token.

Expanded (prefill): K and V of every head are computed from the row, and attention works on them. Absorbed (decode and
drafts): queries are projected into the space of the row, attention works on the rows themselves, and its result is
projected back; the rows are read once for all heads. A step may ask for the other form.

An indexer (DeepSeek-V3.2, arXiv 2512.02556) scores all positions with small heads of its own and chooses `top_k` of
them; attention then takes the absorbed form in both phases.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from hwsim.workload import vector as passes
from hwsim.workload.language.parts.step import Counts, Step, causal_pairs
from hwsim.workload.language.share import Parallel, indivisible
from hwsim.workload.op import AttentionCore, Cache, Gemm, Kept, Op


@dataclass(frozen=True, slots=True)
class Index:
    """Indexer: `heads` of `head_dim` score every position, and attention reads the `top_k` best.

    shared: the layer takes the choice of an earlier layer and has no indexer of its own.
    """

    heads: int
    head_dim: int
    top_k: int
    shared: bool = False

    def parameters(self, hidden: int, q_rank: int) -> int:
        """Projections of queries, key and head weights, and the key's layer norm with its bias."""
        if self.shared:
            return 0
        return q_rank * self.heads * self.head_dim + hidden * self.head_dim + 2 * self.head_dim + hidden * self.heads


@dataclass(frozen=True, slots=True)
class Latent:
    """Multi-head latent attention.

    q_rank:   width that queries are compressed to (0: not compressed).
    kv_rank:  elements of a cached row from which K and V are made; `rope_dim` more hold the rotated part of all keys.
    nope_dim, v_dim: elements of a key (its part without rotation) and of a value, per head.
    rope:     False: the `rope_dim` elements are there, but not rotated.
    bias:     the two projections into the low ranks, and the output, add a bias.
    """

    q_heads: int
    kv_rank: int
    nope_dim: int
    rope_dim: int
    v_dim: int
    q_rank: int = 0
    rope: bool = True
    bias: bool = False
    index: Index | None = None

    @property
    def row(self) -> int:
        """Elements of a cached row."""
        return self.kv_rank + self.rope_dim

    @property
    def key_dim(self) -> int:
        """Elements of a key."""
        return self.nope_dim + self.rope_dim

    @property
    def absorbed(self) -> int:
        """Elements of the matrix that K and V are made with, which the absorbed form multiplies head by head."""
        return self.q_heads * self.kv_rank * (self.nope_dim + self.v_dim)

    def parameters(self, hidden: int, active: bool = False) -> Counts:
        """(weight class, elements)."""
        queries = self.q_heads * self.key_dim
        q = hidden * self.q_rank + self.q_rank * queries if self.q_rank else hidden * queries
        norms = self.q_rank + self.kv_rank
        index = self.index.parameters(hidden, self.q_rank) if self.index else 0
        gains = 2 * self.index.head_dim if self.index and not self.index.shared else 0
        return [
            ("norm", norms + gains),
            ("attention_qkv", q + hidden * self.row + self._down_bias + self.absorbed + index - gains),
            ("attention_out", self.q_heads * self.v_dim * hidden + (hidden if self.bias else 0)),
        ]

    @property
    def _down_bias(self) -> int:
        return (self.q_rank + self.row) if self.bias else 0

    def kept(self, tokens: int, all_positions: bool = False) -> list[Kept]:
        """Rows of one sequence, and the keys of the indexer."""
        found = [Kept("kv", tokens, self.row)]
        if self.index and not self.index.shared:
            found.append(Kept("kv", tokens, self.index.head_dim))
        return found

    def on_chip(self, parallel: Parallel) -> Latent:
        """The heads of one chip; the projections into the low ranks, the indexer and the cache are on every chip."""
        return replace(self, q_heads=self.q_heads // parallel.tensors)

    def problems(self, parallel: Parallel) -> list[str]:
        """Why the chips cannot share it."""
        return indivisible("query heads", self.q_heads, parallel.tensors, repeated=False)

    def contradictions(self) -> Iterable[tuple[str, str]]:
        """(field, error) of numbers that contradict one another."""
        if self.index and not self.q_rank:
            yield "index", "reads compressed queries; write q_rank"

    # -- ops ---------------------------------------------------------------------------------------

    def ops(self, step: Step, layer: int) -> list[Op]:
        """Projections into the low ranks, their norms, queries, attention in one of its two forms, output."""
        h, kind, weights = step.hidden, "attention_proj", "attention_qkv"
        down = step.linear("latent_qkv", kind, layer, weights, self.q_rank + self.row, h, self._down_bias)
        ranks = step.tokens * (self.q_rank + self.kv_rank)
        turned = step.tokens * (self.q_heads + 1) * self.rope_dim
        norm = Op(
            "latent_norm", "norm", layer, "norm", params=self.q_rank + self.kv_rank,
            vector=passes.RMSNORM * ranks, inputs=ranks, outputs=ranks,
        )  # fmt: skip
        queries = self.q_heads * self.key_dim
        q = step.linear("q", kind, layer, weights, queries, self.q_rank or h)
        q = replace(q, vector=q.vector + (passes.ROPE * turned if self.rope else 0))
        out = step.linear(
            "attention_out", kind, layer, "attention_out", h, self.q_heads * self.v_dim, h if self.bias else 0
        )
        return [down, norm, q, *self._indexer(step, layer), *self._attention(step, layer), out]

    def _attention(self, step: Step, layer: int) -> list[Op]:
        """Attention in the form that the step asks for, else in that of its phase."""
        if step.mla == "cheaper" and not self.index:
            both = self._absorbed(step, layer), self._expanded(step, layer)
            return min(both, key=lambda ops: sum(op.dot_macs for op in ops))
        expanded = step.prefill if not step.mla else step.mla == "expanded"
        return self._expanded(step, layer) if expanded and not self.index else self._absorbed(step, layer)

    def _expanded(self, step: Step, layer: int) -> list[Op]:
        """K and V of all tokens, cached ones too, from their rows, then attention head by head."""
        n, rows = self.q_heads * (self.nope_dim + self.v_dim), step.batch * (step.cached + step.new)
        up = Op(
            "latent_up", "attention_proj", layer, "attention_qkv", (Gemm(rows, n, self.kv_rank),),
            inputs=rows * self.kv_rank, outputs=rows * n,
        )  # fmt: skip
        pairs, width = step.batch * causal_pairs(step.cached, step.new), self.key_dim + self.v_dim
        heads = self.q_heads
        core = Op(
            "attention",
            "attention",
            layer,
            macs=pairs * heads * width,
            vector=passes.SOFTMAX * pairs * heads,
            cache=Cache("kv", self.row, step.batch * step.cached * self.row, step.tokens * self.row),
            inputs=step.tokens * heads * self.key_dim + rows * heads * width,
            outputs=step.tokens * heads * self.v_dim,
            core=AttentionCore(step.batch, step.new, step.cached, heads, heads, width // 2, chunk=step.prefill),
        )
        return [up, core]

    def _absorbed(self, step: Step, layer: int) -> list[Op]:
        """Queries into the space of the rows, attention on the rows, the result back; per head, on 16-bit copies."""
        t, heads, r = step.tokens, self.q_heads, self.kv_rank
        top = self.index.top_k if self.index else 0
        pairs = step.batch * causal_pairs(step.cached, step.new, top)
        read = min(step.cached, top * step.new) if top else step.cached
        into = Op(
            "absorb_q", "attention_proj", layer, "absorbed", (Gemm(t, r, self.nope_dim, heads),),
            inputs=t * heads * self.nope_dim, outputs=t * heads * r,
        )  # fmt: skip
        core = Op(
            "latent_attention",
            "attention",
            layer,
            macs=pairs * heads * (r + self.row),
            vector=passes.SOFTMAX * pairs * heads,
            cache=Cache("kv", self.row, step.batch * read * self.row, t * self.row),
            inputs=t * (heads * self.row + self.row),
            outputs=t * heads * r,
            core=None
            if top
            else AttentionCore(step.batch, step.new, step.cached, heads, 1, self.row // 2, chunk=step.prefill),
        )
        back = Op(
            "absorb_v", "attention_proj", layer, "absorbed", (Gemm(t, self.v_dim, r, heads),),
            inputs=t * heads * r, outputs=t * heads * self.v_dim,
        )  # fmt: skip
        return [into, core, back]

    def _indexer(self, step: Step, layer: int) -> list[Op]:
        """Small queries, one key and head weights per token; scores of all positions, and the choice of the best."""
        x = self.index
        if x is None or x.shared:
            return []
        t, kind, weights = step.tokens, "indexer", "attention_qkv"
        q = step.linear("index_q", kind, layer, weights, x.heads * x.head_dim, self.q_rank)
        k = step.linear("index_k", kind, layer, weights, x.head_dim + x.heads, step.hidden)
        norm = Op(
            "index_norm", "norm", layer, "norm", params=2 * x.head_dim,
            vector=passes.LAYERNORM * t * x.head_dim, inputs=t * x.head_dim, outputs=t * x.head_dim,
        )  # fmt: skip
        pairs = step.batch * causal_pairs(step.cached, step.new)
        scores = Op(
            "index_scores",
            kind,
            layer,
            macs=pairs * x.heads * x.head_dim,
            vector=passes.INDEX_SCORE * pairs * x.heads,
            cache=Cache("kv", x.head_dim, step.batch * step.cached * x.head_dim, t * x.head_dim),
            inputs=t * (x.heads * x.head_dim + x.head_dim + x.heads),
            outputs=t * min(x.top_k, step.cached + step.new),
        )
        return [q, k, norm, scores]
