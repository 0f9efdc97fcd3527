"""What a byte moved, a gate switched and a square millimetre hold: processes and kinds of DRAM, each a YAML file.

Shipped in `arch_configs/technology/` and `arch_configs/technology/dram/`; a machine names one (`technology: 7nm`,
`dram.kind: hbm2`) or gives the path of a file of its own. Every figure has its source; where none was read, the value
is left out and the source says what is missing. `hwsim.cost` multiplies them by a run's bytes and operations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from hwsim.arch.builtin import arch_folder
from hwsim.arch.scalars import Area, ByteEnergy, Energy, FormatName, Read
from hwsim.errors import InputError, nearest
from hwsim.files.fields import FilePart, validate
from hwsim.files.yaml import read, short
from hwsim.quantities import Quantity

FOLDER = "technology"
DRAM_FOLDER = "technology/dram"

_SourceText = Annotated[str, StringConstraints(min_length=4, max_length=300)]
_SOURCE = "Where the value is from, and how it follows; without a value, what is missing."


class EnergyFile(FilePart):
    """An energy with its source."""

    value: Energy | None = Field(None, description="Energy; left out where no source is known.", examples=["0.2 pJ"])
    source: _SourceText = Field(description=_SOURCE, examples=["ISSCC 2014"])


class ByteEnergyFile(FilePart):
    """An energy per byte with its source."""

    value: ByteEnergy | None = Field(None, description="Energy; left out where none is known.", examples=["1.75 pJ/B"])
    source: _SourceText = Field(description=_SOURCE, examples=["ISSCC 2014"])


class AreaFile(FilePart):
    """An area with its source."""

    value: Area | None = Field(None, description="Area; left out where no source is known.", examples=["0.8 um2"])
    source: _SourceText = Field(description=_SOURCE, examples=["Nangate45"])


class ShareFile(FilePart):
    """A share with its source."""

    value: float = Field(gt=0, le=1, description="From 0 to 1.", examples=[0.7])
    source: _SourceText = Field(description=_SOURCE, examples=["assumed"])


class MultiplyAddFile(FilePart):
    """A multiply-add of one pair of formats that no measured unit does."""

    weights: FormatName = Field(description="Format of the weights.", examples=["bf16"])
    activations: FormatName = Field(description="Format of the activations.", examples=["bf16"])
    value: Energy = Field(description="Energy of one.", examples=["0.6 pJ"])
    source: _SourceText = Field(description=_SOURCE, examples=["ISSCC 2014"])


class TechnologyFile(FilePart):
    """A process: what its gates and its on-chip memory cost."""

    name: Annotated[str, StringConstraints(max_length=64)] = Field(description="Short name.", examples=["7nm"])
    buffer: ByteEnergyFile = Field(
        description="One byte written to or read from an on-chip buffer.",
        examples=[{"value": "1.75 pJ/B", "source": "ISCA 2021"}],
    )
    toggle: EnergyFile = Field(
        description="A NAND2-equivalent that switches.", examples=[{"value": "0.000229 pJ", "source": "ISCA 2021"}]
    )
    activity: ShareFile = Field(
        description="Gates that switch in an operation.", examples=[{"value": 0.5, "source": "assumed"}]
    )
    multiply_adds: list[MultiplyAddFile] = Field([], description="Where no unit is measured.", examples=[[]])
    vector: EnergyFile = Field(
        description="One element pass of the vector unit.", examples=[{"value": "1.69 pJ", "source": "ISCA 2021"}]
    )
    nand2: AreaFile = Field(
        description="Cell area of a NAND2-equivalent.", examples=[{"value": "0.0583 um2", "source": "ASAP7"}]
    )
    utilisation: ShareFile = Field(
        description="Cell area over the area that placed cells take.", examples=[{"value": 0.7, "source": "assumed"}]
    )
    bit: AreaFile = Field(
        description="One bit cell of an on-chip buffer.", examples=[{"value": "0.027 um2", "source": "IEDM 2016"}]
    )


class DramKindFile(FilePart):
    """A kind of DRAM: what moving a byte costs, its interface included."""

    name: Annotated[str, StringConstraints(max_length=64)] = Field(description="Short name.", examples=["hbm2"])
    moved: ByteEnergyFile = Field(
        description="One byte read or written.", examples=[{"value": "31.2 pJ/B", "source": "MICRO 2017"}]
    )


@dataclass(frozen=True, slots=True)
class Sourced:
    """A number and its source; value None: the text says what is missing."""

    value: float | None
    source: str


@dataclass(frozen=True, slots=True)
class Technology:
    """One process.

    name: as a machine file gives it: of a shipped file, or a path.
    buffer_pj_per_byte: of one access to an on-chip buffer.
    toggle_pj: of a NAND2-equivalent that switches; activity: how many do, in an operation.
    mac_pj: multiply-adds that no measured unit does, by pair of formats; vector_pj: one pass of the vector unit.
    nand2_um2: cell area of a NAND2-equivalent; utilisation: cell area over placed area; bit_um2: of a memory bit.
    """

    name: str
    buffer_pj_per_byte: Sourced
    toggle_pj: Sourced
    activity: Sourced
    mac_pj: tuple[tuple[tuple[str, str], Sourced], ...]
    vector_pj: Sourced
    nand2_um2: Sourced
    utilisation: Sourced
    bit_um2: Sourced

    @classmethod
    def of(cls, file: TechnologyFile, name: str) -> Technology:
        """The file's figures in picojoules and square micrometres."""
        return cls(
            name,
            _sourced(file.buffer),
            _sourced(file.toggle),
            _sourced(file.activity),
            tuple(((each.weights, each.activations), _sourced(each)) for each in file.multiply_adds),
            _sourced(file.vector),
            _sourced(file.nand2),
            _sourced(file.utilisation),
            _sourced(file.bit),
        )

    def file(self) -> dict[str, Any]:
        """The process as its file states it."""
        macs = [{"weights": w, "activations": x} | _stated(each, "pJ") for (w, x), each in self.mac_pj]
        return {
            "name": Path(self.name).stem,
            "buffer": _stated(self.buffer_pj_per_byte, "pJ/B"),
            "toggle": _stated(self.toggle_pj, "pJ"),
            "activity": _stated(self.activity),
            "multiply_adds": macs,
            "vector": _stated(self.vector_pj, "pJ"),
            "nand2": _stated(self.nand2_um2, "um2"),
            "utilisation": _stated(self.utilisation),
            "bit": _stated(self.bit_um2, "um2"),
        }

    def mac(self, pair: tuple[str, str]) -> Sourced | None:
        """A multiply-add of a pair of formats, or None."""
        return dict(self.mac_pj).get(pair)


