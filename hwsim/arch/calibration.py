"""Calibration files: what `hwsim calibrate` found, as shares of the peaks of the machine that it was fitted on.

A share is of the peak that the machine's file states, so that a changed machine or another one moves the prediction;
`B/cycle` is per core, `cycle` of the machine's clock; launches are seconds and stay. `peaks` are those of the fit:
where a machine's differ, its times are transferred and no longer measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from fractions import Fraction
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, Field

from hwsim.arch.cores import (
    AllReduceRates,
    ConvRates,
    ConvUpdateRates,
    Cores,
    DecodeRates,
    ExpertChip,
    ExpertRates,
    KernelRates,
    Peaks,
    PrefillRates,
)
from hwsim.arch.scalars import ByteRate, Duration, Frequency, Latency, MacRate, Size
from hwsim.errors import InputError
from hwsim.files.fields import FilePart
from hwsim.quantities import Quantity, write

Part = TypeVar("Part", bound=BaseModel)
Rates = TypeVar("Rates")


class PeaksFile(FilePart):
    """The machine's peaks at the fit."""

    clock: Frequency = Field(description="Clock.", examples=["1.83 GHz"])
    dram: ByteRate = Field(description="Memory.", examples=["3.35 TB/s"])
    cores: int = Field(ge=1, description="Cores.", examples=[132])
    cache: Size = Field(description="L2.", examples=["50 MiB"])
    link: ByteRate | None = Field(None, description="All ports of a chip, each direction.", examples=["450 GB/s"])


class FamilyRates(FilePart):
    """Fitted rates of a family; at most three."""

    launch: Duration = Field(description="Start, first access, last result.", examples=["2.7 us"])
    rate: float = Field(gt=0, description="Share of a core's peak multiply-adds.", examples=[0.95])
    feed: ByteRate = Field(description="Bytes one core takes from L2.", examples=["80 B/cycle"])
    peak: MacRate = Field(description="Multiply-adds of the chip at the fit.", examples=["494.7 TMAC/s"])


class ChipRates(FilePart):
    """Fitted rates that all families share; at most eight."""

    bandwidth: float = Field(gt=0, description="DRAM, achieved: share of the peak.", examples=[0.85])
    store: ByteRate = Field(description="Results of one core on their way to memory.", examples=["14 B/cycle"])
    reduce: Duration = Field(description="Gathering the parts of a split K.", examples=["2.4 us"])
    step: Duration = Field(description="One element of K through dependent multiply-adds.", examples=["2 cycles"])
    warm: float = Field(gt=0, description="Weights that stay in L2 between repeats: share of it.", examples=[0.12])
    sustained: float | None = Field(None, description="Loss of rate under lasting load.", examples=[0.2])
    over_rows: float | None = Field(None, description="Rows that one row beyond M costs the feed.", examples=[4.0])


class PrefillRatesFile(FilePart):
    """Fitted rates of prefill attention."""

    launch: Duration = Field(description="Start.", examples=["11 us"])
    rate: float = Field(gt=0, description="Share of the chip's multiply-adds.", examples=[0.58])
    tile: Duration = Field(description="Fixed time per tile.", examples=["1190 cycles"])
    copy_: ByteRate = Field(alias="copy", description="Queries, keys, values, one core.", examples=["11.5 B/cycle"])


class DecodeRatesFile(FilePart):
    """Fitted rates of decode attention."""

    launch: Duration = Field(description="Start.", examples=["7 us"])
    tile: Duration = Field(description="Fixed time per piece of a core.", examples=["3000 cycles"])
    query: Duration = Field(description="Per eight query heads of a piece.", examples=["1000 cycles"])
    pull: float = Field(gt=0, description="One piece's share of the rate of long reads.", examples=[0.005])


class ConvRatesFile(FilePart):
    """Fitted rates of the causal convolution of prompts."""

    launch: Duration = Field(description="Start.", examples=["4 us"])
    block: Duration = Field(description="Per sequence and channel.", examples=["1000 cycles"])
    copy_: float = Field(
        alias="copy", gt=0, description="Share of the mean of the memory's peak and the cores' ports.", examples=[0.35]
    )


