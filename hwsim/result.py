"""Result: what a run found, with everything needed to repeat it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields, is_dataclass
from html import escape
from typing import Any, TypeVar

Name = TypeVar("Name", str, int, str | int)

SCHEMA = 2


@dataclass(frozen=True, slots=True)
class Row:
    """Part of a run, by op kind or by layer; cycles, bytes and macs of all rows sum to the totals.

    limited_by: the server that limits the ops with most of the row's time: of each op, the server that needs longest
                for it at its peak rate ("": not known, as for parts of a training step).
    """

    name: str
    ops: int
    cycles: int
    bytes: int
    macs: int
    limited_by: str = ""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that must be in DRAM at the same time; `fits` compares them with one chip's capacity."""

    weights: int
    kv: int
    state: int
    activations: int
    capacity: int

    @property
    def total(self) -> int:
        """Bytes needed."""
        return self.weights + self.kv + self.state + self.activations

    @property
    def fits(self) -> bool:
        """Whether they fit."""
        return self.total <= self.capacity


@dataclass(frozen=True, slots=True)
class Term:
    """One term of a cost in joules or mm2 with its source; value None: `source` says what is missing."""

    name: str
    value: float | None
    source: str


@dataclass(frozen=True, slots=True)
class Cost:
    """Energy of a run in joules and area in mm2, term by term."""

    energy: tuple[Term, ...]
    area: tuple[Term, ...]

    @staticmethod
    def total(terms: tuple[Term, ...]) -> float | None:
        """The sum of the terms, or None if one of them has no source."""
        known = [t.value for t in terms if t.value is not None]
        return sum(known) if len(known) == len(terms) else None


def _plain(value: Any) -> Any:
    """As `dataclasses.asdict`, which copies each number with the means for any object; studies write many of them."""
    kind = type(value)
    if kind in (int, float, str, bool, type(None)):
        return value
    if kind is tuple or kind is list:
        return kind(map(_plain, value))
    if kind is dict:
        return {key: _plain(each) for key, each in value.items()}
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    return deepcopy(value)


