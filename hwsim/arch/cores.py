"""Cores: the part of a GPU that a kernel's tiles are scheduled onto, the kernels of its library, and calibrated rates.

The menus (tiles, split-K) are data of chip and format, written by hand (`arch_configs/kernels/`). The rates are the
calibration (`arch_configs/calibration/`), written by `hwsim calibrate`: at most eight per chip and three per family.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


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

    quantise_bytes:     moved per activation element by the kernels that quantise ahead of the GEMM.
    launch_seconds:     start of the kernel (or kernels), first access and last result.
    macs_per_second:    of one core on full tiles, at the clock of a short run.
    feed_per_second:    bytes per second that one core reads from L2.
    fetches_beyond:     the kernel fetches the rows of its last tile that lie beyond M.
    over_rows:          each of those costs the feed this many rows.
    """

    name: str
    weights: str
    activations: str
    tiles: tuple[CoreTile, ...]
    quantise_bytes: float = 0.0
    fetches_beyond: bool = False
    launch_seconds: float = 0.0
    macs_per_second: float = 0.0
    feed_per_second: float = 0.0
    over_rows: float = 0.0


@dataclass(frozen=True, slots=True)
class PrefillRates:
    """Prefill attention. launch_seconds: start; macs_per_second: of the chip; tile_seconds: fixed time per tile;
    copy_per_second: bytes per second of what is read, rearranged and written around the attention itself.
    """

    launch_seconds: float
    macs_per_second: float
    tile_seconds: float
    copy_per_second: float


@dataclass(frozen=True, slots=True)
class DecodeRates:
    """Decode attention. tile_seconds: fixed time per piece of a core; query_seconds: per eight query heads in it."""

    launch_seconds: float
    tile_seconds: float
    query_seconds: float


@dataclass(frozen=True, slots=True)
class ConvRates:
    """Causal convolution of prompts. block_seconds: per block (one sequence, one channel); copy_per_second: bytes."""

    launch_seconds: float
    block_seconds: float
    copy_per_second: float


@dataclass(frozen=True, slots=True)
class ConvUpdateRates:
    """Convolution of one token per sequence. Bytes per second from DRAM, and where the state is found in L2."""

    launch_seconds: float
    copy_per_second: float
    cached_per_second: float


@dataclass(frozen=True, slots=True)
class AllReduceRates:
    """All-reduce. link_per_second: bytes per second into a chip; second_seconds: start of the second step."""

    launch_seconds: float
    link_per_second: float
    second_seconds: float


@dataclass(frozen=True, slots=True)
class ExpertRates:
    """The experts of a layer. launch_seconds: of all its kernels together; rate_share, copy_share: shares of the
    GEMM family's multiply-adds and of the memory that they reach.
    """

    launch_seconds: float
    rate_share: float
    copy_share: float


@dataclass(frozen=True, slots=True)
class ExpertKernel:
    """The library's kernels for the experts of one pair of formats. family: the GEMM family that they resemble;
    rates: None where they were not measured.
    """

    name: str
    family: str
    weights: str
    activations: str
    rates: ExpertRates | None = None


@dataclass(frozen=True, slots=True)
class KernelRates:
    """Calibrated rates of the kernels that are not dense GEMMs; None where a kernel was not measured.

    prefill_bf16, prefill_bf16_fp8kv, prefill_fp8: by the formats of queries and KV cache.
    decode_bf16, decode_fp8kv: by the format of the KV cache.
    """

    prefill_bf16: PrefillRates | None = None
    prefill_bf16_fp8kv: PrefillRates | None = None
    prefill_fp8: PrefillRates | None = None
    decode_bf16: DecodeRates | None = None
    decode_fp8kv: DecodeRates | None = None
    conv_prefill: ConvRates | None = None
    conv_decode: ConvUpdateRates | None = None
    all_reduce: AllReduceRates | None = None


@dataclass(frozen=True, slots=True)
class Cores:
    """The chip's cores and the rates they share.

    memory_bytes:     operands in flight in a core.
    bandwidth:        bytes per second from DRAM, achieved.
    store:            bytes per second of results on their way to memory (L2 takes them first).
    reduce_seconds:   gathering the parts of a GEMM whose K was split.
    step_seconds:     one element of K through dependent multiply-adds.
    sustained:        loss of rate under lasting load: 1 + sustained * t/(t + knee).
    knee_seconds:     load that lasts this long has cost half of that.
    stream:           bytes per second of long reads: the memory's peak less refresh.
    cache_bytes:      of L2.
    prefill_rows, prefill_keys: queries and keys of a tile of prefill attention.
    decode_rule, decode_fill, decode_least: how decode attention splits a sequence's positions (mapping.gpu.attention).
    fitted: rates of this chip that `calibrate` finds besides the common ones.
    experts:          the library's kernels for experts, in order of preference.
    kernel_rates:     calibrated rates of the other kernels.
    kernels, calibration: the files they come from.
    warm_bytes:       weights that stay in L2 from one repeat of a benchmark to the next; none in whole models.
    """

    count: int
    memory_bytes: int
    families: tuple[Family, ...]
    bandwidth: float = 0.0
    store: float = 0.0
    reduce_seconds: float = 0.0
    step_seconds: float = 0.0
    sustained: float = 0.0
    warm_bytes: float = 0.0
    knee_seconds: float = 50e-6
    stream: float = 0.0
    cache_bytes: int = 0
    prefill_rows: int = 128
    prefill_keys: int = 128
    decode_rule: str = "xqa"
    decode_fill: float = 8.0
    decode_least: int = 128
    fitted: tuple[str, ...] = ()
    kernels: str = ""
    calibration: str | None = None
    experts: tuple[ExpertKernel, ...] = ()
    kernel_rates: KernelRates = KernelRates()

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
        """The cores at these rates, SI units: bandwidth, store, reduce, step (64 elements of K), warm, sustained,
        over_rows; FAMILY.launch, .rate, .feed. Families that are not named keep theirs.
        """
        families = tuple(
            replace(
                f,
                launch_seconds=values.get(f"{f.name}.launch", f.launch_seconds),
                macs_per_second=values.get(f"{f.name}.rate", f.macs_per_second),
                feed_per_second=values.get(f"{f.name}.feed", f.feed_per_second),
                over_rows=values.get("over_rows", 0.0) if f.fetches_beyond else 0.0,
            )
            for f in self.families
        )
        return replace(
            self,
            families=families,
            bandwidth=values["bandwidth"],
            store=values["store"],
            reduce_seconds=values["reduce"],
            step_seconds=values["step"] / 64,
            sustained=values.get("sustained", 0.0),
            warm_bytes=values["warm"],
        )