class ConvUpdateRatesFile(FilePart):
    """Fitted rates of the convolution of one token per sequence."""

    launch: Duration = Field(description="Start.", examples=["4 us"])
    copy_: float = Field(alias="copy", gt=0, description="Share of the memory's peak.", examples=[0.6])
    cached: ByteRate = Field(description="Where the state is found in L2, one core.", examples=["15 B/cycle"])


class AllReduceRatesFile(FilePart):
    """Fitted rates of the all-reduce."""

    launch: Duration = Field(description="Start.", examples=["3 us"])
    link: float = Field(gt=0, description="Share of the link's peak.", examples=[0.7])
    second: Duration = Field(description="Start of the second step.", examples=["20 us"])
    switch: Duration = Field(description="Start of a sum in the switch.", examples=["60 us"])


class ExpertChipFile(FilePart):
    """Fitted rates that the kernels for experts share."""

    weights: float = Field(gt=0, description="Long streams of weights: share of the memory's peak.", examples=[0.87])
    rows: ByteRate = Field(description="What is done to rows around the GEMMs, one core.", examples=["6 B/cycle"])


class ExpertRatesFile(FilePart):
    """Fitted rates of the experts of a layer, both GEMMs and what lies between them."""

    launch: Duration = Field(description="Start of all its kernels together.", examples=["24 us"])
    floor: Latency = Field(description="Least time of a tile of 128 x 128.", examples=["7000 cycles"])
    rows: float = Field(gt=0, description="Share of the chip's rate for rows.", examples=[1.0])


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
    expert_chip: ExpertChipFile | None = Field(None, description="What all kernels for experts share.", examples=[{}])
    experts: dict[str, ExpertRatesFile] = Field({}, description="By kernel of the menu's `experts`.", examples=[{}])


class CalibrationFile(FilePart):
    """What `hwsim calibrate` found."""

    machine: str = Field(description="The machine.", examples=["h100-sxm"])
    data: str = Field(description="File, rows and hash of the measurements.", examples=["h100_gemm.csv"])
    error: float = Field(
        description="Mean of |predicted - measured| / measured over the fitted GEMMs.", examples=[0.05]
    )
    peaks: PeaksFile = Field(description="The machine at the fit.", examples=[{}])
    chip: ChipRates = Field(description="Shared by all families.", examples=[{}])
    families: dict[str, FamilyRates] = Field(description="By family.", examples=[{}])
    kernels: KernelRatesFile = Field(
        KernelRatesFile(), description="Attention, experts, convolutions, collectives.", examples=[{}]
    )

    def text(self, comment: str) -> str:
        """The file's YAML, behind one line of comment."""
        plain = yaml.safe_dump(_plain(self), sort_keys=False, default_flow_style=None, width=110)
        return f"# {comment}\n{plain}"


#: Units of the numbers of the frozen classes, by the end of their names; the others are plain.
_UNITS = {"_seconds": "s", "_cycles": "cycle", "_bytes": "B/cycle"}

#: The frozen class of each kernel's rates and its part of the file, by its field of `KernelRates`.
KERNELS: dict[str, tuple[type, type[FilePart]]] = {
    "prefill_bf16": (PrefillRates, PrefillRatesFile),
    "prefill_bf16_fp8kv": (PrefillRates, PrefillRatesFile),
    "prefill_fp8": (PrefillRates, PrefillRatesFile),
    "decode_bf16": (DecodeRates, DecodeRatesFile),
    "decode_fp8kv": (DecodeRates, DecodeRatesFile),
    "conv_prefill": (ConvRates, ConvRatesFile),
    "conv_decode": (ConvUpdateRates, ConvUpdateRatesFile),
    "all_reduce": (AllReduceRates, AllReduceRatesFile),
    "experts": (ExpertChip, ExpertChipFile),
}


def rounded(value: float, unit: str, digits: int = 4) -> Quantity:
    """A fitted number, rounded to `digits` significant digits, as a quantity."""
    return Quantity(Fraction(f"{value:.{digits - 1}e}"), unit)


