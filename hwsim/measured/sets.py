"""Datasets: what was measured, where it comes from, and how it is used, as `sets.yaml` lists it.

One entry names one CSV file; its `parts` split the rows by kernel. A file's columns may be renamed, and columns that it
lacks may be given by the entry, so that a new dataset needs a CSV and an entry, and no code. The kind says which
columns a row needs (`COLUMNS`) and which formula predicts it (`hwsim.measured.predict.KINDS`).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from hwsim.arch.scalars import Duration
from hwsim.errors import InputError, nearest
from hwsim.files import fields
from hwsim.files.fields import FilePart
from hwsim.files.yaml import read
from hwsim.quantities import Quantity

FOLDER = Path(__file__).parents[1] / "data" / "groundtruth"
MANIFEST = Path(__file__).parent / "sets.yaml"

Kind = Literal[
    "gemm", "prefill", "decode", "conv_prefill", "conv_decode", "all_reduce", "experts", "cycles", "serving", "tpot"
]
_SERVED = ("stack", "machine", "model", "weights", "activations", "kv", "isl", "osl", "batch", "chips")
#: Columns that a row of each kind needs.
COLUMNS: dict[Kind, tuple[str, ...]] = {
    "gemm": ("dtype", "m", "n", "k", "us"),
    "prefill": ("dtype", "kv", "batch", "tokens", "heads", "kv_heads", "head_dim", "us"),
    "decode": ("kv", "batch", "tokens", "heads", "kv_heads", "head_dim", "us"),
    "conv_prefill": ("batch", "tokens", "channels", "us"),
    "conv_decode": ("batch", "channels", "us"),
    "all_reduce": ("gpus", "size", "us"),
    "experts": ("tokens", "hidden", "intermediate", "top_k", "experts", "load", "kernel", "us"),
    "cycles": ("weights", "m", "n", "k", "cycles"),
    "serving": (*_SERVED, "tokens_per_second"),
    "tpot": (*_SERVED, "tpot_ms"),
}
Row = Mapping[str, str]


class HeldOutFile(FilePart):
    """Rows that no fit may see: those whose `columns` have one of the `values`."""

    columns: list[str] = Field(description="Columns that decide.", examples=[["n", "k"]], min_length=1)
    values: list[list[str | int]] = Field(description="What stands in them.", examples=[[[4096, 4096]]], min_length=1)


class PartFile(FilePart):
    """Some of a file's rows."""

    name: str = Field("", description="Its name on the page; default: the kernel's.", examples=["qkv_proj"])
    kernel: str = Field("", description="Which calibrated kernel of the kind.", examples=["bf16_fp8kv"])
    where: dict[str, str | list[str]] = Field(
        {}, description="Rows whose columns have this value, or one of these.", examples=[{"kv": "fp8"}]
    )
    columns: dict[str, str | int] = Field({}, description="Columns that the file lacks.", examples=[{"n": 4096}])
    held_out: HeldOutFile | None = Field(None, description="In place of the entry's.", examples=[None])
    goal: float | int | None = Field(None, gt=0, description="In place of the entry's.", examples=[5])


class DatasetFile(FilePart):
    """One file of measurements."""

    name: str = Field(description="Its name on the page and for `--only`.", examples=["h100_gemm"])
    file: str = Field(description="CSV in hwsim/data/groundtruth.", examples=["h100_gemm.csv"])
    source: str = Field(description="Where the figures were published.", examples=["PyPI aiconfigurator-core 0.12.0"])
    licence: str = Field(description="Their licence.", examples=["Apache-2.0"])
    what: str = Field(description="What was measured, and how.", examples=["GEMM kernels, repeated in a graph"])
    machine: str | None = Field(
        None, description="The machine that predicts them; not given: the column `machine`.", examples=["h100-sxm"]
    )
    kind: Kind = Field(description="Which kernel predicts a row.", examples=["gemm"])
    use: Literal["fitted", "held_out"] = Field(description="Whether `calibrate` fits them.", examples=["held_out"])
    held_out: HeldOutFile | None = Field(
        None, description="Rows of a fitted file that no fit sees and that are scored.", examples=[None]
    )
    goal: float | int | None = Field(None, gt=0, description="Mean error in percent to reach.", examples=[5])
    warm: bool = Field(False, description="Weights stay in L2 between repeats (gemm).", examples=[True])
    overhead: Duration | None = Field(
        None, description="Time that the framework adds to each row.", examples=["22.7 us"]
    )
    rename: dict[str, str] = Field(
        {}, description="Column that is needed: the file's name for it.", examples=[{"m": "tokens"}]
    )
    columns: dict[str, str | int] = Field(
        {}, description="Columns that the file lacks.", examples=[{"dtype": "bfloat16"}]
    )
    cause: str = Field("", description="Why the goal is missed, as far as it is known.", examples=["..."])
    parts: list[PartFile] = Field([], description="Kernels or layers in the file; default: one part.", examples=[[]])


class ManifestFile(FilePart):
    """sets.yaml."""

    datasets: list[DatasetFile] = Field(description="One entry per file.", examples=[[]], min_length=1)


