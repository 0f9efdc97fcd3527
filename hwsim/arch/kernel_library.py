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
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from hwsim.arch.builtin import arch_folder
from hwsim.arch.cores import Cores, CoreTile, Family
from hwsim.arch.schema import ByteRate, CoresFile, Duration, FormatName, MacRate, Size
from hwsim.errors import InputError
from hwsim.files import fields
from hwsim.files.fields import FilePart, asked
from hwsim.files.yaml import read, short
from hwsim.quantities import quantity


def _read_tile(text: Any) -> tuple[int, int]:
    if not isinstance(text, str) or not re.fullmatch("[1-9][0-9]{0,3}x[1-9][0-9]{0,3}", text):
        raise InputError(f"`{short(text)}` is not a core's tile; write MxN, for example `128x256`")
    m, n = map(int, text.split("x"))
    return m, n


def _read_bytes(text: Any) -> float:
    return float(quantity(text, "B").value)


CoreTileText = Annotated[tuple[int, int], PlainValidator(asked(_read_tile))]


class MenuFile(FilePart):
    """Tiles and numbers of cores a product's K is split over; every tile comes with every split."""

    rows: int | None = Field(None, ge=1, description="For M up to this; the rest of the family begins above.")
    tiles: list[CoreTileText] = Field(description="Outputs MxN of one core.", examples=[["128x256"]], min_length=1)
    lanes: bool = Field(False, description="K is shared by a core's lanes (matrix times vector).")
    splits: list[int] = Field([1], description="Cores that share K.", examples=[[1, 2, 4]], min_length=1)


class FamilyFile(FilePart):
    """GEMM kernels of one pair of formats."""

    name: str = Field(description="Its name in the measurements.", examples=["bfloat16"])
    weights: FormatName = Field(description="Format of the weights.", examples=["bf16"])
    activations: FormatName = Field(description="Format of the activations.", examples=["bf16"])
    quantise: Annotated[float, PlainValidator(asked(_read_bytes))] | None = Field(
        None, description="Bytes moved an activation element to quantise it.", examples=["5 B"]
    )
    fetches_beyond: bool = Field(False, description="It fetches rows beyond M (`over_rows` of the calibration).")
    few_rows: MenuFile | None = Field(None, description="The kernels for few rows.", examples=[{}])
    menu: MenuFile = Field(description="The kernels.", examples=[{"tiles": ["128x256"], "splits": [1]}])


class PrefillFile(FilePart):
    """Tiles of prefill attention."""

    rows: int = Field(ge=1, description="Queries of a tile.", examples=[128])
    keys: int = Field(ge=1, description="Keys of a step.", examples=[128])


class DecodeFile(FilePart):
    """How decode attention shares a sequence's positions among cores."""

    rule: Literal["xqa", "trtllm_gen"] = Field(description="The rule, see mapping.gpu.attention.", examples=["xqa"])
    fill: float = Field(8.0, gt=0, description="xqa: pieces a core, at most.", examples=[8.0])
    least: int = Field(ge=1, description="Positions of a share, at least.", examples=[128])


class KernelsFile(FilePart):
    """What a library offers on a chip."""

    library: str = Field(description="Which library, which version.", examples=["TensorRT-LLM 1.3.0rc20"])
    fitted: list[Literal["sustained", "over_rows"]] = Field(
        [], description="Rates of this chip to be fitted beside the common ones.", examples=[["sustained"]]
    )
    prefill: PrefillFile = Field(description="Prefill attention.", examples=[{"rows": 128, "keys": 128}])
    decode: DecodeFile = Field(description="Decode attention.", examples=[{"rule": "xqa", "least": 128}])
    families: list[FamilyFile] = Field(description="By pair of formats.", examples=[[]], min_length=1)


class FamilyRates(FilePart):
    """Fitted rates of a family; at most three."""

    launch: Duration = Field(description="Start, first access, last result.", examples=["2.7 us"])
    rate: MacRate = Field(description="Multiply-adds of one core.", examples=["3.8 TMAC/s"])
    feed: ByteRate = Field(description="Bytes one core takes from L2.", examples=["150 GB/s"])


