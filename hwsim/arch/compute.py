"""Compute units: which pairs of formats are multiplied, how fast, and how much of a tile's time is idle slots.

A machine has one of the classes, chosen by `dot.kind` in its file. All share `slots`: the multiply-adds that the
unit could have done in the time that a tile occupies it. What a tile does not fill (native shapes, the edges of a
systolic array, its fill and drain) is in that number and not in the work.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from hwsim.arch.scalars import MacRate, OwnFormat, Size, Tile, cycles_text, size_text, tile_text
from hwsim.arch.units import DotLatency, latency_cycles
from hwsim.errors import InputError
from hwsim.files.fields import FilePart
from hwsim.files.yaml import short
from hwsim.formats.layout import Layout
from hwsim.formats.names import layout
from hwsim.quantities import write

DATAFLOWS = ("weight_stationary", "output_stationary")
_KIND = "dot_array: any tile at full rate; tensor_cores: tiles of a native shape; systolic: fill and drain count."


class RateFile(FilePart):
    """Speed of the dot array for one pair of formats."""

    weights: OwnFormat = Field(
        description="Format of the weights as they enter the array: a name, or the path of a format's file.",
        examples=["bf16"],
    )
    activations: OwnFormat = Field(
        description="Format of the activations: a name, or the path of a format's file.", examples=["bf16"]
    )
    rate: MacRate = Field(
        description="Multiply-adds of the whole chip (1 MAC = 2 operations), dense.",
        examples=["16384 MAC/cycle", "495 TMAC/s"],
    )


@dataclass(frozen=True, slots=True)
class DotRate:
    """Multiply-adds per cycle for one (weights, activations) format pair, the whole chip; formats by name."""

    weights: str
    activations: str
    macs_per_cycle: Fraction

    @classmethod
    def of(cls, file: RateFile, clock: Fraction) -> DotRate:
        """The file's rate per cycle of the clock, exact."""
        return cls(file.weights.name, file.activations.name, file.rate.per_cycle(clock))

    def file(self) -> dict[str, Any]:
        """The rate as a machine file states it."""
        rate = write(self.macs_per_cycle, "MAC/cycle")
        return {"weights": self.weights, "activations": self.activations, "rate": rate}


class DotFile(FilePart):
    """Multiply-add units that any tile fills."""

    kind: Literal["dot_array"] = Field("dot_array", description=_KIND, examples=["dot_array"])
    latency: DotLatency = Field(
        description="From the last operands to the result, reduction included: a time, or units of the RTL.",
        examples=["40 cycles"],
    )
    accumulator: Size = Field(4, description="Bytes of one partial sum; 4 B if left out.", examples=["4 B"])
    rates: list[RateFile] = Field(
        description="The pairs of formats that the array multiplies natively.",
        examples=[[{"weights": "bf16", "activations": "bf16", "rate": "16384 MAC/cycle"}]],
        min_length=1,
        max_length=256,
    )


@dataclass(frozen=True, slots=True)
class DotArray:
    """Dot-product units that any tile fills. own: the formats of the rates that have no name in hwsim."""

    KIND: ClassVar[str] = "dot_array"

    latency_cycles: int
    rates: tuple[DotRate, ...]
    accumulator_bytes: int = 4
    own: tuple[Layout, ...] = ()

    @classmethod
    def of(cls, file: DotFile, clock: Fraction) -> DotArray:
        """The unit of the file's kind. What only that kind has, file and unit name alike."""
        unit = UNITS[file.kind]
        geometry = {name: getattr(file, name) for name in unit.geometry()}
        rates = tuple(DotRate.of(rate, clock) for rate in file.rates)
        formats = (form for rate in file.rates for form in (rate.weights, rate.activations))
        own = tuple(dict.fromkeys(form for form in formats if form.definition))
        return unit(latency_cycles(file.latency, clock), rates, file.accumulator, own, **geometry)

    def file(self) -> dict[str, Any]:
        """The unit as a machine file states it."""
        part: dict[str, Any] = {
            "kind": self.KIND,
            "latency": cycles_text(self.latency_cycles),
            "accumulator": size_text(self.accumulator_bytes),
            "rates": [
                rate.file()
                | {"weights": self.form(rate.weights).resolved()}
                | {"activations": self.form(rate.activations).resolved()}
                for rate in self.rates
            ],
        }
        for name in self.geometry():
            value = getattr(self, name)
            part[name] = tile_text(value) if isinstance(value, tuple) else value
        return part

    @classmethod
    def geometry(cls) -> tuple[str, ...]:
        """Names of the fields that only this kind of unit has."""
        return tuple(field.name for field in fields(cls)[len(fields(DotArray)) :])

    def rate(self, weights: str, activations: str) -> Fraction | None:
        """MACs per cycle for the pair, or None where the machine lacks it."""
        for r in self.rates:
            if (r.weights, r.activations) == (weights, activations):
                return r.macs_per_cycle
        return None

    def form(self, name: str) -> Layout:
        """The format of that name in the rates: an own one, or one that hwsim knows."""
        return next((own for own in self.own if own.name == name), None) or layout(name)

    def check(self, *formats: Layout | None) -> None:
        """raises: InputError for a format of a run that has the name of another one in the rates."""
        for form in formats:
            for own in self.own:
                if form and form.name == own.name and form != own:
                    raise InputError(
                        f"{form.name}: the machine's format of that name is another one: {_defined(own)} there, "
                        f"{_defined(form)} here; write the same definition, or another name"
                    )

    def problem(self, rate: DotRate) -> str:
        """What is wrong with a rate on this unit; empty if nothing is."""
        return ""

    @property
    def fill_cycles(self) -> int:
        """Latency of the unit's own geometry, beside `latency_cycles`."""
        return 0

    def slots(self, m: int, n: int, k: int, rate: Fraction) -> int:
        """MACs at `rate` in the time of an m x n x k tile, idle ones included."""
        return m * n * k


