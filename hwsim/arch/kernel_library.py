"""Kernel menus and calibrations: two files beside the machine's, read into `Cores`.

cores:                      # of a machine
  count: 132
  memory: 228 KiB
  kernels: kernels/h100-sxm.yaml            # written by hand: what the library has
  calibration: calibration/h100-sxm.yaml    # written by `hwsim calibrate`: how fast it was measured to be
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, Field, PlainValidator

from hwsim.arch.builtin import arch_folder
from hwsim.arch.cores import (
    AllReduceRates,
    ConvRates,
    ConvUpdateRates,
    Cores,
    CoreTile,
    DecodeRates,
    ExpertKernel,
    ExpertRates,
    Family,
    KernelRates,
    PrefillRates,
)
from hwsim.arch.scalars import ByteRate, Duration, FormatName, MacRate, Size, size_text
from hwsim.errors import InputError
from hwsim.files import fields
from hwsim.files.fields import FilePart, asked
from hwsim.files.yaml import read, short
from hwsim.quantities import Quantity, quantity, write


def _read_tile(text: Any) -> tuple[int, int]:
    if not isinstance(text, str) or not re.fullmatch("[1-9][0-9]{0,3}x[1-9][0-9]{0,3}", text):
        raise InputError(f"`{short(text)}` is not a core's tile; write MxN, for example `128x256`")
    m, n = map(int, text.split("x"))
    return m, n


def _read_bytes(text: Any) -> float:
    return float(quantity(text, "B").value)


Part = TypeVar("Part", bound=BaseModel)
Rates = TypeVar("Rates")
CoreTileText = Annotated[tuple[int, int], PlainValidator(asked(_read_tile))]


class CoresFile(FilePart):
    """The cores that tiles are scheduled onto, the kernels there are, and how fast they were measured to be."""

    count: int = Field(ge=1, le=4096, description="Cores (streaming multiprocessors) of the chip.", examples=[132])
    memory: Size = Field(description="Operands in flight in one core.", examples=["228 KiB"])
    kernels: str = Field(description="File of the kernel menus.", examples=["kernels/h100-sxm.yaml"])
    calibration: str | None = Field(
        None, description="File written by `hwsim calibrate`.", examples=["calibration/h100-sxm.yaml"]
    )


class MenuFile(FilePart):
    """Tiles, and how many cores share a GEMM's K; every tile comes with every split."""

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
        None, description="Bytes moved per activation element to quantise it.", examples=["5 B"]
    )
    fetches_beyond: bool = Field(False, description="It fetches rows beyond M (`over_rows` of the calibration).")
    few_rows: MenuFile | None = Field(None, description="The kernels for few rows.", examples=[{}])
    menu: MenuFile = Field(description="The kernels.", examples=[{"tiles": ["128x256"], "splits": [1]}])


class ExpertsFile(FilePart):
    """Kernels for the experts of one pair of formats."""

    name: str = Field(description="Its name in the measurements.", examples=["bfloat16"])
    family: str = Field(description="The GEMM family that its tiles and rates resemble.", examples=["bfloat16"])
    weights: FormatName = Field(description="Format of the weights.", examples=["bf16"])
    activations: FormatName = Field(description="Format of the activations.", examples=["bf16"])


class PrefillFile(FilePart):
    """Tiles of prefill attention."""

    rows: int = Field(ge=1, description="Queries of a tile.", examples=[128])
    keys: int = Field(ge=1, description="Keys of a step.", examples=[128])


class DecodeFile(FilePart):
    """How decode attention shares a sequence's positions among cores."""

    rule: Literal["xqa", "trtllm_gen"] = Field(description="The rule, see mapping.gpu.attention.", examples=["xqa"])
    fill: float = Field(8.0, gt=0, description="xqa: most pieces per core.", examples=[8.0])
    least: int = Field(ge=1, description="Least positions of a share.", examples=[128])


class KernelsFile(FilePart):
    """What a library offers on a chip."""

    library: str = Field(description="Which library, which version.", examples=["TensorRT-LLM 1.3.0rc20"])
    fitted: list[Literal["sustained", "over_rows"]] = Field(
        [], description="Rates of this chip to be fitted besides the common ones.", examples=[["sustained"]]
    )
    prefill: PrefillFile = Field(description="Prefill attention.", examples=[{"rows": 128, "keys": 128}])
    decode: DecodeFile = Field(description="Decode attention.", examples=[{"rule": "xqa", "least": 128}])
    families: list[FamilyFile] = Field(description="By pair of formats.", examples=[[]], min_length=1)
    experts: list[ExpertsFile] = Field(
        [], description="Kernels for experts; of several for one pair, the first is used.", examples=[[]]
    )


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


