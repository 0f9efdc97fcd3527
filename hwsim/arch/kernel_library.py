"""Kernel menus and calibrations: two files beside the machine's, read into `Cores`.

cores:                      # of a machine
  count: 132
  memory: 228 KiB
  kernels: kernels/h100-sxm.yaml            # written by hand: what the library has
  calibration: calibration/h100-sxm.yaml    # written by `hwsim calibrate`: how fast it was measured to be
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PlainValidator

from hwsim.arch.builtin import arch_folder
from hwsim.arch.calibration import CalibrationFile, calibrated
from hwsim.arch.cores import Cores, CoreTile, ExpertKernel, Family, Peaks
from hwsim.arch.scalars import Duration, WeightRate
from hwsim.errors import InputError
from hwsim.files import fields
from hwsim.files.fields import FilePart, asked
from hwsim.files.yaml import read, short
from hwsim.formats.names import layout

if TYPE_CHECKING:
    from hwsim.arch.cores_file import CoresFile


def _read_tile(text: Any) -> tuple[int, int]:
    if not isinstance(text, str) or not re.fullmatch("[1-9][0-9]{0,3}x[1-9][0-9]{0,3}", text):
        raise InputError(f"`{short(text)}` is not a core's tile; write MxN, for example `128x256`")
    m, n = map(int, text.split("x"))
    return m, n


def _read_format(name: Any) -> str:
    return layout(name).name


KernelFormat = Annotated[str, PlainValidator(asked(_read_format))]
CoreTileText = Annotated[tuple[int, int], PlainValidator(asked(_read_tile))]


class MenuFile(FilePart):
    """Tiles, and how many cores share a GEMM's K; every tile comes with every split."""

    tiles: list[CoreTileText] = Field(description="Outputs MxN of one core.", examples=[["128x256"]], min_length=1)
    lanes: bool = Field(False, description="K is shared by a core's lanes (matrix times vector).")
    splits: list[int] = Field([1], description="Cores that share K.", examples=[[1, 2, 4]], min_length=1)


class FewRowsFile(MenuFile):
    """The kernels of a family for few rows."""

    rows: int = Field(ge=1, description="For M up to this; the rest of the family begins above.", examples=[16])


class FamilyFile(FilePart):
    """GEMM kernels of one pair of formats."""

    name: str = Field(description="Its name in the measurements.", examples=["bfloat16"])
    weights: KernelFormat = Field(description="Format of the weights.", examples=["bf16"])
    activations: KernelFormat = Field(description="Format of the activations.", examples=["bf16"])
    quantise: Duration | None = Field(
        None, description="Of one core, per activation element, to quantise it.", examples=["0.4 cycles"]
    )
    drain: Duration | None = Field(
        None,
        description="More per tile where K is at most 128: short tiles that do not overlap.",
        examples=["1300 cycles"],
    )
    fetches_beyond: bool = Field(False, description="It fetches rows beyond M (`over_rows` of the calibration).")
    few_rows: FewRowsFile | None = Field(None, description="The kernels for few rows.", examples=[{}])
    menu: MenuFile = Field(description="The kernels.", examples=[{"tiles": ["128x256"], "splits": [1]}])


class ExpertsFile(FilePart):
    """Kernels for the experts of one pair of formats."""

    name: str = Field(description="Its name in the measurements.", examples=["bfloat16"])
    family: str = Field(description="The GEMM family whose multiply-adds it reaches.", examples=["bfloat16"])
    tokens: int = Field(0, ge=0, description="Most tokens of a step that it is used for; 0: any.", examples=[128])
    converts: WeightRate | None = Field(
        None, description="Weights that a core converts ahead of the multiply.", examples=["42 weight/cycle"]
    )
    fitted: list[Literal["floor", "rows"]] = Field(
        [], description="Numbers to be fitted beside the launch.", examples=[["floor"]]
    )
    weights: KernelFormat = Field(description="Format of the weights.", examples=["bf16"])
    activations: KernelFormat = Field(description="Format of the activations.", examples=["bf16"])


class PrefillFile(FilePart):
    """Tiles of prefill attention."""

    rows: int = Field(ge=1, description="Queries of a tile.", examples=[128])
    keys: int = Field(ge=1, description="Keys of a step.", examples=[128])


class DecodeFile(FilePart):
    """How decode attention shares a sequence's positions among cores."""

    rule: Literal["xqa", "trtllm_gen"] = Field(description="The rule, see mapping.gpu.attention.", examples=["xqa"])
    fill: float = Field(8.0, gt=0, description="xqa: most pieces per core.", examples=[8.0])
    least: int = Field(ge=1, description="Least positions of a share.", examples=[128])