def rates_file(rates: object, file: type[Part], digits: int = 4) -> Part:
    """A frozen class of rates as its part of the calibration file, the inverse of `rates_of`."""
    values: dict[str, Any] = {}
    for key, name in zip(file.model_fields, dataclass_names(type(rates)), strict=True):
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


def kernel_rates(file: KernelRatesFile) -> KernelRates:
    """The rates of a file's kernels that are not dense GEMMs."""
    found = {name: getattr(file, "expert_chip" if name == "experts" else name) for name in KERNELS}
    return KernelRates(**{name: rates_of(part, KERNELS[name][0]) for name, part in found.items() if part is not None})


def calibrated(cores: Cores, file: CalibrationFile, name: str = "", machine: str = "") -> Cores:
    """The cores with the rates of a calibration; of another machine's, families that it lacks are left out.

    machine: the name of the machine that the cores are of. raises: InputError for a family of the machine's own menu
    that its own calibration lacks, or where no family is left.
    """
    missing = [f.name for f in cores.families if f.name not in file.families]
    if missing and (file.machine == machine or len(missing) == len(cores.families)):
        raise InputError(f"{name}: no rates for {', '.join(missing)}; run `hwsim calibrate {file.machine}`")
    chip = file.chip
    values = {
        "bandwidth": chip.bandwidth,
        "store": _number(chip.store),
        "reduce": _number(chip.reduce),
        "step": _number(chip.step),
        "warm": chip.warm,
        "sustained": chip.sustained or 0.0,
        "over_rows": chip.over_rows or 0.0,
    }
    for family, rates in file.families.items():
        values |= {f"{family}.launch": _number(rates.launch), f"{family}.rate": rates.rate}
        values[f"{family}.feed"] = _number(rates.feed)
    experts = tuple(
        replace(e, rates=rates_of(file.kernels.experts[e.name], ExpertRates)) if e.name in file.kernels.experts else e
        for e in cores.experts
    )
    return replace(
        cores.rated(values),
        calibration=name,
        experts=experts,
        kernel_rates=kernel_rates(file.kernels),
        measured_on=file.machine,
        changed=changed(cores, file),
    )


def changed(cores: Cores, file: CalibrationFile) -> frozenset[str]:
    """Names of peaks that are not those of the fit: clock, dram, cores, cache, link, and families for their rate."""
    peaks, then = cores.peaks, file.peaks
    now = {
        "clock": (peaks.clock_hz, _number(then.clock)),
        "dram": (peaks.dram, _number(then.dram)),
        "cores": (cores.count, then.cores),
        "cache": (peaks.cache, then.cache),
        "link": (peaks.link, _number(then.link) if then.link else 0.0),
    }
    for f in cores.families:
        if f.name in file.families:
            now[f.name] = peaks.rate(f.weights, f.activations), _number(file.families[f.name].peak)
    return frozenset(name for name, (a, b) in now.items() if abs(a - b) > 1e-6 * max(a, b))


def peaks_file(cores: Cores) -> PeaksFile:
    """The machine's peaks, for its calibration file."""
    peaks: Peaks = cores.peaks
    return PeaksFile.model_construct(
        clock=rounded(peaks.clock_hz, "Hz", 9),
        dram=rounded(peaks.dram, "B/s", 9),
        cores=cores.count,
        cache=peaks.cache,
        link=rounded(peaks.link, "B/s", 9) if peaks.link else None,
    )


def _number(quantity: Quantity) -> float:
    return float(quantity.value)


def _plain(value: Any) -> Any:
    if isinstance(value, Quantity):
        return write(value.value, value.dimension)
    if isinstance(value, PeaksFile):
        return _parts(value) | {"cache": write(value.cache, "B")}
    if isinstance(value, BaseModel):
        return _parts(value)
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return value


def _parts(file: BaseModel) -> dict[str, Any]:
    found = {field.alias or key: getattr(file, key) for key, field in type(file).model_fields.items()}
    return {key: _plain(part) for key, part in found.items() if part is not None and part != {}}
