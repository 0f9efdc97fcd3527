"""Arch: a machine as the simulator sees it. Frozen numbers in cycles of one clock; no files here."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from hwsim.arch.compute import DotArray
from hwsim.arch.cores import Cores
from hwsim.arch.link import Link


@dataclass(frozen=True, slots=True)
class Refresh:
    """How DRAM refresh takes time from the channel.

    kind: "none"; "spread": the exact share stall/period of all time, no phase;
          "all_bank": the channel stops in [k*period - stall, k*period), k >= 1.
    """

    kind: str = "none"
    period_cycles: Fraction = Fraction(0)
    stall_cycles: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class Dram:
    """One memory channel that serves in program order.

    beat_bytes: burst granularity; every transfer is rounded up to it.
    row_miss_cycles: exposed time per `row_bytes` moved (0: hidden by banks).
    turnaround_cycles: each change between reading and writing.
    """

    bytes_per_cycle: Fraction
    latency_cycles: int
    beat_bytes: int
    capacity_bytes: int
    refresh: Refresh = Refresh()
    row_bytes: int = 0
    row_miss_cycles: int = 0
    turnaround_cycles: int = 0

    @property
    def stream(self) -> Fraction:
        """Bytes a cycle of long reads: the peak less refresh."""
        refresh = self.refresh
        stopped = refresh.stall_cycles / refresh.period_cycles if refresh.period_cycles else 0
        return self.bytes_per_cycle * (1 - stopped)


@dataclass(frozen=True, slots=True)
class Vector:
    """Elementwise unit: `elements_per_cycle` passes a cycle."""

    elements_per_cycle: Fraction
    latency_cycles: int


@dataclass(frozen=True, slots=True)
class Dequantise:
    """Turns a stored format into one that the dot array lists."""

    weights_per_cycle: Fraction
    latency_cycles: int


@dataclass(frozen=True, slots=True)
class Regenerate:
    """LFSR weight regenerators: `blocks_per_cycle` seed blocks a cycle into format `feeds`."""

    blocks_per_cycle: Fraction
    latency_cycles: int
    feeds: str


@dataclass(frozen=True, slots=True)
class Round:
    """LFSR rounding units on the way of SSM state to memory: `elements_per_cycle` rounded stochastically."""

    elements_per_cycle: Fraction
    latency_cycles: int


@dataclass(frozen=True, slots=True)
class Launch:
    """Time to start one op; serial, ahead of its first DRAM read."""

    interval_cycles: Fraction


@dataclass(frozen=True, slots=True)
class Stack:
    """What the software around the kernels costs: no property of the chip.

    launch_seconds: start of a kernel that is no product (products carry their own, calibrated).
    layer_seconds, step_seconds, sequence_seconds: of each layer, each step, and each sequence of a decode step, not
    hidden behind the device; they count in serving, not in a single step.
    """

    launch_seconds: float = 0.0
    layer_seconds: float = 0.0
    step_seconds: float = 0.0
    sequence_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Buffers:
    """On-chip bytes: streamed operand (weights, KV, state), activations, partial sums and results."""

    weights: int
    activations: int
    outputs: int


@dataclass(frozen=True, slots=True)
class Arch:
    """A machine: servers, buffers, and the tiles its kernels offer.

    dot: its compute unit, one of the classes of `compute`.
    activations: "on_chip" (touch DRAM only on overflow) or "dram" (each op reads and writes them there).
    tiles: menu of (M, N, K) tiles; a tile is clipped to the op, and must fit the buffers.
    kv, state: default cache formats; a state ending in `_sr` is rounded stochastically.
    technology, idle_watts: a name of `hwsim.arch.technology` and static power, for `cost`; None: not known.
    warnings: what sizing costs, found at load.
    """

    name: str
    description: str
    clock_hz: Fraction
    dram: Dram
    buffers: Buffers
    dot: DotArray
    activations: str
    tiles: tuple[tuple[int, int, int], ...]
    kv: str = "bf16"
    state: str = "fp32"
    hypothetical: bool = False
    vector: Vector | None = None
    dequantise: Dequantise | None = None
    regenerate: Regenerate | None = None
    round: Round | None = None
    link: Link | None = None
    launch: Launch | None = None
    cores: Cores | None = None
    stack: Stack | None = None
    technology: str | None = None
    idle_watts: Fraction | None = None
    warnings: tuple[str, ...] = ()

    def seconds(self, cycles: int | Fraction) -> float:
        """Cycles of this machine's clock in seconds."""
        return float(cycles / self.clock_hz)
