"""Which format each operand of an op has on a machine, which servers it passes, and how fast.

The rules of "formats in a run": weights by class, activations and caches by default or by request;
a pair that the machine lacks goes through its dequantise server, seeds through its regenerators.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from hwsim.arch.machine import Arch
from hwsim.errors import InputError
from hwsim.formats.layout import ALIASES, Layout, layout
from hwsim.mapping.program import DEQUANTISE, REGENERATE
from hwsim.workload.language.presets import format_of, split_key
from hwsim.workload.op import WEIGHT_CLASSES, Op

WIDE = ("bf16", "fp16", "int8")
STOCHASTIC = "_sr"


@dataclass(frozen=True, slots=True)
class Formats:
    """Formats asked for in a run; None means the machine's and the format's default.

    weights: (class, name) pairs with "default" among them; a class may name layers, `mamba_in@4,11`.
    state:   may end in `_sr`: rounded stochastically on its way to memory.
    """

    weights: tuple[tuple[str, str], ...]
    activations: str | None = None
    kv: str | None = None
    state: str | None = None

    @classmethod
    def of(
        cls,
        weights: str | Mapping[str, str],
        activations: str | None = None,
        kv: str | None = None,
        state: str | None = None,
    ) -> Formats:
        """Check every name. raises: InputError with all unknown classes and formats."""
        table = dict(weights) if isinstance(weights, Mapping) else {"default": weights}
        problems = []
        for key in table:
            try:
                split_key(key)
            except InputError as error:
                problems += error.problems
        if "default" not in table:
            problems.append("weights: no `default`; write one, for example {experts: nvfp4, default: fp8}")
        for what, name in [*table.items(), ("activations", activations), ("kv", kv), ("state", state)]:
            if what == "state" and isinstance(name, str):
                name, _ = split_state(name)
            try:
                found = layout(name) if name is not None else None
                if found and found.kind == "seed" and what in ("activations", "kv", "state"):
                    problems.append(f"{what}: {name} is a weight format; write bf16, fp8 or int8")
            except InputError as error:
                problems += [f"{what}: {p}" for p in error.problems]
        if problems:
            raise InputError(*problems)
        return cls(
            tuple((c, canonical(f)) for c, f in sorted(table.items())),
            canonical(activations),
            canonical(kv),
            state and canonical(split_state(state)[0]) + (STOCHASTIC if split_state(state)[1] else ""),
        )

    @property
    def default(self) -> str:
        """Weight format of the classes that are not named."""
        return dict(self.weights)["default"]

    def of_class(self, name: str, layer: int = -1) -> str:
        """Format of one weight class in one layer (-1: outside the layers)."""
        return format_of(self.weights, name, layer)


@dataclass(frozen=True, slots=True)
class Operands:
    """One op's formats and path. rate: MACs a cycle of the dot array for this op (None: no dot work).

    pair: (weights, activations) as the dot array multiplies them (None: no dot work).
    converter: server between DRAM and dot array (None: direct); note: what is printed about it.
    stochastic: what the op writes into its cache passes the rounding units.
    """

    weights: Layout | None
    activations: Layout
    cache: Layout | None
    rate: Fraction | None
    converter: int | None = None
    converter_rate: Fraction | None = None
    note: str = ""
    stochastic: bool = False
    pair: tuple[str, str] | None = None


def canonical(name: str | None) -> str | None:
    """A format's own name for an alias."""
    return ALIASES.get(name, name) if isinstance(name, str) else name


def split_state(name: str) -> tuple[str, bool]:
    """`fp16_sr` as ("fp16", True): the format, and whether state is rounded to it stochastically."""
    return name.removesuffix(STOCHASTIC), name.endswith(STOCHASTIC)


def wide(arch: Arch) -> str:
    """The machine's wide activation format: the first of bf16, fp16, int8 that it lists."""
    listed = [r.activations for r in arch.dot.rates]
    return next((f for f in WIDE if f in listed), listed[0])


def activation_format(arch: Arch, weights: str, asked: str | None) -> str:
    """Activations for a weight format: as asked, else as the rule of the design says."""
    if asked:
        return asked
    kind = layout(weights).kind
    if weights == "int4_g128" or kind == "seed":
        return wide(arch)
    if kind == "dense":
        return weights
    return weights if arch.dot.rate(weights, weights) else wide(arch)


def operands(arch: Arch, op: Op, formats: Formats) -> Operands:
    """Resolve one op on a machine. raises: InputError naming the server or pair that is missing."""
    stored = formats.of_class(op.weights, op.layer) if op.weights else None
    moving = stored if op.gemms or op.weights in WEIGHT_CLASSES else formats.default
    acts = activation_format(arch, moving, formats.activations)
    if op.link and not op.weights:  # partial sums and logits travel wide
        acts = wide(arch)
    state, stochastic = split_state(formats.state or arch.state)
    stochastic = stochastic and op.cache == "ssm"
    if stochastic and arch.round is None:
        raise InputError(f"{arch.name}: state {state}_sr needs a `round` server, which this machine lacks")
    cache = {"": None, "kv": formats.kv or arch.kv, "ssm": state, "conv": "bf16"}[op.cache]
    rate, pair, converter, converter_rate, note = None, None, None, None, ""
    if op.gemms:
        pair, converter, converter_rate, note = _path(arch, stored, acts)
        rate = arch.dot.rate(*pair)
    elif op.macs:
        pair = (acts, acts) if arch.dot.rate(acts, acts) else (wide(arch), wide(arch))
        rate = arch.dot.rate(*pair)
        if rate is None:
            raise InputError(f"{arch.name}: {op.name}: no dot rate for {acts} x {acts}{_pairs(arch)}")
    if (op.vector or op.vector_macs) and arch.vector is None:
        raise InputError(f"{arch.name}: {op.name} needs a `vector` server, which this machine lacks")
    return Operands(
        layout(stored) if stored else None,
        layout(acts),
        layout(cache) if cache else None,
        rate,
        converter,
        converter_rate,
        f"state rounded stochastically to {state}" if stochastic else note,
        stochastic,
        pair,
    )


def _pairs(arch: Arch) -> str:
    return "; it lists " + ", ".join(f"{r.weights} x {r.activations}" for r in arch.dot.rates)


def _path(arch: Arch, weights: str, acts: str):
    """(pair on the dot array, converter, its rate, note) from stored weights to the dot array."""
    if layout(weights).kind == "seed":
        unit = arch.regenerate
        if unit is None:
            raise InputError(f"{arch.name}: {weights} needs a `regenerate` server, which this machine lacks")
        pair = (weights, acts) if arch.dot.rate(weights, acts) else (unit.feeds, acts)
        if arch.dot.rate(*pair) is None:
            raise InputError(f"{arch.name}: no dot rate for {unit.feeds} x {acts}{_pairs(arch)}")
        return pair, REGENERATE, unit.blocks_per_cycle, f"{weights} regenerated to {unit.feeds} x {acts}"
    if arch.dot.rate(weights, acts) is not None:
        return (weights, acts), None, None, ""
    target = next((f for f in (acts, wide(arch)) if arch.dot.rate(f, f)), None)
    if arch.dequantise is None or target is None:
        missing = "no `dequantise` server" if arch.dequantise is None else "none to dequantise to"
        raise InputError(f"{arch.name}: no dot rate for {weights} x {acts} and {missing}{_pairs(arch)}")
    note = f"{weights} x {acts} dequantised to {target} x {target}"
    return (target, target), DEQUANTISE, arch.dequantise.weights_per_cycle, note
