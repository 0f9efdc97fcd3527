"""Cores: the part of a GPU that a kernel's tiles are scheduled onto, the kernels of its library, and their rates.

The menus (tiles, split-K) are data of chip and format, written by hand (`arch_configs/kernels/`). The rates are the
calibration (`arch_configs/calibration/`), written by `hwsim calibrate` as shares of the machine's peaks: of the DRAM's
bandwidth, of a core's multiply-adds, of the link; bytes per clock cycle of a core; cycles; and seconds only for what
does not scale, the launches. So a changed machine, or another one, changes the prediction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Peaks:
    """What a machine's file states, SI units: what the shares of a calibration are shares of.

    dram:   bytes per second, peak. stream: of long reads, the peak less refresh.
    cache:  bytes of L2. link: bytes per second of all ports of a chip, each direction (0: no link).
    macs:   (weights, activations, multiply-adds per second of the chip).
    switch: every chip reaches every other at full rate.
    """

    clock_hz: float = 1.0
    dram: float = 0.0
    stream: float = 0.0
    cache: int = 0
    link: float = 0.0
    switch: bool = True
    macs: tuple[tuple[str, str, float], ...] = ()

    def rate(self, weights: str, activations: str) -> float:
        """Multiply-adds per second for a pair: its own, that of the activations twice, or bf16's."""
        known = {(w, a): rate for w, a, rate in self.macs}
        for pair in ((weights, activations), (activations, activations), ("bf16", "bf16"), ("fp16", "fp16")):
            if pair in known:
                return known[pair]
        return max(known.values(), default=0.0)


@dataclass(frozen=True, slots=True)
class CoreTile:
    """One GEMM kernel of the library: the outputs a core computes at once, and how many cores share K.

    rows: the least and the most M that the library uses it for. chain: 1 where K passes through dependent
    multiply-adds; 0 where the lanes of a core share K and sum at the end.
    """

    m: int
    n: int
    split: int = 1
    rows: tuple[int, int] = (1, 1 << 30)
    chain: int = 1


@dataclass(frozen=True, slots=True)
class Family:
    """The GEMM kernels of one pair of formats.

    quantise_seconds:   per activation element, of the kernels that quantise ahead of the GEMM.
    drain_seconds:      more per tile where K is at most 128: a pipeline that cannot overlap its short tiles.
    launch_seconds:     start of the kernel (or kernels), first access and last result.
    macs_per_second:    of one core on full tiles, at the clock of a short run.
    feed_per_second:    bytes per second that one core reads from L2.
    fetches_beyond:     the kernel fetches the rows of its last tile that lie beyond M.
    over_rows:          each of those costs the feed this many rows.
    convert_per_second: weights per second that one core turns into what it multiplies (0: without limit).
    chip:               the machine that its rates were measured on, where it is another.
    """

    name: str
    weights: str
    activations: str
    tiles: tuple[CoreTile, ...]
    quantise_cycles: float = 0.0
    drain_cycles: float = 0.0
    fetches_beyond: bool = False
    quantise_seconds: float = 0.0
    drain_seconds: float = 0.0
    launch_seconds: float = 0.0
    macs_per_second: float = 0.0
    feed_per_second: float = 0.0
    over_rows: float = 0.0
    convert_per_second: float = 0.0
    chip: str = ""


@dataclass(frozen=True, slots=True)
class PrefillRates:
    """Prefill attention. launch_seconds: start; mac_share: of the chip's multiply-adds, bf16 or, with an fp8 cache,
    8 bits; tile_cycles: fixed time per tile; copy_bytes: per cycle of a core, what is read, rearranged and written
    around the attention itself.
    """

    launch_seconds: float
    mac_share: float
    tile_cycles: float
    copy_bytes: float


@dataclass(frozen=True, slots=True)
class DecodeRates:
    """Decode attention. tile_cycles: fixed time per piece of a core; query_cycles: per eight query heads in it;
    pull_share: of the rate of long reads, what one piece reads.
    """

    launch_seconds: float
    tile_cycles: float
    query_cycles: float
    pull_share: float