@dataclass(frozen=True, slots=True)
class Result:
    """One run. Cycles are cycles of the machine's clock; times are in seconds; bytes are payload, except `dram_bytes`.

    bound_cycles, limited_by: the total work of the busiest server, a lower bound of any schedule; and its name.
    roofline_cycles: sum of each op's own lower bound; printed for comparison, never asserted.
    limits: shares of the time by the server that limits each op, as `Row.limited_by`, the largest first (empty: not
            known). `limited_by` compares whole runs, so it can be one server where half of the time is another's.
    stalls: cycles by cause, of the limiting server or, on cores, of the kernels; they sum to `cycles`.
    chips: chips that share the step; bytes, macs, memory and utilization are those of the chip with the most work.
    distinct_experts: expected number of experts that the step's tokens choose per layer, unrounded (null: no experts).
    utilization: busy share of each server.
    provenance: shares of the time by how it is known: "measured", "transferred" or "ideal" kernels; "rtl": a machine
                whose simulator equals its RTL cycle by cycle.
    energy_joules, area_mm2: totals of `cost` for one chip; null where one of its terms has no source.
    notes: what a reader must know (dequantised pairs, refresh model, sizing, memory that does not suffice).
    """

    name: str
    machine: str
    hypothetical: bool
    phase: str
    cycles: int
    seconds: float
    bound_cycles: int
    roofline_cycles: int
    limited_by: str
    tokens_per_second: float | None
    bytes: dict[str, int]
    dram_bytes: int
    macs: int
    utilization: dict[str, float]
    stalls: dict[str, int]
    by_op: tuple[Row, ...]
    by_layer: tuple[Row, ...]
    memory: Memory | None
    notes: tuple[str, ...]
    tiling: str
    config: dict[str, Any] = field(default_factory=dict)
    energy_joules: float | None = None
    area_mm2: float | None = None
    cost: Cost | None = None
    chips: int = 1
    distinct_experts: float | None = None
    provenance: dict[str, float] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    seed: int = 0
    version: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON (schema 2), with keys in the order of the fields."""
        data = {"schema": SCHEMA, **_plain(self)}
        if self.memory:
            data["memory"] |= {"total": self.memory.total, "fits": self.memory.fits}
        return data

    @property
    def over_bound(self) -> float:
        """(cycles - bound) / bound."""
        return self.cycles / self.bound_cycles - 1

    def summary(self) -> tuple[tuple[str, str], ...]:
        """(name, value) of the figures that a reader looks at first; the command prints more."""
        unit = self.config.get("unit", "token")
        scale, size = next(
            ((s, u) for s, u in ((1, "s"), (1e3, "ms"), (1e6, "us")) if s * self.seconds >= 1), (1e9, "ns")
        )
        rows = [("time", f"{scale * self.seconds:.4g} {size}, {self.cycles:,} cycles")]
        if self.tokens_per_second is not None:
            rows.append((f"{unit}s/s", f"{self.tokens_per_second:,.1f}"))
        rows.append(("limited by", f"{self.limited_by}, {100 * self.over_bound:.2f} % over its bound"))
        if len(self.limits) > 1:
            rows.append(("ops limited", limits_text(self.limits)))
        rows.append(("DRAM", f"{self.dram_bytes / 1e9:,.4g} GB"))
        if self.memory is not None:
            verdict = "fits" if self.memory.fits else "DOES NOT FIT"
            rows.append(
                ("memory", f"{self.memory.total / 1e9:,.4g} of {self.memory.capacity / 1e9:,.4g} GB, {verdict}")
            )
        rows.append(("kernels", known_text(self.provenance)))
        return tuple(rows)

    def __repr__(self) -> str:
        return shown(f"{self.name}, {self.machine}", self.summary(), self.notes)

    def _repr_html_(self) -> str:
        """The summary and the time by op as tables, for notebooks."""
        rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in self.summary())
        ops = "".join(
            f"<tr><th>{escape(row.name)}</th><td>{row.ops}</td><td>{row.cycles:,}</td>"
            f"<td>{100 * row.cycles / max(1, self.cycles):.1f} %</td><td>{escape(row.limited_by)}</td>"
            f"<td>{row.bytes:,}</td><td>{row.macs:,}</td></tr>"
            for row in self.by_op
        )
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        heads = "".join(f"<th>{head}</th>" for head in ("op", "ops", "cycles", "time", "limited by", "bytes", "MACs"))
        title = f"<b>{escape(self.name)}, {escape(self.machine)}</b>"
        return f"{title}<table>{rows}</table><table><tr>{heads}</tr>{ops}</table>{notes}"


def limits_text(*limits: Mapping[str, float]) -> str:
    """`dram 68.1 %, dot 31.4 %`: shares of the time; what is below a tenth of a percent is left out.

    Of several results the least and the largest share: `dram 62.0 to 100.0 %, dot 0.0 to 38.0 %`.
    """
    said = []
    for server in dict.fromkeys(server for each in limits for server in each):
        shares = [each.get(server, 0.0) for each in limits]
        if max(shares) >= 0.0005:
            least, most = (f"{100 * share:.1f}" for share in (min(shares), max(shares)))
            said.append(f"{server} {most} %" if least == most else f"{server} {least} to {most} %")
    return ", ".join(said)


def shown(head: str, rows: Iterable[tuple[str, str]], notes: Iterable[str]) -> str:
    """An answer as Python shows it: a head, a line per figure, a line per note."""
    every = [*rows, *(("note", note) for note in notes)]
    return "\n".join([head, *(f"  {key:<11} {value}" for key, value in every)])


#: How a time may be known, as in `Result.provenance`, the best first.
KNOWN = ("rtl", "measured", "transferred", "ideal")
#: A share above this is printed as the whole; what is left is below what three digits show.
_WHOLE = 0.9995


def known_text(*provenances: Mapping[str, float]) -> str:
    """How the times of some results are known, as shares of each time, the best mark first.

    `ideal`: the whole of every time; `96 % measured, 4 % ideal`; `75 to 100 % measured, 0 to 25 % ideal`: the least and
    the largest share among the results.
    """
    said = []
    for mark in KNOWN:
        shares = [found.get(mark, 0.0) for found in provenances]
        if min(shares, default=0.0) > _WHOLE:
            return mark
        if max(shares, default=0.0) > 1 - _WHOLE:
            least, most = (f"{100 * share:.3g}" for share in (min(shares), max(shares)))
            said.append(f"{most} % {mark}" if least == most else f"{least} to {most} % {mark}")
    return ", ".join(said) or "-"


def weakest(*provenances: Mapping[str, float]) -> str:
    """The weakest mark among some results, with the largest share of a time that has it: `ideal`, `3.6 % ideal`.

    Results side by side are compared only together with it: an ideal kernel is faster than a measured one.
    """
    for mark in reversed(KNOWN):
        share = max((found.get(mark, 0.0) for found in provenances), default=0.0)
        if share:
            return mark if share > _WHOLE else f"{100 * share:.3g} % {mark}"
    return "-"


def apportion(parts: dict[Name, int], unit: int, whole: int) -> dict[Name, int]:
    """`parts` in units of `unit`, rounded to whole numbers that sum to `whole` exactly.

    Each running sum is rounded down, so every part is within one unit of its exact value; what `whole` was rounded
    up by is added to the last part that is not zero.
    """
    rounded: dict[Name, int] = {}
    ticks, units, last = 0, 0, None
    for name, part in parts.items():
        ticks += part
        rounded[name] = ticks // unit - units
        units += rounded[name]
        last = name if part else last
    if last is not None:
        rounded[last] += whole - units
    return rounded