class PrefillRatesFile(FilePart):
    """Fitted rates of prefill attention."""

    launch: Duration = Field(description="Start.", examples=["11 us"])
    rate: MacRate = Field(description="Multiply-adds of the chip.", examples=["290 TMAC/s"])
    tile: Duration = Field(description="Fixed time per tile.", examples=["1.2 us"])
    copy_: ByteRate = Field(alias="copy", description="Queries, keys, values on the way.", examples=["2.8 TB/s"])


class DecodeRatesFile(FilePart):
    """Fitted rates of decode attention."""

    launch: Duration = Field(description="Start.", examples=["7 us"])
    tile: Duration = Field(description="Fixed time per piece of a core.", examples=["2 us"])
    query: Duration = Field(description="Per eight query heads of a piece.", examples=["600 ns"])


class ConvRatesFile(FilePart):
    """Fitted rates of the causal convolution of prompts."""

    launch: Duration = Field(description="Start.", examples=["4 us"])
    block: Duration = Field(description="Per sequence and channel.", examples=["500 ns"])
    copy_: ByteRate = Field(alias="copy", description="Achieved from DRAM.", examples=["2.5 TB/s"])


class ConvUpdateRatesFile(FilePart):
    """Fitted rates of the convolution of one token per sequence."""

    launch: Duration = Field(description="Start.", examples=["4 us"])
    copy_: ByteRate = Field(alias="copy", description="Achieved from DRAM.", examples=["1.9 TB/s"])
    cached: ByteRate = Field(description="Where the state is found in L2.", examples=["3 TB/s"])


class AllReduceRatesFile(FilePart):
    """Fitted rates of the all-reduce."""

    launch: Duration = Field(description="Start.", examples=["3 us"])
    link: ByteRate = Field(description="Into one chip.", examples=["300 GB/s"])
    second: Duration = Field(description="Start of the second step.", examples=["20 us"])


class ExpertRatesFile(FilePart):
    """Fitted rates of the experts of a layer, both GEMMs and what lies between them."""

    launch: Duration = Field(description="Start of all its kernels together.", examples=["24 us"])
    rate: float = Field(gt=0, description="Share of the family's multiply-adds.", examples=[0.6])
    copy_: float = Field(alias="copy", gt=0, description="Share of the memory's achieved bandwidth.", examples=[0.9])


class KernelRatesFile(FilePart):
    """Fitted rates of the kernels that are not dense GEMMs."""

    prefill_bf16: PrefillRatesFile | None = Field(None, description="Queries and KV cache bf16.", examples=[{}])
    prefill_bf16_fp8kv: PrefillRatesFile | None = Field(None, description="KV cache fp8.", examples=[{}])
    prefill_fp8: PrefillRatesFile | None = Field(None, description="Queries and KV cache fp8.", examples=[{}])
    decode_bf16: DecodeRatesFile | None = Field(None, description="KV cache bf16.", examples=[{}])
    decode_fp8kv: DecodeRatesFile | None = Field(None, description="KV cache fp8.", examples=[{}])
    conv_prefill: ConvRatesFile | None = Field(None, description="Convolution of prompts.", examples=[{}])
    conv_decode: ConvUpdateRatesFile | None = Field(None, description="Convolution of one token.", examples=[{}])
    all_reduce: AllReduceRatesFile | None = Field(None, description="Sum over chips.", examples=[{}])
    experts: dict[str, ExpertRatesFile] = Field({}, description="By kernel of the menu's `experts`.", examples=[{}])


class CalibrationFile(FilePart):
    """What `hwsim calibrate` found."""

    machine: str = Field(description="The machine.", examples=["h100-sxm"])
    data: str = Field(description="File, rows and hash of the measurements.", examples=["h100_gemm.csv"])
    error: float = Field(description="Mean of |predicted - measured| / measured.", examples=[0.05])
    chip: ChipRates = Field(description="Shared by all families.", examples=[{}])
    families: dict[str, FamilyRates] = Field(description="By family.", examples=[{}])
    kernels: KernelRatesFile = Field(
        KernelRatesFile(), description="Attention, experts, convolutions, collectives.", examples=[{}]
    )

    def text(self, comment: str) -> str:
        """The file's YAML, behind one line of comment."""
        plain = yaml.safe_dump(_plain(self), sort_keys=False, default_flow_style=None, width=110)
        return f"# {comment}\n{plain}"


