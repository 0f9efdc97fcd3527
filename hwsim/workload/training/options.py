"""What a training step is asked to be: sizes, how the chips share it, what is recomputed, what is divided."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

from hwsim.errors import InputError, nearest

#: Words for `recompute` other than a number of layers.
RECOMPUTE = ("none", "selective", "full")
#: How tokens go to their experts and back: a copy per chosen expert; one per chip that has one of them; behind the work
#: of another micro-batch.
PER_EXPERT, PER_CHIP, HIDDEN = "per-expert", "per-chip", "hidden"
#: What a data-parallel chip holds whole: 0: everything; 1: all but the optimiser's state; 3: nothing (FSDP).
SHARDS = (0, 1, 3)


@dataclass(frozen=True, slots=True)
class Degrees:
    """How many ways each dimension of a training step is divided over chips.

    dp: sequences (data). tp: heads and widths (tensor), with the sequence divided between the linears. pp: layers
    (pipeline). vp: chunks of layers per pipeline stage (interleaved schedule). ep: experts; it divides dp tp cp and
    shares those chips, and an expert is whole. cp: positions of a sequence (context).
    """

    dp: int = 1
    tp: int = 1
    pp: int = 1
    vp: int = 1
    ep: int = 1
    cp: int = 1

    @classmethod
    def of(cls, given: str | Mapping[str, int] | Degrees | None) -> Degrees:
        """From `dp=8,tp=2`, a mapping, or nothing. raises: InputError with every error found."""
        if isinstance(given, Degrees):
            return given
        names, found = [f.name for f in fields(cls)], dict[str, int]()
        problems: list[str] = []
        pairs = list(given.items()) if isinstance(given, Mapping) else _pairs(given or "", problems)
        for name, value in pairs:
            if name not in names:
                problems.append(f"parallel: unknown degree {name!r}{nearest(name, names)}")
            elif name in found:
                problems.append(f"parallel: {name} is given twice; write it once")
            elif isinstance(value, bool) or not isinstance(value, int) or value < 1:
                problems.append(f"parallel: {name}: {value!r} is not a positive whole number; write 1 or more")
            else:
                found[name] = value
        if problems:
            raise InputError(*problems)
        return cls(**found)

    @property
    def chips(self) -> int:
        """Chips of the whole step."""
        return self.dp * self.tp * self.pp * self.cp

    @property
    def replicas(self) -> int:
        """Chips that hold the same dense weights, and so can divide the optimiser's state: dp cp."""
        return self.dp * self.cp

    @property
    def expert_replicas(self) -> int:
        """Chips that hold the same experts."""
        return self.dp * self.tp * self.cp // self.ep

    def __str__(self) -> str:
        named = [f"{f.name} {getattr(self, f.name)}" for f in fields(self) if getattr(self, f.name) > 1]
        return ", ".join(named) or "one chip"


def _pairs(text: str, problems: list[str]) -> list[tuple[str, int]]:
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"([A-Za-z]+)\s*=\s*(\d{1,7})", part)
        if match:
            found.append((match[1], int(match[2])))
        else:
            problems.append(f"parallel: {part!r} is not DEGREE=NUMBER; write, for example, dp=8,tp=2")
    return found


