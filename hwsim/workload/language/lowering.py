"""Model -> ops: one step (decode or prefill) in program order.

Decode: each of `batch` sequences adds one token to `context` cached ones; it reads their K and V, attends to
context + 1 positions and writes one. Prefill: a prompt of `context` tokens with an empty cache; attention is causal
(each position attends to itself and to earlier ones), and the head computes the last position only. Mixed: a decode
step and a chunk of a prompt in one pass (`mixed`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from hwsim.errors import InputError
from hwsim.workload import vector as passes
from hwsim.workload.language.mixed import alone, merged
from hwsim.workload.language.model import Model, Slot
from hwsim.workload.language.parallel import check, chip_model
from hwsim.workload.language.parts.latent import Latent
from hwsim.workload.language.parts.step import Step, causal_pairs
from hwsim.workload.language.routing import skew_exponent
from hwsim.workload.language.share import Parallel
from hwsim.workload.op import FIXED_CLASSES, MLA_FORMS, Gemm, Op, StepOptions

__all__ = ["causal_pairs", "lower"]

#: A layer that an op outside the layers belongs to.
OUTSIDE = -1


@lru_cache(maxsize=16)  # the points of a study ask for the same step again and again
def lower(model: Model, step: StepOptions) -> tuple[Op, ...]:
    """The ops of one step on the chip with the most work, including collectives.

    With `step.new` above 1, the head runs for each new token, and SSM and convolution state are written after each,
    so that any of them can be kept.

    raises: InputError for an unknown phase or skew, for `new` in prefill, for chips that cannot share the model, for
            decoding with an encoder, and for drafting with a model that has no multi-token-prediction block.
    """
    skew_exponent(step.skew)
    _check_form(model, step.mla)
    parallel = Parallel(step.chips, step.parallel)
    check(model, parallel)
    if step.phase == "draft":
        return _draft(model, step, parallel)
    if step.phase == "mixed":
        return _mixed(model, step, parallel)
    if step.phase not in ("decode", "prefill"):
        raise InputError(f"phase: unknown {step.phase!r}; expected decode, prefill or mixed")
    prefill = step.phase == "prefill"
    if prefill and step.new != 1:
        raise InputError("new: prefill verifies no draft tokens; leave it out")
    if not prefill and model.encoder:
        raise InputError(f"{model.name} attends in both directions and makes no tokens one by one; write phase prefill")
    return _Shapes(chip_model(model, parallel), _step(model, step, parallel, prefill)).ops()


def _mixed(model: Model, step: StepOptions, parallel: Parallel) -> tuple[Op, ...]:
    """The ops of a decode step of `step.batch` sequences and of a chunk of one prompt, in one pass.

    The head computes one position of every sequence, those of prompts that are not finished too. Chips that divide the
    sequences divide the chunk alike: each has prompts of its own.
    """
    whole, both, prompt = _mixed_steps(model, step, parallel)
    on_chip, sequences = chip_model(model, parallel), both.batch + 1
    shared = _Shapes(on_chip, whole, heads=sequences * step.new if step.batch else 1).ops()
    decodes = _Shapes(on_chip, both).ops() if step.batch else ()
    return merged(shared, decodes, _Shapes(on_chip, prompt).ops())


def _mixed_steps(model: Model, step: StepOptions, parallel: Parallel) -> tuple[Step, Step, Step]:
    """(all tokens as if each were decoded, the decode steps, the chunk) of a mixed step. raises: InputError."""
    if model.encoder:
        raise InputError(f"{model.name} attends in both directions and makes no tokens one by one; write phase prefill")
    if step.chunk < 1 or step.done < 0:
        raise InputError("chunk: a mixed step computes 1 token of a prompt or more; write phase decode for none")
    part = -(-step.chunk // parallel.sequences)
    both = _step(model, replace(step, phase="decode", chunk=0, done=0), parallel, prefill=False)
    prompt = replace(both, batch=1, cached=step.done, new=part, prefill=True, routed=step.chunk)
    tokens = step.batch * step.new + step.chunk
    return replace(both, batch=both.batch * step.new + part, new=1, routed=tokens), both, prompt


@dataclass(frozen=True, slots=True)
class Parts:
    """The ops of a mixed step by what their time depends on, in any order.

    shared: on the number of all tokens; head: on that of sequences; decodes: on the decode steps' number and context;
    prompt: on the chunk and what was computed before it. Each op comes as often as there are layers with it.
    """

    shared: tuple[Op, ...] = ()
    head: tuple[Op, ...] = ()
    decodes: tuple[Op, ...] = ()
    prompt: tuple[Op, ...] = ()


def shared_parts(model: Model, step: StepOptions) -> Parts:
    """`shared` and `head` of a mixed step. raises: InputError."""
    parallel = Parallel(step.chips, step.parallel)
    whole, both, prompt = _mixed_steps(model, step, parallel)
    shapes = _Shapes(chip_model(model, parallel), whole, heads=both.batch + 1)
    head = (*shapes.final_norm(), *shapes.head())
    ops = shapes.ops()
    body = ops[: len(ops) - len(head)]
    chunk = {(op.layer, op.name) for op in _Shapes(shapes.model, prompt).ops()}
    return Parts(tuple(op for op in body if not alone(op) and (op.layer, op.name) in chunk), head)


def own_parts(model: Model, step: StepOptions) -> Parts:
    """`decodes` and `prompt` of a mixed step: what each computes by itself. raises: InputError.

    Each shape of part is asked once, however many layers have it.
    """
    parallel = Parallel(step.chips, step.parallel)
    _, both, prompt = _mixed_steps(model, step, parallel)
    parts = Counter(slot.part for slots in chip_model(model, parallel).plan for slot in slots)
    decodes: list[Op] = []
    chunks: list[Op] = []
    for part, times in parts.items():
        mine, theirs = part.ops(both, 0), part.ops(prompt, 0)
        names = {op.name for op in mine} & {op.name for op in theirs}
        decodes += times * [op for op in mine if alone(op) or op.name not in names]
        chunks += times * [op for op in theirs if alone(op) or op.name not in names]
    return Parts(decodes=tuple(decodes), prompt=tuple(chunks))


def _check_form(model: Model, form: str) -> None:
    """raises: InputError for an unknown form of latent attention, or one that the model cannot take."""
    if form and form not in MLA_FORMS:
        raise InputError(f"mla: unknown {form!r}; expected {', '.join(MLA_FORMS[:-1])} or {MLA_FORMS[-1]}")
    latent = [part for part in model.shapes if isinstance(part, Latent)]
    if form and not latent:
        raise InputError(f"mla: {model.name} has no latent attention; leave it out")
    if form in ("expanded", "cheaper") and any(part.index for part in latent):
        raise InputError(f"mla: {model.name} reads rows that an indexer chose, in the absorbed form; leave it out")


def _step(model: Model, step: StepOptions, parallel: Parallel, prefill: bool) -> Step:
    cached, new = (0, step.context) if prefill else (step.context, 1 if step.phase == "draft" else step.new)
    batch = -(-step.batch // parallel.sequences)
    return Step(model.hidden, batch, cached, new, prefill, step.skew, parallel, step.batch * new, step.mla)


def _draft(model: Model, step: StepOptions, parallel: Parallel) -> tuple[Op, ...]:
    """The ops of one draft token of the multi-token-prediction block, with `step.context` tokens in its cache.

    The embedding of the last token and the previous hidden state are normalized, concatenated and projected to the
    hidden width; the layers of the block, its final norm and the head of the model follow (arXiv 2512.20856). The
    matrices of the block are of class `mtp`.
    """
    if not model.mtp:
        raise InputError(f"{model.name} has no multi-token-prediction block; use no draft tokens")
    sizes, h = _step(model, step, parallel, prefill=False), model.hidden
    shapes, batch = _Shapes(chip_model(model, parallel), sizes), sizes.batch
    joined = Op(
        "mtp_norm",
        "norm",
        weights="norm",
        params=2 * h,
        vector=passes.RMSNORM * 2 * batch * h,
        inputs=2 * batch * h,
        outputs=2 * batch * h,
    )
    fusion = sizes.linear("mtp_fusion", "mtp", 0, "mtp", parallel.share(h), 2 * h)
    gathered = sizes.collective("mtp_gather", 0, "all_gather", batch * h)
    layers = [op for layer, slots in enumerate(shapes.model.mtp_plan) for op in shapes.layer(layer, slots)]
    ops = [op if op.weights in (*FIXED_CLASSES, "") else replace(op, weights="mtp") for op in layers]
    return (*shapes.embedding(), joined, fusion, *gathered, *ops, *shapes.final_norm(), *shapes.head())


class _Shapes:
    """The ops around the parts: tables, norms, residuals. model: the part on one chip."""

    def __init__(self, model: Model, step: Step, heads: int | None = None):
        """heads: positions that the head computes; None: of every token in decode, of the last of each prompt in
        prefill, of an encoder, all."""
        self.model, self.step = model, step
        self.heads = heads or (step.batch if step.prefill and not model.encoder else step.tokens)

    def ops(self) -> tuple[Op, ...]:
        """All ops of the step in program order."""
        ops = self.embedding()
        for layer, slots in enumerate(self.model.plan):
            ops += self.layer(layer, slots)
        return (*ops, *self.final_norm(), *self.head())

    def embedding(self) -> list[Op]:
        """One row of the table per token (and one of the positions); each chip reads those in its part."""
        h, t = self.model.hidden, self.step.tokens
        n = self.step.parallel.share(t) * h + (t * h if self.model.positions else 0)
        table = Op(
            "embedding", "embedding", weights="embedding", params=n, outputs=t * h,
            vector=passes.RESIDUAL * t * h if self.model.positions else 0,
        )  # fmt: skip
        ops = self.step.summed(OUTSIDE, [table])
        return [*ops, self.norm("embedding_norm", t, added=0)] if self.model.embedding_norm else ops

    def layer(self, layer: int, slots: Sequence[Slot]) -> list[Op]:
        """The parts of a layer with their norms; parts side by side share one norm and one sum over the chips."""
        ops: list[Op] = []
        place, t, h = self.model.norm.place, self.step.tokens, self.model.hidden
        for i, slot in enumerate(slots):
            name = slot.name.removeprefix("window_")
            if place != "post" and not slot.beside:
                residual = bool(layer or ops)
                ops.append(self.norm(f"{name}_norm", t, layer, added=residual, sums=residual))
            made = slot.part.ops(self.step, layer)
            if slot.beside:
                more = passes.RESIDUAL * t * h
                made = [*made[:-1], replace(made[-1], vector=made[-1].vector + more, inputs=made[-1].inputs + t * h)]
            last = i + 1 == len(slots) or not slots[i + 1].beside
            ops += self.step.summed(layer, made) if last else made
            if last and place != "pre":
                ops.append(self.norm(f"{name}_post_norm", t, layer, added=place == "post"))
        return ops

    def norm(self, name: str, tokens: int, layer: int = OUTSIDE, added: float = 0, sums: bool = False) -> Op:
        """A norm of `tokens` hidden states. added: it adds the residual first; sums: it also outputs the sum."""
        n, kind = tokens * self.model.hidden, self.model.norm
        return Op(
            name,
            "norm",
            layer,
            weights="norm",
            params=kind.parameters(self.model.hidden),
            vector=(kind.passes + (passes.RESIDUAL if added else 0)) * n,
            inputs=2 * n if added else n,
            outputs=2 * n if sums else n,
        )

    def final_norm(self) -> list[Op]:
        """The norm before the head; it adds the last residual."""
        if not self.model.final_norm:
            return []
        return [self.norm("final_norm", self.heads, added=self.model.norm.place != "post")]

    def head(self) -> list[Op]:
        """Logits of the last position of each prompt (prefill), or of every new token (decode); labels; a pooler."""
        model, parallel = self.model, self.step.parallel
        k = model.hidden
        if model.head == "none":
            return []
        if model.head != "lm":
            n = k if model.head == "pooler" else int(model.head)
            m, bias = self.step.batch, n if model.head == "pooler" else 0
            return [
                Op("head", "head", weights="head", gemms=(Gemm(m, n, k),), params=bias, inputs=m * k, outputs=m * n)
            ]
        m, n = self.heads, model.vocab
        params, work = (n, passes.BIAS * m * n) if model.head_bias else (0, 0)
        work += passes.SOFTCAP * m * n if model.softcap else 0
        head = Op(
            "head", "head", weights="head", gemms=(Gemm(m, n, k),), vector=work, params=params,
            inputs=m * k, outputs=m * n,
        )  # fmt: skip
        return [head, *self.step.collective("logits", OUTSIDE, "all_gather", m * n * parallel.tensors)]


def layer_ops(model: Model, step: Step, layer: int, slots: Sequence[Slot]) -> list[Op]:
    """The ops of one layer, with its norms and the sums over chips. model: the part on one chip."""
    return _Shapes(model, step).layer(layer, slots)
