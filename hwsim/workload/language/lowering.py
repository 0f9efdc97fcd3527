"""Model -> ops: one step (decode or prefill) in program order.

Decode: each of `batch` sequences adds one token to `context` cached ones; it reads their K and V, attends to
context + 1 positions and writes one. Prefill: a prompt of `context` tokens with an empty cache; attention is causal
(each position attends to itself and to earlier ones), and the head computes the last position only.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from hwsim.errors import InputError
from hwsim.workload import vector as passes
from hwsim.workload.language.model import LAYER_KINDS, Attention, Mamba2, Model, matrices, required
from hwsim.workload.language.parallel import Parallel, check, chip_model
from hwsim.workload.language.routing import expected_distinct, first_chip, groups, skew_exponent
from hwsim.workload.op import FIXED_CLASSES, AttentionCore, Cache, Gemm, Op, StepOptions

ALONE = Parallel()


@lru_cache(maxsize=16)  # the points of a study ask for the same step again and again
def lower(model: Model, step: StepOptions) -> tuple[Op, ...]:
    """The ops of one step on the chip with the most work, including collectives.

    With `step.new` above 1, the head runs for each new token, and SSM and convolution state are written after each,
    so that any of them can be kept.

    raises: InputError for an unknown phase or skew, for `new` in prefill, for chips that cannot share the model, and
            for drafting with a model that has no multi-token-prediction block.
    """
    skew_exponent(step.skew)
    parallel = Parallel(step.chips, step.parallel)
    check(model, parallel)
    if step.phase == "draft":
        return _draft(model, step, parallel)
    if step.phase not in ("decode", "prefill"):
        raise InputError(f"phase: unknown {step.phase!r}; expected decode or prefill")
    prefill = step.phase == "prefill"
    if prefill and step.new != 1:
        raise InputError("new: prefill verifies no draft tokens; leave it out")
    cached, new = (0, step.context) if prefill else (step.context, step.new)
    shapes = _Step(model, step.batch, cached, new, prefill, step.skew, parallel)
    ops = shapes.embedding()
    for layer, letter in enumerate(model.layers):
        ops += shapes.layer(layer, letter)
    return (*ops, shapes.norm("final_norm"), *shapes.head())


def _draft(model: Model, step: StepOptions, parallel: Parallel) -> tuple[Op, ...]:
    """The ops of one draft token of the multi-token-prediction block, with `step.context` tokens in its cache.

    The embedding of the last token and the previous hidden state are normalized, concatenated and projected to the
    hidden width; the layers of the block, its final norm and the head of the model follow (arXiv 2512.20856). The
    matrices of the block are of class `mtp`.
    """
    if not model.mtp:
        raise InputError(f"{model.name} has no multi-token-prediction block; use no draft tokens")
    shapes, h = _Step(model, step.batch, step.context, 1, skew=step.skew, parallel=parallel), model.hidden
    batch = shapes.batch
    joined = Op(
        "mtp_norm",
        "norm",
        weights="norm",
        params=2 * h,
        vector=passes.RMSNORM * 2 * batch * h,
        inputs=2 * batch * h,
        outputs=2 * batch * h,
    )
    fusion = shapes.linear("mtp_fusion", "mtp", 0, "mtp", parallel.share(h), 2 * h)
    gathered = shapes.collective("mtp_gather", 0, "all_gather", batch * h)
    layers = [op for layer, letter in enumerate(model.mtp) for op in shapes.layer(layer, letter)]
    ops = [op if op.weights in (*FIXED_CLASSES, "") else replace(op, weights="mtp") for op in layers]
    return (*shapes.embedding(), joined, fusion, *gathered, *ops, shapes.norm("final_norm"), *shapes.head())


class _Step:
    """Shapes of one step: each sequence adds `new` tokens to its `cached` ones.

    prefill: the cache is empty, and the head computes only the last position of each sequence.
    parallel: model and batch are reduced to those of one chip; `routed` remains the tokens of all chips.
    """

    def __init__(
        self,
        model: Model,
        batch: int,
        cached: int,
        new: int,
        prefill: bool = False,
        skew: str = "even",
        parallel: Parallel = ALONE,
    ):
        self.model, self.cached, self.new, self.prefill = chip_model(model, parallel), cached, new, prefill
        self.skew, self.parallel, self.routed = skew, parallel, batch * new
        self.batch = batch = -(-batch // parallel.sequences)
        self.tokens = batch * new
        self.heads = batch if prefill else self.tokens

    def collective(self, name: str, layer: int, kind: str, elements: int, weights: str = "") -> list[Op]:
        """A collective on a vector of `elements`; no op if there is one chip, or if the chips share no tensors."""
        chips = self.parallel.chips if kind == "all_to_all" else self.parallel.tensors
        if chips == 1:
            return []
        op = Op(name, "link", layer, weights, inputs=elements, outputs=elements)
        return [replace(op, link=kind, link_elements=elements, peers=chips)]

    def summed(self, layer: int, ops: list[Op]) -> list[Op]:
        """`ops`, whose last leaves partial sums on each chip, followed by the all_reduce of these sums."""
        n = self.tokens * self.model.hidden
        return ops + self.collective(f"{ops[-1].name}_sum", layer, "all_reduce", n)

    def embedding(self) -> list[Op]:
        """One row of the table per token; each chip reads the rows in its part of the vocabulary."""
        n = self.parallel.share(self.tokens) * self.model.hidden
        out = self.tokens * self.model.hidden
        return self.summed(-1, [Op("embedding", "embedding", weights="embedding", params=n, outputs=out)])

    def layer(self, layer: int, letter: str) -> list[Op]:
        """The parts of a layer, each after its norm."""
        ops: list[Op] = []
        for part in LAYER_KINDS[letter]:
            first = not layer and not ops
            ops.append(self.norm(f"{part.removeprefix('window_')}_norm", layer, residual=not first))
            ops += self.summed(layer, getattr(self, part)(layer))
        return ops

    def norm(self, name: str, layer: int = -1, residual: bool = True) -> Op:
        """RMS norm. All but the first add the residual first; all but the last also output this sum."""
        n = (self.tokens if layer >= 0 else self.heads) * self.model.hidden
        return Op(
            name,
            "norm",
            layer,
            weights="norm",
            params=self.model.hidden,
            vector=(passes.RMSNORM + (passes.RESIDUAL if residual else 0)) * n,
            inputs=2 * n if residual else n,
            outputs=2 * n if residual and layer >= 0 else n,
        )

    def head(self) -> list[Op]:
        """Logits of the last position of each prompt (prefill), or of every new token (decode)."""
        m, n, k = self.heads, self.model.vocab, self.model.hidden
        head = Op("head", "head", weights="head", gemms=(Gemm(m, n, k),), inputs=m * k, outputs=m * n)
        return [head, *self.collective("logits", -1, "all_gather", m * n * self.parallel.tensors)]

    def linear(self, name: str, kind: str, layer: int, weights: str, n: int, k: int, bias: bool = False) -> Op:
        """[tokens, k] x [n, k]^T, with an optional bias of n."""
        t = self.tokens
        params, work = (n, passes.BIAS * t * n) if bias else (0, 0)
        gemms = (Gemm(t, n, k),)
        return Op(name, kind, layer, weights, gemms, vector=work, params=params, inputs=t * k, outputs=t * n)

    # -- attention ---------------------------------------------------------------------------------

    def attention(self, layer: int, window: int = 0) -> list[Op]:
        """QKV projection (with QK norm and rotation), attention core on the cache, output projection."""
        a, h, t = required(self.model.attention), self.model.hidden, self.tokens
        qkv = self.linear("qkv", "attention_proj", layer, "attention_qkv", a.qkv_width, h, a.bias)
        out = self.linear("attention_out", "attention_proj", layer, "attention_out", h, a.q_width, a.bias)
        turned = t * (a.q_heads + a.kv_heads) * a.head_dim
        rotation = passes.ROPE * turned if a.rope else 0
        if not a.qk_norm:
            return [replace(qkv, vector=qkv.vector + rotation), self._core(a, layer, window), out]
        work = passes.RMSNORM * turned + rotation
        params = 2 * a.head_dim
        norm = Op("qk_norm", "norm", layer, "norm", params=params, vector=work, inputs=turned, outputs=turned)
        return [qkv, norm, self._core(a, layer, window), out]

    def window_attention(self, layer: int) -> list[Op]:
        """Sliding-window attention: only the last positions."""
        return self.attention(layer, required(self.model.attention).window)

    def _core(self, a: Attention, layer: int, window: int) -> Op:
        """Q K^T, softmax, times V: two MACs per pair of positions, query head and head element."""
        pairs = self.batch * causal_pairs(self.cached, self.new, window)
        kept = min(self.cached, window - 1) if window else self.cached
        written = min(self.new, window) if window else self.new
        sinks = passes.SINK * self.tokens * a.q_heads if a.sinks else 0
        return Op(
            "window_attention" if window else "attention",
            "attention",
            layer,
            weights="norm" if a.sinks else "",
            macs=2 * pairs * a.q_width,
            vector=passes.SOFTMAX * pairs * a.q_heads + sinks,
            params=a.q_heads if a.sinks else 0,
            cache=Cache("kv", a.head_dim, self.batch * kept * a.kv_width, self.batch * written * a.kv_width),
            inputs=self.tokens * a.qkv_width,
            outputs=self.tokens * a.q_width,
            core=AttentionCore(self.batch, self.new, self.cached, a.q_heads, a.kv_heads, a.head_dim, window),
        )

    # -- feed-forward ------------------------------------------------------------------------------

    def mlp(self, layer: int) -> list[Op]:
        """Up (and gate) projection with the activation, then down projection."""
        f = required(self.model.mlp)
        return self._feed_forward("mlp", layer, f.intermediate, f.gated, f.activation, f.bias)

    def _feed_forward(
        self, kind: str, layer: int, width: int, gated: bool, activation: str, bias: bool = False
    ) -> list[Op]:
        h, t = self.model.hidden, self.tokens
        up = self.linear(f"{kind}_up", kind, layer, kind, (matrices(gated) - 1) * width, h, bias)
        work = up.vector + passes.feed_forward(activation, gated) * t * width
        down = self.linear(f"{kind}_down", kind, layer, kind, h, width, bias)
        return [replace(up, vector=work, outputs=t * width), down]

    def moe(self, layer: int) -> list[Op]:
        """Router, latent projection, chosen experts and their sum, projection back, shared expert.

        The router outputs the weight and number of each chosen expert; the shared expert adds the sum of the others.
        """
        e, h, t = required(self.model.moe), self.model.hidden, self.tokens
        router = Op(
            "router",
            "router",
            layer,
            weights="router",
            params=e.experts * h + (e.experts if e.bias else 0),
            vector=(passes.ROUTER_SCORE + (passes.BIAS if e.bias else 0)) * t * e.experts,
            vector_macs=t * e.experts * h,
            inputs=t * h,
            outputs=2 * t * e.top_k,
        )
        ops, latent = [router], self.parallel.share(e.latent)
        if e.latent:
            ops.append(self.linear("latent_down", "latent", layer, "latent", latent, h))
            ops += self.collective("latent_gather", layer, "all_gather", t * e.latent)
        ops += self._experts(layer, e.latent or h)
        if e.latent:
            ops += self.collective("latent_sum", layer, "reduce_scatter", t * e.latent)
            ops.append(self.linear("latent_up", "latent", layer, "latent", h, latent))
        if e.shared_intermediate:
            up, down = self._feed_forward("shared_experts", layer, e.shared_intermediate, e.gated, e.activation)
            ops += [up, replace(down, vector=passes.RESIDUAL * t * h, inputs=down.inputs + t * h)]
        return ops

    def _experts(self, layer: int, width: int) -> list[Op]:
        e, t = required(self.model.moe), self.tokens
        rows_of = first_chip(groups(e.experts, e.top_k, self.routed, self.skew), self.parallel.experts)
        chosen, distinct = sum(n * rows for n, rows in rows_of), sum(n for n, _ in rows_of)
        travels = self.parallel.sequences > 1
        arriving = chosen if travels else t
        inner = (matrices(e.gated) - 1) * e.intermediate
        expected = expected_distinct(e.experts, e.top_k, self.routed, self.skew)
        up = Op(
            "experts_up",
            "experts",
            layer,
            "experts",
            tuple(Gemm(rows, inner, width, n) for n, rows in rows_of),
            vector=passes.feed_forward(e.activation, e.gated) * chosen * e.intermediate,
            inputs=arriving * width,
            outputs=chosen * e.intermediate,
            distinct=expected,
        )
        down = Op(
            "experts_down",
            "experts",
            layer,
            "experts",
            tuple(Gemm(rows, width, e.intermediate, n) for n, rows in rows_of),
            vector=passes.COMBINE * chosen * width,
            inputs=chosen * e.intermediate,
            outputs=arriving * width,
            distinct=expected,
        )
        if e.bias:
            up, down = (
                replace(op, params=distinct * n, vector=op.vector + passes.BIAS * chosen * n)
                for op, n in ((up, inner), (down, width))
            )
        if not travels:
            return [up, down]
        there = self.collective("dispatch", layer, "all_to_all", t * e.top_k * width, "experts")
        back = self.collective("combine", layer, "all_to_all", t * e.top_k * width)
        return [*there, up, down, *back]

    # -- Mamba-2 -----------------------------------------------------------------------------------

    def mamba(self, layer: int) -> list[Op]:
        """In-projection, short convolution, state update or chunked scan, gated norm, out-projection."""
        s, h, t = required(self.model.mamba2), self.model.hidden, self.tokens
        kept = self.batch * (1 if self.prefill else self.new)
        conv = Op(
            "conv",
            "conv",
            layer,
            "conv",
            vector=passes.SILU * t * s.conv_channels,
            vector_macs=t * s.conv_channels * s.conv_kernel,
            params=s.conv_channels * (s.conv_kernel + 1),
            cache=Cache(
                "conv",
                s.conv_kernel - 1,
                0 if self.prefill else self.batch * s.conv_elements,
                kept * s.conv_elements,
            ),
            inputs=t * s.conv_channels,
            outputs=t * s.conv_channels,
        )
        scan = Op(
            "ssm",
            "ssm",
            layer,
            "ssm",
            macs=self.batch * scan_macs(s, self.new) if self.prefill else 0,
            vector=self._scan_passes(s),
            vector_macs=self.batch * chunks(s, self.new) * s.state_elements if self.prefill else 0,
            params=3 * s.heads,
            cache=Cache("ssm", s.state, 0 if self.prefill else self.batch * s.state_elements, kept * s.state_elements),
            inputs=t * (s.conv_channels + s.heads),
            outputs=t * s.inner,
        )
        norm = Op(
            "gated_norm",
            "norm",
            layer,
            "norm",
            vector=(passes.SILU + passes.GATE + passes.RMSNORM) * t * s.inner,
            params=s.inner,
            inputs=2 * t * s.inner,
            outputs=t * s.inner,
        )
        into = self.linear("mamba_in", "mamba_proj", layer, "mamba_in", s.in_width, h)
        out = self.linear("mamba_out", "mamba_proj", layer, "mamba_out", h, s.inner)
        return [into, conv, scan, norm, out]

    def _scan_passes(self, s: Mamba2) -> int:
        """Vector passes of the state: every element per token in decode, pairs inside each chunk in prefill."""
        t = self.tokens
        work = passes.SSM_STEP * t * s.heads + passes.SSM_CHANNEL * t * s.inner
        if not self.prefill:
            return work + passes.SSM_UPDATE * t * s.state_elements
        pairs = self.batch * s.heads * chunk_pairs(s, self.new)
        return work + passes.SSD_STEP * t * s.heads + passes.SSD_CHANNEL * t * s.inner + passes.SSD_PAIR * pairs


def causal_pairs(cached: int, new: int, window: int = 0) -> int:
    """(query, key) pairs of a sequence: new token i, counted from 1, sees cached + i positions, or the window."""
    if not window:
        return new * cached + new * (new + 1) // 2
    growing = min(new, max(0, window - cached))
    return growing * cached + growing * (growing + 1) // 2 + (new - growing) * window


def chunks(s: Mamba2, tokens: int) -> int:
    """Number of chunks into which the scan divides a sequence."""
    return -(-tokens // s.chunk)


def chunk_pairs(s: Mamba2, tokens: int) -> int:
    """Causal pairs of positions inside the chunks of one sequence, including the diagonal."""
    full, rest = divmod(tokens, s.chunk)
    return full * causal_pairs(0, s.chunk) + causal_pairs(0, rest)


def scan_macs(s: Mamba2, tokens: int) -> int:
    """Multiply-adds on the dot array of the chunked scan of one sequence and layer (arXiv 2405.21060, section 6).

    Per pair inside a chunk: C B^T (N per group) and its product with x (P per head), without the half above the
    diagonal. Per token: state in and out, 2 N P per head. The scan over chunks, N P per head and chunk, is
    elementwise and counted in `vector_macs`.
    """
    return chunk_pairs(s, tokens) * (s.groups * s.state + s.inner) + 2 * tokens * s.state_elements