@dataclass(frozen=True)
class Dataset:
    """One part of one file: rows that one kernel predicts.

    rows: with the columns that the kind needs, as text. held: by row, whether no fit may see it.
    overhead: added to each predicted row (None: nothing). goal: mean error in percent on the held-out rows.
    machine: "" where each row names its own.
    """

    name: str
    part: str
    kernel: str
    file: str
    source: str
    licence: str
    what: str
    machine: str
    kind: Kind
    fitted: bool
    goal: float | None
    warm: bool
    overhead: Quantity | None
    cause: str
    rows: tuple[Row, ...]
    held: tuple[bool, ...]

    @property
    def fit_rows(self) -> tuple[Row, ...]:
        """Rows that a fit may see."""
        return tuple(row for row, held in zip(self.rows, self.held, strict=True) if not held)

    @property
    def label(self) -> str:
        """Name and part."""
        return f"{self.name} {self.part}".rstrip()

    def column(self, name: str) -> np.ndarray:
        """[rows], numbers of a column."""
        return np.array([float(row[name]) for row in self.rows])

    @property
    def seconds(self) -> np.ndarray:
        """[rows], measured."""
        return 1e-6 * self.column("us")


def manifest() -> ManifestFile:
    """The file sets.yaml. raises: InputError with every problem at its place."""
    return _checked(MANIFEST, FOLDER)


@lru_cache(maxsize=1)
def datasets() -> tuple[Dataset, ...]:
    """Every dataset, in the order of sets.yaml, its parts one after another. raises: InputError."""
    return tuple(part for entry in manifest().datasets for part in _datasets(entry, FOLDER))


def find(name: str) -> tuple[Dataset, ...]:
    """The parts of one entry. raises: InputError naming the nearest."""
    found = tuple(d for d in datasets() if d.name == name)
    if not found:
        names = list(dict.fromkeys(d.name for d in datasets()))
        raise InputError(f"unknown dataset '{name}'{nearest(name, names)}")
    return found


def of_machine(machine: str, kind: Kind | None = None) -> tuple[Dataset, ...]:
    """The datasets that a machine's calibration is fitted to."""
    return tuple(d for d in datasets() if d.fitted and d.machine == machine and kind in (None, d.kind))


def fitted_machines() -> tuple[str, ...]:
    """Machines whose GEMMs are fitted, in the order of sets.yaml."""
    return tuple(dict.fromkeys(d.machine for d in datasets() if d.fitted and d.kind == "gemm"))


def _checked(path: Path, folder: Path) -> ManifestFile:
    document = read(path)
    found = fields.validate(document, ManifestFile)
    problems, seen = [], set()
    for i, entry in enumerate(found.datasets):
        place = ("datasets", i)
        if entry.name in seen:
            problems.append(document.problem((*place, "name"), f"`{entry.name}` twice; write another name"))
        seen.add(entry.name)
        if not (folder / entry.file).is_file():
            problems.append(document.problem((*place, "file"), f"no such file; put {entry.file} into {folder.name}/"))
            continue
        have = _header(folder / entry.file)
        for j, part in enumerate(entry.parts or [PartFile()]):
            known = {*have, *entry.rename, *entry.columns, *part.columns}
            missing = [c for c in COLUMNS[entry.kind] if c not in known]
            if missing:
                where = (*place, "parts", j) if entry.parts else (*place, "file")
                problems.append(
                    document.problem(
                        where, f"{entry.file} has no column {', '.join(missing)}; write it under `rename` or `columns`"
                    )
                )
            held: list[tuple[tuple[str | int, ...], HeldOutFile | None]]
            held = [((*place, "parts", j), part.held_out), (place, None if j else entry.held_out)]
            for at, given in held:
                wrong = [c for c in (given.columns if given else ()) if c not in known]
                problems += [
                    document.problem((*at, "held_out"), f"{entry.file} has no column {c}{nearest(c, sorted(known))}")
                    for c in wrong
                ]
            problems += [
                document.problem((*place, "parts", j, "where", c), f"{entry.file} has no column {c}{nearest(c, have)}")
                for c in part.where
                if c not in have
            ]
        problems += [
            document.problem((*place, "rename", need), f"{entry.file} has no column {c}{nearest(c, have)}")
            for need, c in entry.rename.items()
            if c not in have
        ]
    if problems:
        raise InputError(*problems)
    return found


def _header(path: Path) -> list[str]:
    with path.open(newline="") as file:
        return next(csv.reader(file), [])


def _datasets(entry: DatasetFile, folder: Path) -> list[Dataset]:
    with (folder / entry.file).open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = []
    for part in entry.parts or [PartFile()]:
        given = {name: str(value) for name, value in {**entry.columns, **part.columns}.items()}
        wanted = {c: [v] if isinstance(v, str) else v for c, v in part.where.items()}
        mine = tuple(
            {**row, **{need: row[have] for need, have in entry.rename.items()}, **given}
            for row in rows
            if all(row[c] in values for c, values in wanted.items())
        )
        if not mine:
            raise InputError(f"{entry.file}: no row has {wanted}; correct `where` of dataset {entry.name}")
        held = _held(mine, part.held_out or entry.held_out, entry.use == "fitted")
        found.append(
            Dataset(
                name=entry.name,
                part=part.name or part.kernel,
                kernel=part.kernel,
                file=entry.file,
                source=entry.source,
                licence=entry.licence,
                what=entry.what,
                machine=entry.machine or "",
                kind=entry.kind,
                fitted=entry.use == "fitted",
                goal=part.goal or entry.goal,
                warm=entry.warm,
                overhead=entry.overhead,
                cause=entry.cause,
                rows=mine,
                held=held,
            )
        )
    return found


def _held(rows: tuple[Row, ...], given: HeldOutFile | None, fitted: bool) -> tuple[bool, ...]:
    """By row, whether no fit may see it: every row of a dataset that is not fitted, else those listed."""
    if given is None:
        return (not fitted,) * len(rows)
    values = {tuple(map(str, each)) for each in given.values}
    return tuple(tuple(row[c] for c in given.columns) in values for row in rows)
