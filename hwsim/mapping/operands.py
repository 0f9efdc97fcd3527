"""The format of each operand of an op on a machine, the servers that it passes, and their rates.

Weights have a format per class; activations and caches have a default or the requested format. A pair of formats that
the machine cannot multiply passes its dequantise server; seeds pass its regenerators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor
from typing import Any, TypeGuard

from hwsim.arch.machine import TileMachine
from hwsim.arch.scalars import size_text
from hwsim.errors import InputError, collect
from hwsim.formats.layout import Layout
from hwsim.formats.names import FormatSource, layout
from hwsim.mapping.paths import FormatPath, cache_pair, converted, how_exact, pairs_text, path_of, wide
from hwsim.mapping.popular import found_share
from hwsim.workload.formatmap import DEFAULT, FormatMap
from hwsim.workload.language.presets import preset, released
from hwsim.workload.op import FIXED_CLASSES, WEIGHT_CLASSES, Op, StepOptions, Workload

STOCHASTIC = "_sr"
PUBLISHED = "published-"
#: As weights: the formats in which the model is released, which its file names; 16 bits where it names none.
RELEASED = "released"

_FIXED = {name: layout(form) for name, form in FIXED_CLASSES.items()}
_CONV = layout("bf16")

#: Formats that every unit reads as they are.
_NATIVE = ("fp32", "bf16", "fp16")


@dataclass(frozen=True, slots=True)
class Formats:
    """Formats of a run, resolved; None means the default of the machine or of the weight format.

    weights:    by class; empty until the preset `published` has been looked up.
    stochastic: state is rounded to its format stochastically (suffix `_sr` of the name).
    published:  the requested preset of the model ("": none); see `of_workload`.
    """

    weights: FormatMap[Layout]
    activations: Layout | None = None
    kv: Layout | None = None
    state: Layout | None = None
    stochastic: bool = False
    published: str = ""

    @classmethod
    def of(
        cls,
        weights: FormatSource | Mapping[str, FormatSource] = "bf16",
        activations: FormatSource | None = None,
        kv: FormatSource | None = None,
        state: FormatSource | None = None,
    ) -> Formats:
        """Resolve every name. raises: InputError for all unknown classes and formats."""
        problems: list[str] = []
        named = isinstance(weights, str) and (weights.startswith(PUBLISHED) or weights == RELEASED)
        published = str(weights) if named else ""
        table: FormatMap[Layout] = FormatMap(())
        if not published:
            table = _weights(weights, problems)
        stochastic = isinstance(state, str) and state.endswith(STOCHASTIC)
        acts, cache, kept = (
            _resolved(name, form, problems)
            for name, form in (
                ("activations", activations),
                ("kv", kv),
                ("state", state.removesuffix(STOCHASTIC) if isinstance(state, str) else state),
            )
        )
        if problems:
            raise InputError(*problems)
        return cls(table, acts, cache, kept, stochastic, published)

    def of_workload(self, workload: Workload) -> Formats:
        """The formats with the published preset looked up. raises: InputError if the workload has no such preset."""
        if not self.published:
            return self
        known = released(workload) if self.published == RELEASED else preset(workload, self.published)
        more = Formats.of(known.weights, known.activations, known.kv, known.state)
        return Formats(
            more.weights,
            self.activations or more.activations,
            self.kv or more.kv,
            self.state or more.state,
            self.stochastic if self.state else more.stochastic,
        )

    def check(self, workload: Workload, step: StepOptions, ops: Sequence[Op]) -> None:
        """raises: InputError naming each class, or layer of a class, that the map names and the workload lacks."""
        named = {rule.weights for rule in self.weights.rules} - {DEFAULT}
        if not named:
            return
        found: dict[str, set[int]] = {}
        stored = [(each.weights, each.layer) for each in workload.stored(step)]
        for name, layer in (*stored, *((op.weights, op.layer) for op in ops)):
            found.setdefault(name, set()).add(layer)
        if "mtp" in named - found.keys():  # of the draft block, which a step may leave out
            with suppress(InputError):
                found |= {op.weights: {op.layer} for op in workload.ops(replace(step, phase="draft", new=1))}
        known = [name for name in WEIGHT_CLASSES if name in found]
        problems = []
        for rule in self.weights.rules:
            if rule.weights != DEFAULT and rule.weights not in found:
                problems.append(f"weights: {workload.name} has no {rule.weights}; its classes: {', '.join(known)}")
            elif rule.layers and rule.layers - found.get(rule.weights, set()):
                lacking = ", ".join(map(str, sorted(rule.layers - found[rule.weights])))
                problems.append(f"weights: {rule.key}: {workload.name} has no {rule.weights} in layers {lacking}")
        if problems:
            raise InputError(*problems)

    @property
    def by_layer(self) -> bool:
        """Whether a class of weights has other formats in some layers."""
        return any(rule.layers for rule in self.weights.rules)

    def of_class(self, name: str, layer: int = -1) -> Layout:
        """Format of one weight class in one layer (-1: outside the layers)."""
        return _FIXED[name] if name in _FIXED else self.weights.of_class(name, layer)

    def of_cache(self, role: str, arch: TileMachine) -> Layout:
        """Format of a cache or state of the workload; role: a key of `workload.op.CACHES`."""
        if role == "conv":
            return _CONV
        return self.kv_on(arch) if role == "kv" else self.state_on(arch)[0]

    def kv_on(self, arch: TileMachine) -> Layout:
        """Format of the KV cache."""
        return self.kv or layout(arch.kv).by_rows()

    def state_on(self, arch: TileMachine) -> tuple[Layout, bool]:
        """(format of the state, whether it is rounded stochastically)."""
        if self.state:
            return self.state, self.stochastic
        return layout(arch.state.removesuffix(STOCHASTIC)).by_rows(), arch.state.endswith(STOCHASTIC)

    def config(self) -> dict[str, Any]:
        """Plain data: names; None where the machine decides."""
        return {
            "weights": self.published or weights_config(self.weights),
            "activations": self.activations and self.activations.resolved(),
            "kv": self.kv and self.kv.resolved(),
            "state": self.state and self.state.name + (STOCHASTIC if self.stochastic else ""),
        }


def weights_config(weights: FormatMap[Layout]) -> Any:
    """A format map as plain data: {key: format}, or a single format name if there is only a default."""
    table = {rule.key: rule.format.resolved() for rule in weights.rules}
    return table if len(table) > 1 else table[DEFAULT]


def _weights(given: FormatSource | Mapping[str, FormatSource], problems: list[str]) -> FormatMap[Layout]:
    """The format map of the weights, from a mapping of classes or from one format for all."""
    if not _is_map(given):
        found = _resolved("weights", given, problems)
        return FormatMap.of({DEFAULT: found}) if found else FormatMap(())
    table = {key: _resolved(f"weights: {key}", form, problems) for key, form in given.items()}
    with collect(problems, "weights: "):  # check the keys even if a format is already an error
        return FormatMap.of({key: form or _CONV for key, form in table.items()})
    return FormatMap(())


def _is_map(given: FormatSource | Mapping[str, FormatSource]) -> TypeGuard[Mapping[str, FormatSource]]:
    """Whether this is a mapping that gives formats by class, rather than one format, defined inline or not."""
    return isinstance(given, Mapping) and not {"element", "m", "k1", "codebook", "C", "P"} & set(given)


def _resolved(what: str, given: FormatSource | None, problems: list[str]) -> Layout | None:
    """The layout of one format of the run, or None; an error is appended under the option's name."""
    if given is None:
        return None
    with collect(problems, f"{what}: "):
        if what == "weights" and isinstance(given, str) and "=" in given:
            table = ", ".join(f"'{c}': '{f}'" for c, _, f in (part.partition("=") for part in given.split(",")))
            raise InputError(f"{given!r} is a map of the command line; in Python write {{{table}}}")
        made = getattr(given, "layout", None)  # of `get_format`, whose module needs numpy
        found = made if isinstance(made, Layout) else layout(given)
        if found.kind == "seed" and what in ("activations", "kv", "state"):
            raise InputError(f"{found.name} is a weight format; write bf16, fp8 or int8")
        return found if what.startswith("weights") else found.by_rows()
    return None