class ChipRates(FilePart):
    """Fitted rates that all families share; at most eight."""

    bandwidth: ByteRate = Field(description="DRAM, achieved.", examples=["2.8 TB/s"])
    store: ByteRate = Field(description="Results on their way to memory.", examples=["4 TB/s"])
    reduce: Duration = Field(description="Gathering the parts of a split K.", examples=["2.4 us"])
    step: Duration = Field(description="64 elements of K through dependent multiply-adds.", examples=["68 ns"])
    warm: Size = Field(description="Weights that stay in L2 between repeats of a benchmark.", examples=["6 MB"])
    sustained: float | None = Field(None, description="Loss of rate under lasting load.", examples=[0.2])
    over_rows: float | None = Field(None, description="Rows that one row beyond M costs the feed.", examples=[4.0])


class OtherRate(FilePart):
    """One fitted number of another kernel."""

    value: float = Field(description="In the unit of `unit`.", examples=[4.0])
    unit: str = Field(description="Its unit.", examples=["us"])


class CalibrationFile(FilePart):
    """What `hwsim calibrate` found."""

    machine: str = Field(description="The machine.", examples=["h100-sxm"])
    data: str = Field(description="File, rows and hash of the measurements.", examples=["h100_gemm.csv"])
    error: float = Field(description="Mean of |predicted - measured| / measured.", examples=[0.05])
    chip: ChipRates = Field(description="Shared by all families.", examples=[{}])
    families: dict[str, FamilyRates] = Field(description="By family.", examples=[{}])
    others: dict[str, OtherRate] = Field(
        {}, description="Attention, experts, convolutions, collectives.", examples=[{}]
    )


def _beside(source: str, name: str) -> Path:
    here = Path(source).parent / name
    return here if here.is_file() else arch_folder() / name


def load_cores(file: CoresFile, source: str, stream: float, cache_bytes: int) -> Cores:
    """Cores with their menus and, where the machine names a calibration, their rates. raises: InputError.

    stream: bytes a second of the memory, less refresh; cache_bytes: L2.
    """
    menus = fields.validate(read(_beside(source, file.kernels)), KernelsFile)
    families = tuple(_family(f) for f in menus.families)
    cores = Cores(
        file.count,
        file.memory,
        families,
        stream=stream,
        cache_bytes=cache_bytes,
        prefill_rows=menus.prefill.rows,
        prefill_keys=menus.prefill.keys,
        decode_rule=menus.decode.rule,
        decode_fill=menus.decode.fill,
        decode_least=menus.decode.least,
        fitted=tuple(menus.fitted),
        kernels=file.kernels,
    )
    if file.calibration is None:
        return cores
    return calibrated(
        cores, fields.validate(read(_beside(source, file.calibration)), CalibrationFile), file.calibration
    )


def _family(file: FamilyFile) -> Family:
    few, low = [], 1
    if file.few_rows:
        low = file.few_rows.rows + 1
        chain = 0 if file.few_rows.lanes else 1
        few = [CoreTile(m, n, s, (1, low - 1), chain) for m, n in file.few_rows.tiles for s in file.few_rows.splits]
    rest = [CoreTile(m, n, s, (low, 1 << 30)) for m, n in file.menu.tiles for s in file.menu.splits]
    return Family(file.name, file.weights, file.activations, (*few, *rest), file.quantise or 0.0, file.fetches_beyond)


def calibrated(cores: Cores, file: CalibrationFile, name: str = "") -> Cores:
    """The cores with the rates of a calibration. raises: InputError for a family without."""

    missing = [f.name for f in cores.families if f.name not in file.families]
    if missing:
        raise InputError(f"{name}: no rates for {', '.join(missing)}; run `hwsim calibrate {file.machine}`")
    chip = file.chip
    values = {part: float(getattr(chip, part).value) for part in ("bandwidth", "store", "reduce", "step")}
    values |= {"warm": float(chip.warm), "sustained": chip.sustained or 0.0, "over_rows": chip.over_rows or 0.0}
    for family in cores.families:
        rates = file.families[family.name]
        values |= {f"{family.name}.{part}": float(getattr(rates, part).value) for part in ("launch", "rate", "feed")}
    others = {key: rate.value for key, rate in file.others.items()}
    return replace(cores.rated(values), calibration=name, others=others)