@dataclass(frozen=True, slots=True)
class TrainStep:
    """One optimiser step.

    batch:       sequences per step, over all chips. context: tokens of a sequence. micro_batch: sequences that a
                 chip computes at once.
    recompute:   layers whose forward pass is repeated in the backward pass, or -1: the scores of attention only.
    shard:       one of SHARDS.
    fused:       attention keeps no scores (flash attention).
    skew:        how tokens choose experts: "even", or "zipf(a)".
    mtp:         how many times the model's multi-token-prediction block is trained too, each with a head and loss of
                 its own and the same weights.
    within:      with shard 3: chips that divide weights and gradients among them (HSDP); 0: all. The optimiser's
                 state is divided over all.
    exchange:    words of the exchange of tokens and experts: PER_EXPERT or PER_CHIP, and HIDDEN.
    """

    batch: int
    context: int
    micro_batch: int
    degrees: Degrees = Degrees()
    recompute: int = 0
    shard: int = 1
    fused: bool = True
    skew: str = "even"
    mtp: int = 0
    exchange: tuple[str, ...] = (PER_EXPERT,)
    within: int = 0

    @property
    def divided(self) -> tuple[int, int]:
        """Chips that divide the dense weights, and those of an expert: of the replicas, those within a group."""
        d = self.degrees
        if not self.within:
            return d.replicas, d.expert_replicas
        return min(d.replicas, self.within // d.tp), min(d.expert_replicas, max(1, self.within // d.ep))

    @property
    def micro_batches(self) -> int:
        """Micro-batches per pipeline."""
        return self.batch // (self.degrees.dp * self.micro_batch)

    @property
    def tokens(self) -> int:
        """Tokens of a micro-batch on one chip, before the sequence is divided by tp."""
        return self.micro_batch * self.context // self.degrees.cp

    @property
    def selective(self) -> bool:
        """Whether the scores of attention are computed again in the backward pass."""
        return self.recompute < 0

    def recomputed(self, layer: int, layers: int) -> bool:
        """Whether the backward pass of a layer repeats its forward pass; the chosen ones are spread evenly."""
        n = max(self.recompute, 0)
        return (layer + 1) * n // layers > layer * n // layers


def exchange_words(text: str) -> tuple[str, ...]:
    """`per-chip,hidden` as words, in a fixed order. raises: InputError."""
    words = {word.strip() for word in text.split(",")}
    known = (PER_EXPERT, PER_CHIP, HIDDEN)
    wrong = sorted(words - {*known})
    if wrong:
        raise InputError(f"exchange: unknown {wrong[0]!r}{nearest(wrong[0], known)}")
    if {PER_EXPERT, PER_CHIP} <= words:
        raise InputError(f"exchange: {PER_EXPERT} and {PER_CHIP} contradict each other; write one")
    return (PER_CHIP if PER_CHIP in words else PER_EXPERT, *((HIDDEN,) if HIDDEN in words else ()))


def within_problems(step: TrainStep) -> list[str]:
    """Why weights cannot be divided within groups of so many chips."""
    d, n = step.degrees, step.within
    if step.shard != 3:
        return [
            f"shard-within: {n} chips divide weights, which only --shard 3 does; write it, or leave shard-within out"
        ]
    if n < 1 or d.chips % n or n % d.tp or (n % d.ep and d.ep % n):
        return [
            f"shard-within: groups of {n} do not divide {d.chips} chips, or are no multiple of tp {d.tp} and ep "
            f"{d.ep}; write, for example, {max(d.tp, d.ep)}"
        ]
    return []


def recompute_layers(word: str, layers: int) -> int:
    """`none`, `selective`, `full` or a number of layers, as TrainStep has it. raises: InputError."""
    if word in RECOMPUTE:
        return {"none": 0, "selective": -1, "full": layers}[word]
    if not word.isascii() or not word.isdecimal():
        raise InputError(f"recompute: unknown {word!r}; write none, selective, full or a number of layers")
    if int(word) > layers:
        raise InputError(f"recompute: {word} layers, but the model has {layers}; write at most {layers}, or full")
    return int(word)


def problems(step: TrainStep, layers: int) -> list[str]:
    """Why the sizes of a step contradict one another."""
    d, found = step.degrees, []
    for name in ("batch", "context", "micro_batch"):
        if getattr(step, name) < 1:
            word = name.replace("_", "-")
            found.append(f"{word}: {getattr(step, name)!r} is not a positive whole number; write 1 or more")
    if found:
        return found
    share = d.dp * step.micro_batch
    if step.batch % share:
        near = [n for n in (step.batch // share * share, (step.batch // share + 1) * share) if n]
        found.append(
            f"batch: {step.batch} sequences do not divide into micro-batches of {step.micro_batch} on dp {d.dp} "
            f"replicas; write a batch of {' or '.join(map(str, near))}, or another micro-batch"
        )
    chunks = d.pp * d.vp
    if d.pp == 1 and d.vp > 1:
        found.append("parallel: vp needs a pipeline; write pp of 2 or more, or leave vp out")
    if chunks > layers + 2:
        found.append(
            f"parallel: pp {d.pp} x vp {d.vp} is {chunks} stages, more than the {layers} layers with embedding and "
            f"head; write pp x vp of at most {layers + 2}"
        )
    if d.vp > 1 and not step.batch % share and step.micro_batches % d.pp:
        found.append(
            f"parallel: the interleaved schedule (vp {d.vp}) needs micro-batches in multiples of pp {d.pp}, and there "
            f"are {step.micro_batches}; write another batch, micro-batch or dp, or vp=1"
        )
    if step.context % (d.cp * d.tp):
        found.append(
            f"context: {step.context} tokens do not divide over cp {d.cp} x tp {d.tp} chips; write a multiple of "
            f"{d.cp * d.tp}"
        )
    if d.dp * d.tp * d.cp % d.ep:
        found.append(
            f"parallel: ep {d.ep} does not divide dp x tp x cp = {d.dp * d.tp * d.cp}, whose chips hold the experts; "
            "write a divisor"
        )
    if step.shard not in SHARDS:
        found.append(f"shard: unknown {step.shard!r}; write 0, 1 or 3")
    if step.within:
        found += within_problems(step)
    if step.shard == 3 and d.pp > 1:
        found.append("shard: 3 divides weights that a pipeline gathers for every micro-batch; write --shard 1, or pp=1")
    return found