@dataclass(frozen=True, slots=True)
class ConvRates:
    """Causal convolution of prompts. block_cycles: per block (one sequence, one channel); copy_share: of the mean
    (geometric) of the DRAM's peak and the ports of all cores, as it grows with both.
    """

    launch_seconds: float
    block_cycles: float
    copy_share: float


@dataclass(frozen=True, slots=True)
class ConvUpdateRates:
    """Convolution of one token per sequence. copy_share: of the DRAM's peak; cached_bytes: per cycle of a core, where
    the state is found in L2.
    """

    launch_seconds: float
    copy_share: float
    cached_bytes: float


@dataclass(frozen=True, slots=True)
class AllReduceRates:
    """All-reduce. link_share: of the link's peak; second_seconds: start of the second step; switch_seconds: start of a
    sum in the switch.
    """

    launch_seconds: float
    link_share: float
    second_seconds: float
    switch_seconds: float


@dataclass(frozen=True, slots=True)
class ExpertChip:
    """What the kernels for experts of a chip share. weight_share: of the DRAM's peak, long streams of weights;
    row_bytes: per cycle of a core, of what sorts, expands, quantises, activates and sums the rows.
    """

    weight_share: float
    row_bytes: float


@dataclass(frozen=True, slots=True)
class ExpertRates:
    """The experts of a layer. launch_seconds: of all its kernels together; floor_cycles: least time of a tile;
    rows_share: of the chip's rate for rows, where a set's own kernels reach more or less of it.
    """

    launch_seconds: float
    floor_cycles: float = 0.0
    rows_share: float = 1.0


@dataclass(frozen=True, slots=True)
class ExpertKernel:
    """The library's kernels for the experts of one pair of formats.

    family: the dense GEMM family whose multiply-adds they reach. tokens: the most of a step that the library uses
    them for (0: any number). converts: weights that a core turns into activations' format per cycle, ahead of the
    multiply (0: none); such kernels have tiles of 16, 32 or 64 rows. fitted: numbers that its rates have beside the
    launch: `floor` or `rows`.
    rates: None where they were not measured. chip: the machine that they were measured on, where it is another.
    """

    name: str
    family: str
    weights: str
    activations: str
    tokens: int = 0
    converts: float = 0.0
    fitted: tuple[str, ...] = ()
    rates: ExpertRates | None = None
    chip: str = ""


@dataclass(frozen=True, slots=True)
class KernelRates:
    """Calibrated rates of the kernels that are not dense GEMMs; None where a kernel was not measured.

    prefill_bf16, prefill_bf16_fp8kv, prefill_fp8: by the formats of queries and KV cache.
    decode_bf16, decode_fp8kv: by the format of the KV cache.
    experts: what the kernels for experts share.
    """

    prefill_bf16: PrefillRates | None = None
    prefill_bf16_fp8kv: PrefillRates | None = None
    prefill_fp8: PrefillRates | None = None
    decode_bf16: DecodeRates | None = None
    decode_fp8kv: DecodeRates | None = None
    conv_prefill: ConvRates | None = None
    conv_decode: ConvUpdateRates | None = None
    all_reduce: AllReduceRates | None = None
    experts: ExpertChip | None = None