@dataclass(frozen=True, slots=True)
class Operands:
    """Formats of one op and its path through the machine.

    rate:       MACs per cycle of the dot array for this op (None: no dot work).
    pair:       (weights, activations) as the dot array multiplies them (None: no dot work).
    converter:  server between DRAM and dot array (None: direct).
    stochastic: values that the op writes into its cache pass the rounding units.
    notes:      formats that were chosen or converted, and what the cache holds, for the notes of the Result.
    held:       rows of tables that the op finds in the cache.
    multiplied: the activations as the dot array multiplies them (None: no dot work).
    """

    weights: Layout | None
    activations: Layout
    cache: Layout | None
    rate: Fraction | None
    converter: int | None = None
    converter_rate: Fraction | None = None
    stochastic: bool = False
    pair: tuple[str, str] | None = None
    notes: tuple[str, ...] = ()
    held: int = 0
    multiplied: Layout | None = None

    def unrated(self, dot: bool) -> Operands:
        """Without what no plan depends on: notes and rates; dot: keep that of the dot array, else it is 1."""
        rate = self.rate if dot or not self.rate else Fraction(1)
        return replace(self, rate=rate, converter_rate=None, pair=None, multiplied=None, notes=())


def activation_format(arch: TileMachine, weights: Layout, given: Layout | None) -> Layout:
    """Activation format for a weight format: the given one; else that of a pair that the machine lists; else a default.

    Of several listed pairs, that with the highest peak; of equal ones, that with the most activation bits; then the
    first in the file.
    """
    if given:
        return given
    pairs = [r for r in arch.dot.rates if r.weights == weights.name]
    if pairs:
        best = max(pairs, key=lambda r: (r.macs_per_cycle, arch.dot.form(r.activations).bits_per_value))
        return arch.dot.form(best.activations).by_rows()
    return (weights if weights.activations == "same" else arch.dot.form(wide(arch))).by_rows()