def _defined(form: Layout) -> str:
    """An own format's definition without its name, on one line."""
    return ", ".join(f"{key} {short(value, 40)}" for key, value in form.definition if key != "name")


class TensorCoresFile(DotFile):
    """Multiply-add units of one native tile shape; other tiles are filled up to it."""

    kind: Literal["tensor_cores"] = Field(description=_KIND, examples=["tensor_cores"])  # type: ignore[assignment]
    shape: Tile = Field(description="Native tile MxNxK of one instruction.", examples=["16x8x16"])


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorCores(DotArray):
    """Tiles of one native shape (M, N, K): every tile is filled up to whole ones."""

    KIND: ClassVar[str] = "tensor_cores"

    shape: tuple[int, int, int]

    def slots(self, m: int, n: int, k: int, rate: Fraction) -> int:
        """The tile's sides rounded up to the native shape's."""
        a, b, c = self.shape
        return -(-m // a) * a * -(-n // b) * b * -(-k // c) * c


class SystolicFile(DotFile):
    """Systolic arrays: grids of multipliers that operands cross step by step."""

    kind: Literal["systolic"] = Field(description=_KIND, examples=["systolic"])  # type: ignore[assignment]
    rows: int = Field(ge=1, le=4096, description="Rows of a grid.", examples=[128])
    columns: int = Field(ge=1, le=4096, description="Columns of a grid.", examples=[128])
    arrays: int = Field(1, ge=1, le=4096, description="Grids that share the tiles.", examples=[4])
    dataflow: Literal["weight_stationary", "output_stationary"] = Field(
        description="The operand that stays in the grid.", examples=["weight_stationary"]
    )
    double_buffered: bool = Field(
        description="Whether the next weights shift in, or the last results out, while the grid computes.",
        examples=[True],
    )
    shift_exposed: bool = Field(
        False, description="Weights have cells of their own, but shift in between two streams.", examples=[True]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SystolicArray(DotArray):
    """`arrays` grids of rows x columns multipliers; operands enter at two edges, one step per cycle.

    weight_stationary: a fold holds K in its rows and N in its columns, and M rows stream through.
    output_stationary: a fold holds M in its rows and N in its columns, and K steps stream through.
    double_buffered:   the next fold's weights shift in (or the last one's results out) while this one streams.
    shift_exposed:     double buffered cells, but the array takes either weights or a stream at its edge: folds follow
                       each other after T + rows.

    With T what streams, one fold by itself takes 2 rows + columns + T - 2 cycles: rows to shift in or out, T
    steps, rows + columns - 2 for the last to cross the grid (Samajdar et al., ISPASS 2020, equation 3). Double
    buffered, folds follow each other after max(T, rows), and the rest is latency.
    """

    KIND: ClassVar[str] = "systolic"

    rows: int
    columns: int
    arrays: int = 1
    dataflow: str
    double_buffered: bool
    shift_exposed: bool = False

    @property
    def macs_per_cycle(self) -> int:
        """Multipliers of all grids."""
        return self.arrays * self.rows * self.columns

    def problem(self, rate: DotRate) -> str:
        """Each multiplier must do a whole number of multiply-adds per cycle."""
        if rate.macs_per_cycle % self.macs_per_cycle:
            return f"is not a whole number of multiply-adds per cell; write {self.macs_per_cycle} MAC/cycle"
        return ""

    @property
    def fill_cycles(self) -> int:
        """Where folds follow each other, what one takes beside its stream; else it is in `cycles`."""
        return 2 * self.rows + self.columns - 2 if self.double_buffered else 0

    def cycles(self, m: int, n: int, k: int, per_cell: int = 1) -> int:
        """Cycles from a tile's first step to the next tile's; per_cell: multiply-adds of a cell per cycle."""
        k = -(-k // per_cell)
        held, streamed = (k, m) if self.dataflow == "weight_stationary" else (m, k)
        folds = -(-(-(-held // self.rows) * -(-n // self.columns)) // self.arrays)
        return folds * self._fold(streamed)

    def slots(self, m: int, n: int, k: int, rate: Fraction) -> int:
        """The tile's cycles, each with every multiplier."""
        return self.cycles(m, n, k, int(rate / self.macs_per_cycle)) * int(rate)

    def _fold(self, streamed: int) -> int:
        if self.double_buffered:
            return streamed + self.rows if self.shift_exposed else max(streamed, self.rows)
        return 2 * self.rows + self.columns + streamed - 2


UNITS: dict[str, type[DotArray]] = {unit.KIND: unit for unit in (DotArray, TensorCores, SystolicArray)}
"""The compute units by the `kind` that a machine file writes; a new one is also named in `AnyDot`."""


def _kind(value: Any) -> Any:
    return value.get("kind", "dot_array") if isinstance(value, dict) else "dot_array"


AnyDot = Annotated[
    Annotated[DotFile, Tag("dot_array")]
    | Annotated[TensorCoresFile, Tag("tensor_cores")]
    | Annotated[SystolicFile, Tag("systolic")],
    Discriminator(_kind),
]