#: Units of the numbers of the frozen classes, by the end of their names.
_UNITS = {"_seconds": "s", "macs_per_second": "MAC/s", "_per_second": "B/s"}


def rounded(value: float, unit: str, digits: int) -> Quantity:
    """A fitted number, rounded to `digits` significant digits, as a quantity."""
    return Quantity(Fraction(f"{value:.{digits - 1}e}"), unit)


def rates_file(rates: object, file: type[Part], digits: int = 7) -> Part:
    """A frozen class of rates as its part of the calibration file, the inverse of `rates_of`."""
    values = {}
    for (key, _), name in zip(file.model_fields.items(), dataclass_names(type(rates)), strict=True):
        value = getattr(rates, name)
        unit = next((u for end, u in _UNITS.items() if name.endswith(end)), None)
        values[key] = rounded(value, unit, digits) if unit else float(f"{value:.{digits - 1}e}")
    return file.model_construct(**values)


def rates_of(file: BaseModel, rates: type[Rates]) -> Rates:
    """The frozen class of a part of the calibration file; both list their numbers in the same order."""
    values = [getattr(file, key) for key in type(file).model_fields]
    return rates(*(float(v.value) if isinstance(v, Quantity) else v for v in values))


def dataclass_names(rates: type) -> list[str]:
    """Names of the numbers of a frozen class of rates."""
    return [f.name for f in dataclass_fields(rates)]


def _plain(value: Any) -> Any:
    if isinstance(value, Quantity):
        return write(value.value, value.dimension)
    if isinstance(value, ChipRates):
        return _parts(value) | {"warm": write(value.warm, "B")}
    if isinstance(value, BaseModel):
        return _parts(value)
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return value


def _parts(file: BaseModel) -> dict[str, Any]:
    found = {field.alias or key: getattr(file, key) for key, field in type(file).model_fields.items()}
    return {key: _plain(part) for key, part in found.items() if part is not None and part != {}}


def _beside(source: str, name: str) -> Path:
    here = Path(source).parent / name
    return here if here.is_file() else arch_folder() / name


def load_cores(file: CoresFile, source: str, stream: float, cache_bytes: int) -> Cores:
    """Cores with their menus and, where the machine names a calibration, their rates. raises: InputError.

    stream: bytes per second of the memory, less refresh; cache_bytes: L2.
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
        experts=tuple(ExpertKernel(e.name, e.family, e.weights, e.activations) for e in menus.experts),
        kernels=file.kernels,
    )
    if file.calibration is None:
        return cores
    return calibrated(
        cores, fields.validate(read(_beside(source, file.calibration)), CalibrationFile), file.calibration
    )


def cores_file(cores: Cores) -> dict[str, Any]:
    """The cores as a machine file states them."""
    part: dict[str, Any] = {"count": cores.count, "memory": size_text(cores.memory_bytes), "kernels": cores.kernels}
    return part | ({"calibration": cores.calibration} if cores.calibration else {})


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
    experts = tuple(
        replace(e, rates=rates_of(file.kernels.experts[e.name], ExpertRates)) if e.name in file.kernels.experts else e
        for e in cores.experts
    )
    return replace(
        cores.rated(values), calibration=name, experts=experts, kernel_rates=_kernel_rates(file.kernels)
    )


#: The frozen class of each kernel's rates, by its field of `KernelRates` and of `KernelRatesFile`.
KERNELS: dict[str, tuple[type, type[FilePart]]] = {
    "prefill_bf16": (PrefillRates, PrefillRatesFile),
    "prefill_bf16_fp8kv": (PrefillRates, PrefillRatesFile),
    "prefill_fp8": (PrefillRates, PrefillRatesFile),
    "decode_bf16": (DecodeRates, DecodeRatesFile),
    "decode_fp8kv": (DecodeRates, DecodeRatesFile),
    "conv_prefill": (ConvRates, ConvRatesFile),
    "conv_decode": (ConvUpdateRates, ConvUpdateRatesFile),
    "all_reduce": (AllReduceRates, AllReduceRatesFile),
}


def _kernel_rates(file: KernelRatesFile) -> KernelRates:
    found = {name: getattr(file, name) for name in KERNELS}
    return KernelRates(**{name: rates_of(part, KERNELS[name][0]) for name, part in found.items() if part is not None})