def operands(arch: TileMachine, op: Op, formats: Formats) -> Operands:
    """Resolve one op on a machine. raises: InputError naming the missing server or pair of formats."""
    stored = formats.of_class(op.weights, op.layer) if op.weights else None
    moving = stored if stored and (op.gemms or op.weights in WEIGHT_CLASSES) else formats.weights.default
    acts = activation_format(arch, moving, formats.activations)
    if op.link and not op.weights:  # partial sums and logits are exchanged in the wide format
        acts = arch.dot.form(wide(arch))
    if (op.vector or op.vector_macs) and arch.vector is None:
        raise InputError(f"{arch.name}: {op.name} needs a `vector` server, which this machine lacks")
    path = FormatPath()
    if op.gemms and stored:
        path = path_of(arch, stored, acts)
        if not path.note and not formats.activations:
            path = path._replace(note=_chosen_note(arch, stored, acts))
    elif op.macs:
        pair = (acts.name, acts.name) if arch.dot.rate(acts.name, acts.name) else (wide(arch), wide(arch))
        if op.cache and op.cache.role == "kv" and formats.kv_on(arch).name not in _NATIVE:
            pair = cache_pair(arch, formats.kv_on(arch), pair)
        path = FormatPath(pair)
    rate = arch.dot.rate(*path.pair) if path.pair else None
    if path.pair and rate is None:
        of = f"weights {stored.name} as " if stored and stored.name != path.pair[0] else ""
        raise InputError(f"{arch.name}: {op.name}: no dot rate for {of}{' x '.join(path.pair)}{pairs_text(arch)}")
    cache = formats.of_cache(op.cache.role, arch) if op.cache else None
    arch.dot.check(stored, acts, cache)
    stochastic = op.cache is not None and op.cache.role == "ssm" and formats.state_on(arch)[1]
    held, found = _held(arch, op, stored)
    notes = [path.note, found]
    if op.cache and cache:
        notes.append(_cache_note(arch, op.cache.role, cache, acts, path.pair, stochastic))
    return Operands(
        stored,
        acts,
        cache,
        rate,
        path.converter,
        path.converter_rate,
        stochastic,
        path.pair,
        tuple(note for note in notes if note),
        held=held,
        multiplied=arch.dot.form(path.pair[1]) if path.pair else None,
    )