@dataclass(frozen=True, slots=True)
class Cores:
    """The chip's cores and the rates they share.

    tuned:            cores that the library was tuned for, where `count` is changed (0: count).
    memory_bytes:     operands in flight in a core.
    bandwidth:        bytes per second from DRAM, achieved.
    store:            bytes per second of results on their way to memory (L2 takes them first).
    reduce_seconds:   gathering the parts of a GEMM whose K was split.
    step_seconds:     one element of K through dependent multiply-adds.
    sustained:        loss of rate under lasting load: 1 + sustained * t/(t + knee).
    knee_seconds:     load that lasts this long has cost half of that.
    warm_bytes:       weights that stay in L2 from one repeat of a benchmark to the next; none in whole models.
    resident:         share of L2 in which the results of the op before are found by the next.
    prefill_rows, prefill_keys: queries and keys of a tile of prefill attention.
    decode_rule, decode_fill, decode_least: how decode attention splits a sequence's positions (mapping.gpu.attention).
    fitted: rates of this chip that `calibrate` finds besides the common ones.
    borrowed:         families of another chip, by the data sheets, for formats that this chip's library lacks.
    experts:          the library's kernels for experts, in order of preference.
    kernel_rates:     calibrated rates of the other kernels; lent: those of another chip, where this one's were not
                      measured, and lender its name.
    kernels, calibration, others: the files they come from.
    machine, measured_on: the machine's name, and that of the one that the calibration was fitted on; uncertainty: of
                      times that are the other's by the data sheets, as a share of them.
    changed:          names of the peaks that differ from those that the calibration was fitted at.
    """

    count: int
    memory_bytes: int
    families: tuple[Family, ...]
    peaks: Peaks = Peaks()
    bandwidth: float = 0.0
    store: float = 0.0
    reduce_seconds: float = 0.0
    step_seconds: float = 0.0
    sustained: float = 0.0
    warm_bytes: float = 0.0
    knee_seconds: float = 50e-6
    resident: float = 0.7
    prefill_rows: int = 128
    prefill_keys: int = 128
    decode_rule: str = "xqa"
    decode_fill: float = 8.0
    decode_least: int = 128
    fitted: tuple[str, ...] = ()
    borrowed: tuple[Family, ...] = ()
    experts: tuple[ExpertKernel, ...] = ()
    kernel_rates: KernelRates = KernelRates()
    lent: KernelRates = KernelRates()
    lender: str = ""
    kernels: str = ""
    calibration: str | None = None
    others: str | None = None
    machine: str = ""
    measured_on: str = ""
    uncertainty: float = 0.3
    changed: frozenset[str] = frozenset()
    tuned: int = 0

    @property
    def cycles_per_second(self) -> float:
        """Clock cycles of all cores together."""
        return self.count * self.peaks.clock_hz

    def family(self, weights: str, activations: str) -> Family | None:
        """The family of a pair of formats, the first of several, or None."""
        return next((f for f in self.families if (f.weights, f.activations) == (weights, activations)), None)

    def named(self, name: str) -> Family:
        """The family of a name. raises: KeyError."""
        for family in self.families:
            if family.name == name:
                return family
        raise KeyError(name)

    def expert_kernel(self, name: str) -> ExpertKernel:
        """The kernels for experts of a name. raises: KeyError."""
        for kernel in self.experts:
            if kernel.name == name:
                return kernel
        raise KeyError(name)

    def rated(self, values: Mapping[str, float]) -> Cores:
        """The cores at these rates: `bandwidth`, a share of the DRAM's peak; `store`, bytes per cycle of a core;
        `reduce`, seconds; `step`, cycles per element of K; `warm`, a share of L2; `sustained`, `over_rows`; and by
        family NAME `NAME.launch`, seconds; `.rate`, a share of a core's multiply-adds; `.feed`, bytes per cycle of a
        core. Families that are not named are left out.
        """
        clock, peaks = self.peaks.clock_hz, self.peaks
        families = tuple(
            replace(
                f,
                quantise_seconds=f.quantise_cycles / self.cycles_per_second,
                drain_seconds=f.drain_cycles / clock,
                launch_seconds=values[f"{f.name}.launch"],
                macs_per_second=values[f"{f.name}.rate"] * peaks.rate(f.weights, f.activations) / self.count,
                feed_per_second=values[f"{f.name}.feed"] * clock,
                over_rows=values.get("over_rows", 0.0) if f.fetches_beyond else 0.0,
            )
            for f in self.families
            if f"{f.name}.rate" in values
        )
        return replace(
            self,
            families=families,
            bandwidth=values["bandwidth"] * peaks.dram,
            store=values["store"] * self.cycles_per_second,
            reduce_seconds=values["reduce"],
            step_seconds=values["step"] / clock,
            sustained=values.get("sustained", 0.0),
            warm_bytes=values["warm"] * peaks.cache,
        )