@dataclass(frozen=True, slots=True)
class DramKind:
    """One kind of DRAM. name: as a machine file gives it; pj_per_byte: of a byte read or written."""

    name: str
    pj_per_byte: Sourced

    @classmethod
    def of(cls, file: DramKindFile, name: str) -> DramKind:
        """The file's figure in picojoules."""
        return cls(name, _sourced(file.moved))

    def file(self) -> dict[str, Any]:
        """The kind as its file states it."""
        return {"name": Path(self.name).stem, "moved": _stated(self.pj_per_byte, "pJ/B")}


_PICO = 10**12


def _sourced(figure: Any) -> Sourced:
    """A figure of a file: energies in picojoules, areas in square micrometres, shares as they are."""
    value = figure.value
    if isinstance(value, Quantity):
        value = float(value.value * (_PICO if value.dimension.startswith("J") else 1))
    return Sourced(value, figure.source)


def _stated(figure: Sourced, unit: str = "") -> dict[str, Any]:
    """A figure as a file states it; a share has no unit."""
    if figure.value is None:
        return {"source": figure.source}
    return {"value": f"{figure.value:.12g} {unit}" if unit else figure.value, "source": figure.source}


@cache
def technology_names() -> list[str]:
    """Names of the shipped processes."""
    return sorted(path.stem for path in (arch_folder() / FOLDER).glob("*.yaml"))


@cache
def dram_names() -> list[str]:
    """Names of the shipped kinds of DRAM."""
    return sorted(path.stem for path in (arch_folder() / DRAM_FOLDER).glob("*.yaml"))


def _named(names: Callable[[], list[str]]) -> Read:
    """Reads the name of a shipped file, or the path of one."""

    def check(name: Any) -> str:
        if not isinstance(name, str) or not (name in names() or name.endswith((".yaml", ".yml"))):
            shown = short(name)
            hint = nearest(shown, names()) if isinstance(name, str) else ""
            hint = hint if "did you mean" in hint else ""
            raise InputError(f"`{shown}` is not known{hint}; write {', '.join(names())} or the path of a YAML file")
        return name

    return Read(check, {"type": "string"})


TechnologyName = Annotated[str, _named(technology_names)]
DramKindName = Annotated[str, _named(dram_names)]


def load_technology(name: str, source: str = "") -> Technology:
    """The process of a shipped name or of a file; `source`: the machine's file, beside which a path may lie.

    raises: InputError with every problem of the file.
    """
    shipped = name in technology_names()
    return Technology.of(_shipped_technology(name) if shipped else _own(name, source, TechnologyFile), name)


def load_dram_kind(name: str, source: str = "") -> DramKind:
    """The kind of DRAM of a shipped name or of a file, as `load_technology`."""
    shipped = name in dram_names()
    return DramKind.of(_shipped_dram(name) if shipped else _own(name, source, DramKindFile), name)


@cache
def _shipped_technology(name: str) -> TechnologyFile:
    return validate(read(arch_folder() / FOLDER / f"{name}.yaml"), TechnologyFile)


@cache
def _shipped_dram(name: str) -> DramKindFile:
    return validate(read(arch_folder() / DRAM_FOLDER / f"{name}.yaml"), DramKindFile)


def _own(name: str, source: str, model: Any) -> Any:
    beside = Path(source).parent / name
    return validate(read(beside if beside.is_file() else name), model)
