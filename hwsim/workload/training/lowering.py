"""Model -> what one chip computes of a training step: blocks of sites and collectives, one per layer.

The forward ops are those of a prefill (`language.lowering`) over all positions of a micro-batch. With tp chips the
sequence is divided between the linears: norms, routers and experts see 1/tp of the tokens, and in place of each sum
over chips stand a gather before the part and a scatter behind it (Korthikanti et al., arXiv 2205.05198, section 4.2.2).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

from hwsim.errors import InputError, collect
from hwsim.workload import vector as passes
from hwsim.workload.language.lowering import layer_ops
from hwsim.workload.language.model import Model, Slot
from hwsim.workload.language.parallel import check, chip_model
from hwsim.workload.language.parts.mamba2 import Mamba2
from hwsim.workload.language.parts.moe import Moe
from hwsim.workload.language.parts.step import Step
from hwsim.workload.language.routing import skew_exponent
from hwsim.workload.language.share import Parallel
from hwsim.workload.op import Gemm, Op
from hwsim.workload.training import sites
from hwsim.workload.training.block import Block, Collective
from hwsim.workload.training.options import HIDDEN, PER_CHIP, PER_EXPERT, TrainStep, problems
from hwsim.workload.training.scan import mamba2_scan
from hwsim.workload.training.sites import COPY, INPUT, Linear, Plain, Saved, Site
from hwsim.workload.training.split import EMBEDDING, HEAD

#: Linears whose input is divided over the chips of tp by its width; those of the others by the sequence.
ROWS = ("attention_out", "mamba_out", "down")


@dataclass(frozen=True, slots=True)
class TrainParallel(Parallel):
    """The chips around one in a training step: `chips` are those that exchange tokens for experts (ep)."""

    tensor: int = 1

    @property
    def tensors(self) -> int:
        """Number of parts into which heads, widths and vocabulary are divided."""
        return self.tensor

    @property
    def sequences(self) -> int:
        """Number of chips whose tokens are exchanged."""
        return self.chips

    @property
    def experts(self) -> int:
        """Number of parts into which the experts are divided."""
        return self.chips

    def share(self, size: int) -> int:
        """Size of the largest part of a width."""
        return -(-size // self.tensor)


def check_model(model: Model, step: TrainStep, found: Iterable[str] = ()) -> None:
    """raises: InputError with every reason why the chips cannot train the model so."""
    bad = [*found, *problems(step, len(model.layers))]
    with collect(bad):
        skew_exponent(step.skew)
    lines: list[str] = []
    with collect(lines):
        check(model, Parallel(step.degrees.tp, "tensor"))
    if step.mtp and not model.mtp:
        bad.append(f"mtp: {model.name} has no multi-token-prediction block; leave it out")
    bad += [f"parallel: tp: {line.removeprefix('chips: ')}" for line in lines]
    moes = [part for part in model.shapes if isinstance(part, Moe)]
    if step.degrees.ep > 1 and not moes:
        bad.append(f"parallel: ep: {model.name} has no experts; leave it out")
    if step.exchange != (PER_EXPERT,) and not moes:
        bad.append(f"exchange: {model.name} has no experts; leave it out")
    few = [part.experts for part in moes if part.experts < step.degrees.ep]
    if few:
        bad.append(f"parallel: ep: {model.name} has {min(few)} experts, fewer than ep {step.degrees.ep}; write less")
    if model.encoder or model.head != "lm":
        bad.append(f"{model.name} predicts no next token, which is all that training knows; name a decoder")
    if bad:
        raise InputError(*bad)


@lru_cache(maxsize=64)  # the points of a study ask for the same step again and again
def blocks(model: Model, step: TrainStep) -> dict[int, Block]:
    """What each item of the model is on one chip; equal layers are one object. raises: InputError."""
    check_model(model, step)
    lowering = _Lowering(model, step)
    known: dict[tuple[tuple[Slot, ...], bool], Block] = {}
    found = {EMBEDDING: lowering.embedding(), HEAD: lowering.head()}
    if step.mtp:
        found[HEAD] = lowering.with_mtp(found[HEAD])
    for layer, slots in enumerate(lowering.chip.plan):
        key = slots, bool(layer)
        if key not in known:
            known[key] = lowering.layer(layer, slots)
        found[layer] = known[key]
    return found


class _Lowering:
    """chip: the part of the model on one chip, with whole experts."""

    def __init__(self, model: Model, step: TrainStep):
        d = step.degrees
        self.model, self.step, self.degrees = model, step, d
        whole = "tensor+expert" if any(isinstance(part, Moe) for part in model.shapes) else "tensor"
        self.chip = chip_model(model, Parallel(d.tp, whole))
        self.tokens = step.tokens  # of this chip, before tp divides the sequence
        self.local = self.tokens // d.tp
        parallel = TrainParallel(d.ep, "tensor+expert", d.tp)
        self.sizes = Step(model.hidden, step.micro_batch, 0, step.context, True, step.skew, parallel, self.local * d.ep)

    # -- layers ------------------------------------------------------------------------------------

    def layer(self, layer: int, slots: tuple[Slot, ...]) -> Block:
        """One layer."""
        found: list[Site] = []
        links: list[Collective] = []
        first = last = ""
        for op in layer_ops(self.chip, self.sizes, layer, slots):
            if op.link:
                links += self._collectives(op, first, last, slots)
                first = ""
                continue
            made = self._sites(op, slots)
            linears = [site.name for site in made if isinstance(site, Linear)]
            first, last = first or next(iter(linears), ""), next(iter(linears), last)
            found += made
        links += self._ring(slots)
        return Block(layer, self.chip.hidden, tuple(found), tuple(links), self._held(slots))

    def _held(self, slots: tuple[Slot, ...]) -> tuple[tuple[str, int], ...]:
        counts = self.chip.layer_counts(slots)
        for slot in slots:
            if isinstance(slot.part, Moe):
                part = slot.part
                local = -(-part.experts // self.degrees.ep)
                counts["experts"] -= (part.experts - local) * part.expert(self.chip.hidden)
                counts["latent"] -= 2 * self.chip.hidden * (part.latent - -(-part.latent // self.degrees.tp))
        return tuple((name, n) for name, n in counts.items() if n)

    def _sites(self, op: Op, slots: tuple[Slot, ...]) -> list[Site]:
        cp, tp = self.degrees.cp, self.degrees.tp
        if op.kind == "experts":
            return self._experts(op, slots)
        if op.kind == "router" and not op.gemms:
            made: list[Site] = [sites.router(sites.shrunk(op, cp * tp))]
            return made + (self._permute(slots, op.layer) if op.name == "router" else [])
        if op.gemms:
            return self._linear(sites.shrunk(op, cp))
        if op.kind == "attention":
            return [self._core(op)]
        if op.kind in ("ssm", "linear_attention"):
            return [self._scan(sites.shrunk(op, cp), slots)]
        if op.kind == "norm" and op.weights == "norm" and op.name not in ("gated_norm", "qk_norm"):
            one = sites.shrunk(op, cp * tp)
            return [sites.norm(one, self.local * self.chip.hidden)]
        one = sites.shrunk(op, cp)
        return [sites.elementwise(one, (Saved(one.inputs),))]

    def _linear(self, op: Op) -> list[Site]:
        """A linear, and the function of elements behind it; rotation keeps nothing, as attention keeps its results."""
        inputs = sum(g.count * g.m * g.k for g in op.gemms)
        if op.name == "attention_out":  # attention keeps its results in 16 bits for itself
            saved = Saved(inputs, COPY, op.weights)
        else:
            shared = self.degrees.tp if not op.name.endswith(ROWS) else 1
            saved = Saved(inputs // shared, INPUT, op.weights)
        made: list[Site] = [Linear.of(op, (saved,))]
        for function in sites.with_function(op):
            kept = () if op.kind == "attention_proj" else (Saved(function.inputs),)
            made.append(replace(sites.elementwise(function, kept), part=op.kind))
        return made

    def _core(self, op: Op) -> Plain:
        share = Fraction(1, self.degrees.cp)
        heads = op.core.q_heads if op.core else 0
        if self.step.fused or op.core is None:
            return sites.fused_core(op, heads, self.tokens, share)
        return sites.unfused_core(op, heads * self.step.micro_batch * self.step.context**2, share)

    def _scan(self, op: Op, slots: tuple[Slot, ...]) -> Plain:
        states = self._states(op, slots)
        part = next((slot.part for slot in slots if isinstance(slot.part, Mamba2)), None)
        if op.kind == "ssm" and part is not None:
            return mamba2_scan(op, part, self.tokens, states)
        return sites.scan(op, states)

    def _states(self, op: Op, slots: tuple[Slot, ...]) -> int:
        """States at the start of every chunk of the scan."""
        parts = [slot.part for slot in slots]
        chunk = max((getattr(part, "chunk", 0) or 0 for part in parts), default=0)
        if op.cache is None or not chunk:
            return 0
        return op.cache.write // self.step.micro_batch * (self.tokens // chunk)

    # -- experts -----------------------------------------------------------------------------------

    def _moe(self, slots: tuple[Slot, ...]) -> Moe:
        return next(slot.part for slot in slots if isinstance(slot.part, Moe))

    def _permute(self, slots: tuple[Slot, ...], layer: int) -> list[Site]:
        part = self._moe(slots)
        rows = self.local * part.top_k * (part.latent or self.chip.hidden)
        return [sites.moved("permute", layer, rows, rows)]

    def _experts(self, op: Op, slots: tuple[Slot, ...]) -> list[Site]:
        part = self._moe(slots)
        rows = sum(g.count * g.m for g in op.gemms)
        inputs = sum(g.count * g.m * g.k for g in op.gemms)
        down = op.name == "experts_down"
        combine = passes.COMBINE * rows * op.gemms[0].n if down else 0
        op = replace(op, vector=op.vector - combine)
        made: list[Site] = [Linear.of(op, (Saved(inputs, INPUT, op.weights),))]
        if down:
            width = part.latent or self.chip.hidden
            return [*made, sites.moved("unpermute", op.layer, self.local * part.top_k * width, self.local * width)]
        for function in sites.with_function(op):
            made.append(replace(sites.elementwise(function, (Saved(function.inputs),)), part=op.kind))
        return made

    # -- collectives -------------------------------------------------------------------------------

    def _collectives(self, op: Op, first: str, last: str, slots: tuple[Slot, ...]) -> list[Collective]:
        """In place of a sum over chips: gathers and scatters; forward 2, backward 2 and the input again for wgrad."""
        if op.link == "all_to_all":
            # with ep of 1 there is no such op; tokens of this chip's part of the sequence, there or back
            n = op.link_elements // (self.degrees.cp * self.degrees.tp)
            kind, picks, hidden = op.link, (0, 0), HIDDEN in self.step.exchange
            if PER_CHIP in self.step.exchange:
                part = self._moe(slots)
                kind, picks, n = "exchange", (part.experts, part.top_k), n // part.top_k
            return [Collective(kind, "ep", n, forward, picks=picks, hidden=hidden) for forward in (True, False)]
        n = op.link_elements // self.degrees.cp
        if op.link != "all_reduce" or op.link_elements != self.sizes.tokens * self.chip.hidden:
            return [Collective(op.link, "tp", n, True), Collective(op.link, "tp", n, False)]
        return [
            Collective("all_gather", "tp", n, True, first),
            Collective("reduce_scatter", "tp", n, True, last),
            Collective("all_gather", "tp", n, False, last),
            Collective("reduce_scatter", "tp", n, False, first),
            Collective("all_gather", "tp", n, False, first),
        ]

    def _ring(self, slots: tuple[Slot, ...]) -> list[Collective]:
        """Keys and values of the other chips' positions, forward; backward those and their gradients."""
        if self.degrees.cp == 1:
            return []
        widths = [getattr(slot.part, "kv_width", 0) for slot in slots]
        n = self.step.micro_batch * self.step.context * sum(widths)
        if not n:
            return []
        return [
            Collective("ring", "cp", n, True, "attention"),
            Collective("ring", "cp", 2 * n, False, "attention"),
        ]

    # -- ends --------------------------------------------------------------------------------------

    def embedding(self) -> Block:
        """One row of the table per token; backward adds a gradient in FP32 to each."""
        h, t, tp = self.chip.hidden, self.tokens, self.degrees.tp
        rows = -(-t // tp) * h
        op = Op("embedding", "embedding", inputs=rows, outputs=rows)
        back = replace(op, name="embedding_backward", inputs=3 * rows, outputs=2 * rows, vector=rows)
        links = []
        if tp > 1:
            links = [Collective("reduce_scatter", "tp", t * h, True), Collective("all_gather", "tp", t * h, False)]
        table = self.chip.vocab * h + self.model.positions * h
        return Block(EMBEDDING, h, (Plain("embedding", op, back),), tuple(links), (("embedding", table),))

    def head(self) -> Block:
        """Final norm, logits of every position, cross-entropy: it reads the logits and leaves their gradient there."""
        h, t, v, tp = self.chip.hidden, self.tokens, self.chip.vocab, self.degrees.tp
        norm = Op("final_norm", "norm", weights="norm", vector=passes.RMSNORM * self.local * h, inputs=self.local * h)
        norm = replace(norm, outputs=self.local * h)
        head = Op("head", "head", weights="head", gemms=(Gemm(t, v, h),), inputs=t * h, outputs=t * v)
        loss = Op("loss", "softmax", vector=passes.SOFTMAX * t * v, inputs=t * v, outputs=t * v)
        made = (
            sites.norm(norm, self.local * h),
            Linear.of(head, (Saved(self.local * h, INPUT, "head"),)),
            Plain("loss", loss, None, (Saved(t * v),)),
        )
        links: list[Collective] = []
        if tp > 1:
            links = [
                Collective("all_gather", "tp", t * h, True, "head"),
                Collective("reduce_scatter", "tp", t * h, False, "head"),
                Collective("all_gather", "tp", t * h, False, "head"),
            ]
        held = [("norm", self.model.norm.parameters(h))]
        if not self.model.tied_embeddings or self.degrees.pp > 1:  # a pipeline holds a tied table at both ends
            held.append(("head", v * h))
        return Block(HEAD, h, made, tuple(links), tuple(held))

    def with_mtp(self, head: Block) -> Block:
        """The head with the multi-token-prediction block in front of a second head: fusion of the embedding with the
        hidden state, its layers, and a loss of its own (arXiv 2512.20856). Its linears are of class `mtp`.
        """
        h, t, local = self.chip.hidden, self.tokens, self.local
        width, norms = -(-h // self.degrees.tp), 2 * local * h
        joined = Op("mtp_norm", "norm", weights="norm", vector=passes.RMSNORM * norms, inputs=norms, outputs=norms)
        fusion = Op("mtp_fusion", "mtp", weights="mtp", gemms=(Gemm(t, width, 2 * h),))
        made: list[Site] = [sites.norm(joined, local * h), Linear.of(fusion, (Saved(norms, INPUT, "mtp"),))]
        links, held = list(head.collectives), list(head.held)  # the second head shares its weights with the first
        links += [_gathered(h, t, forward) for forward in (True, False)] if self.degrees.tp > 1 else []
        for slots in self.chip.mtp_plan:
            block = self.layer(0, slots)
            made += [_as_mtp(site) for site in block.sites]
            links += block.collectives
            held += block.held
        made += head.sites
        held += [("mtp", 2 * h * width), ("norm", 3 * h)]
        own = links[len(head.collectives) :]
        times = self.step.mtp
        every = (*head.collectives, *times * (*own, *head.collectives))
        return Block(HEAD, h, (*head.sites, *times * made), every, tuple(held))


def _gathered(hidden: int, tokens: int, forward: bool) -> Collective:
    """The gather of the fusion's result; backward, the scatter of its gradient."""
    return Collective("all_gather" if forward else "reduce_scatter", "tp", tokens * hidden, forward, "mtp_fusion")


def _as_mtp(site: Site) -> Site:
    """A site of the block: its linear is of class `mtp`."""
    if not isinstance(site, Linear):
        return site
    ops = {name: replace(op, weights="mtp") for name in ("fprop", "dgrad", "wgrad") if (op := getattr(site, name))}
    return replace(site, weights="mtp", saved=tuple(s._replace(weights="mtp") for s in site.saved), **ops)


def flops_per_token(model: Model, context: int, mtp: int = 0) -> int:
    """Model FLOP per token of one training step: 6 per weight of a linear, without the embedding, and attention.

    Two per multiply-add, three times the forward pass: causal attention by its half of the square, no recompute; the
    experts that a token chooses; routers; with mtp, its block and second head. Megatron-Bridge counts attention and
    linears in the same way.
    """
    found = blocks(model, TrainStep(1, context, 1, mtp=mtp))
    macs = 0
    for block in found.values():
        for site in block.sites:
            op = site.fprop if isinstance(site, Linear) else site.forward
            macs += op.dot_macs + (op.vector_macs if op.kind == "router" else 0)
    return 6 * macs // context