class BorrowFile(FilePart):
    """A family of another chip's library, for formats that this one's lacks."""

    family: str = Field(description="Its name there.", examples=["int4_wo"])
    kernels: str = Field(description="The other chip's menus.", examples=["kernels/a100-sxm.yaml"])
    calibration: str = Field(description="The other chip's calibration.", examples=["calibration/a100-sxm.yaml"])
    converts: WeightRate | None = Field(
        None, description="Weights that a core converts at most.", examples=["21 weight/cycle"]
    )


class KernelsFile(FilePart):
    """What a library offers on a chip."""

    library: str = Field(description="Which library, which version.", examples=["TensorRT-LLM 1.3.0rc20"])
    fitted: list[Literal["sustained", "over_rows"]] = Field(
        [], description="Rates of this chip to be fitted besides the common ones.", examples=[["sustained"]]
    )
    resident: float = Field(
        0.7, gt=0, le=1, description="Share of L2 in which the op before leaves its results.", examples=[0.7]
    )
    prefill: PrefillFile = Field(description="Prefill attention.", examples=[{"rows": 128, "keys": 128}])
    decode: DecodeFile = Field(description="Decode attention.", examples=[{"rule": "xqa", "least": 128}])
    families: list[FamilyFile] = Field(description="By pair of formats.", examples=[[]], min_length=1)
    experts: list[ExpertsFile] = Field(
        [], description="Kernels for experts; of several for one pair, the first that a step fits.", examples=[[]]
    )
    borrows: list[BorrowFile] = Field([], description="Families of other chips.", examples=[[]])


def _beside(source: str, name: str) -> Path:
    here = Path(source).parent / name
    return here if here.is_file() else arch_folder() / name


def load_cores(file: CoresFile, source: str, machine: str, peaks: Peaks) -> Cores:
    """Cores with their menus and, where the machine names a calibration, their rates. raises: InputError.

    machine: its name. peaks: what its file states.
    """
    menus = _menus(source, file.kernels)
    cores = Cores(
        file.count,
        file.memory,
        tuple(_family(f) for f in menus.families),
        peaks,
        resident=menus.resident,
        prefill_rows=menus.prefill.rows,
        prefill_keys=menus.prefill.keys,
        decode_rule=menus.decode.rule,
        decode_fill=menus.decode.fill,
        decode_least=menus.decode.least,
        fitted=tuple(menus.fitted),
        experts=tuple(_experts(e) for e in menus.experts),
        kernels=file.kernels,
        machine=machine,
        uncertainty=file.uncertainty,
    )
    if file.calibration is None:
        return cores
    cores = calibrated(cores, _calibration(source, file.calibration), file.calibration, machine)
    cores = replace(cores, borrowed=tuple(_borrowed(b, cores, source) for b in menus.borrows))
    if file.others:
        other = _calibration(source, file.others)
        lent = calibrated(replace(cores, families=cores.families[:1]), other)
        experts = tuple(
            mine if mine.rates else replace(theirs, chip=other.machine)
            for mine, theirs in zip(cores.experts, lent.experts, strict=True)
        )
        cores = replace(cores, lent=lent.kernel_rates, lender=other.machine, others=file.others, experts=experts)
    return cores


def _menus(source: str, name: str) -> KernelsFile:
    return fields.validate(read(_beside(source, name)), KernelsFile)


def _calibration(source: str, name: str) -> CalibrationFile:
    return fields.validate(read(_beside(source, name)), CalibrationFile)


def _borrowed(file: BorrowFile, cores: Cores, source: str) -> Family:
    """Another chip's family at its shares of this chip's peaks."""
    menus, other = _menus(source, file.kernels), _calibration(source, file.calibration)
    mine = tuple(_family(f) for f in menus.families if f.name == file.family)
    (family,) = calibrated(replace(cores, families=mine), other).families
    converts = float(file.converts.value) * cores.peaks.clock_hz if file.converts else 0.0
    return replace(family, convert_per_second=converts, chip=other.machine)


def _family(file: FamilyFile) -> Family:
    few, low = [], 1
    if file.few_rows:
        low = file.few_rows.rows + 1
        chain = 0 if file.few_rows.lanes else 1
        few = [CoreTile(m, n, s, (1, low - 1), chain) for m, n in file.few_rows.tiles for s in file.few_rows.splits]
    rest = [CoreTile(m, n, s, (low, 1 << 30)) for m, n in file.menu.tiles for s in file.menu.splits]
    return Family(
        file.name,
        file.weights,
        file.activations,
        (*few, *rest),
        quantise_cycles=float(file.quantise.value) if file.quantise else 0.0,
        drain_cycles=float(file.drain.value) if file.drain else 0.0,
        fetches_beyond=file.fetches_beyond,
    )


def _experts(file: ExpertsFile) -> ExpertKernel:
    converts = float(file.converts.value) if file.converts else 0.0
    return ExpertKernel(
        file.name, file.family, file.weights, file.activations, file.tokens, converts, tuple(file.fitted)
    )
