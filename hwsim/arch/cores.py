"""Cores: the part of a GPU that a kernel's tiles are dealt to, the kernels its library has, and calibrated rates.

The menus (tiles, split-K) are data of chip and format, written by hand (`arch_configs/kernels/`). The rates are the
calibration (`arch_configs/calibration/`), written by `hwsim calibrate`: at most eight of the chip and three a family.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class CoreTile:
    """One kernel of the library: the outputs a core makes at once, and how many cores share a product's K.

    rows: the least and the most M that the library uses it for. chain: 1 where K goes through dependent
    multiply-adds; 0 where the lanes of a core share it and sum at the end.
    """

    m: int
    n: int
    split: int = 1
    rows: tuple[int, int] = (1, 1 << 30)
    chain: int = 1


@dataclass(frozen=True, slots=True)
class Family:
    """The GEMM kernels of one pair of formats.

    quantise_bytes:     moved for each activation element by the kernels that quantise ahead of the product.
    launch_seconds:     start of the kernel (or kernels), first access and last result.
    macs_per_second:    of one core on full tiles, at the clock of a short run.
    feed_per_second:    bytes that one core takes from L2, a second.
    fetches_beyond:     the kernel fetches the rows that its last tile has beyond M.
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
class Cores:
    """The chip's cores and the rates they share.

    memory_bytes:     operands in flight in a core.
    bandwidth:        bytes a second from DRAM, achieved.
    store:            bytes a second of results on their way to memory (L2 takes them first).
    reduce_seconds:   gathering the parts of a product whose K was split.
    step_seconds:     one element of K through dependent multiply-adds.
    sustained:        loss of rate under lasting load: 1 + sustained * t/(t + knee).
    knee_seconds:     load that lasts this long has cost half of that.
    stream:           bytes a second of long reads: the memory's peak less refresh.
    cache_bytes:      of L2.
    prefill_rows, prefill_keys: queries and keys of a tile of prefill attention.
    decode_rule, decode_fill, decode_least: how decode attention splits a sequence's positions (mapping.gpu.attention).
    fitted: rates of this chip that `calibrate` finds beside the common ones.
    kernels, calibration: the files they come from. others: calibrated numbers of kernels that are no products.
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
    others: dict[str, float] = field(default_factory=dict, hash=False)

    def family(self, weights: str, activations: str) -> Family | None:
        """The family of a pair of formats, the first of several, or None."""
        return next((f for f in self.families if (f.weights, f.activations) == (weights, activations)), None)

    def named(self, name: str) -> Family:
        """The family of a name."""
        return next(f for f in self.families if f.name == name)

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
