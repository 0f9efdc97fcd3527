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
from typing import TYPE_CHECKING, Annotated, Any

from hwsim.arch.builtin import arch_folder
from hwsim.arch.scalars import Read
from hwsim.errors import InputError, nearest
from hwsim.files.fields import validate
from hwsim.files.yaml import read, short
from hwsim.quantities import Quantity

if TYPE_CHECKING:
    from hwsim.arch.technology_file import DramKindFile, TechnologyFile

FOLDER = "technology"
DRAM_FOLDER = "technology/dram"


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
    return Technology.of(_shipped_technology(name) if name in technology_names() else _technology(name, source), name)


def load_dram_kind(name: str, source: str = "") -> DramKind:
    """The kind of DRAM of a shipped name or of a file, as `load_technology`."""
    return DramKind.of(_shipped_dram(name) if name in dram_names() else _dram_kind(name, source), name)


@cache
def _shipped_technology(name: str) -> TechnologyFile:
    return _technology(str(arch_folder() / FOLDER / f"{name}.yaml"), "")


@cache
def _shipped_dram(name: str) -> DramKindFile:
    return _dram_kind(str(arch_folder() / DRAM_FOLDER / f"{name}.yaml"), "")


def _technology(name: str, source: str) -> TechnologyFile:
    from hwsim.arch.technology_file import TechnologyFile

    return validate(read(_beside(name, source)), TechnologyFile)


def _dram_kind(name: str, source: str) -> DramKindFile:
    from hwsim.arch.technology_file import DramKindFile

    return validate(read(_beside(name, source)), DramKindFile)


def _beside(name: str, source: str) -> Path | str:
    beside = Path(source).parent / name
    return beside if beside.is_file() else name