def _at_activations_rate(arch: TileMachine, cache: Layout, pair: tuple[str, str]) -> str:
    """The note on a wide KV cache that attention multiplies at the rate of narrower activations."""
    how, rate, own = how_exact(converted(cache, arch.dot.form(pair[1]))), arch.dot.rate(*pair), (cache.name, cache.name)
    slower = arch.dot.rate(*own)
    there = f"; {' x '.join(own)} has {_rate_text(slower)}" if slower and rate and slower < rate else ""
    return (
        f"attention multiplies {' x '.join(pair)}, the pair of the activations, at {_rate_text(rate)}{there}. The "
        f"{cache.name} KV cache is converted where it is used ({how}); the conversion takes no time here"
    )


def _rate_text(rate: Fraction | None) -> str:
    return f"{float(rate or 0):,.6g} MAC/cycle"


def _held(arch: TileMachine, op: Op, stored: Layout | None) -> tuple[int, str]:
    """(rows of tables that the machine's cache holds already, a note that says so); each takes whole beats there."""
    rows = op.irregular
    if arch.cache is None or stored is None or rows is None or not rows.table or not rows.scattered:
        return 0, ""
    each = -(-stored.row_nbytes(rows.row) // arch.dram.beat_bytes) * arch.dram.beat_bytes
    tables = rows.tables or ((rows.of, rows.rows),)
    held = floor(rows.rows * found_share(tables, rows.distribution, arch.cache.nbytes // each))
    share, size = f"{100 * held / rows.rows:.3g} %", size_text(arch.cache.nbytes)
    return held, f"{op.name}: {share} of the rows ({rows.distribution}) are found in a warm cache of {size}"


def _chosen_note(arch: TileMachine, weights: Layout, acts: Layout) -> str:
    """The note on activations that were chosen: in another format than the weights, or at the cost of bits.

    The choice is by the peak of the dot array. Where real kernels run, another pair can take less time: a decode step
    of a small batch does not reach that peak, and activations of some formats are quantised by kernels of their own.
    """
    listed = [arch.dot.form(r.activations) for r in arch.dot.rates if r.weights == weights.name]
    finer = [form.name for form in listed if form.bits_per_value > acts.bits_per_value]
    if weights == acts and not finer:
        return ""
    note = f"{weights.name} weights times {acts.name} activations, a pair that {arch.name} lists"
    if not finer:
        return note
    note += f": of these weights' pairs the one with the highest peak; finer, with lower peaks: {', '.join(finer)}"
    if arch.cores is None:
        return note
    return f"{note}. Its kernels need not be the fastest, least of all for few sequences: see --activations {finer[0]}"


def _cache_note(
    arch: TileMachine, role: str, form: Layout, acts: Layout, pair: tuple[str, str] | None, stochastic: bool
) -> str:
    """The note on the conversion of a cache in this format on its way to the units, or on the pair that it decided.

    raises: InputError where the machine can neither multiply the format nor convert it, or cannot round to it.
    """
    if stochastic:
        if arch.round is None:
            raise InputError(f"{arch.name}: state {form.name}_sr needs a `round` server, which this machine lacks")
        return f"state rounded stochastically to {form.name}"
    if role == "kv" and pair == (form.name, form.name) and acts.name != form.name and not arch.cores:
        return f"attention multiplies {' x '.join(pair)}, the format of the KV cache, and not that of the activations"
    if form.name in (pair or ()) or pair and (arch.dot.rate(form.name, pair[1]) or arch.dot.rate(pair[1], form.name)):
        return ""
    if form.name in _NATIVE:
        return _at_activations_rate(arch, form, pair) if role == "kv" and pair and not arch.cores else ""
    if arch.cores and role == "kv":  # a library's attention kernels convert 8-bit caches themselves
        return f"kv {form.name} uses the 8-bit attention kernel, with its own bytes" if form.bits_per_value < 8 else ""
    what, target = ("kv", pair[1] if pair else wide(arch)) if role == "kv" else ("state", "fp32")
    if arch.dequantise is None and role == "kv":
        raise InputError(
            f"{arch.name}: kv {form.name} times {target} needs a `dequantise` server, which this machine lacks; "
            f"write --kv {target}"
        )
    how = how_exact(converted(form, arch.dot.form(target)))
    return f"{what} {form.name} is converted to {target} where it is used ({how}); the conversion takes no time here"
