"""GPU kernels: launch and waves, and the small kernels that are no more than bytes, blocks or links.

A wave occupies DRAM, then the cores, then the write-back path. Each kernel says how its time is known (`mark`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from hwsim.arch.cores import AllReduceRates, ConvRates, ConvUpdateRates, Cores

#: Share of the shorter of read and work left over in one-wave kernels of many small blocks: fill and drain.
UNHIDDEN = 0.1
#: Bytes per cycle of the port between a core and L2 (Jia et al., arXiv 1804.06826).
PORT = 64
#: What time is spent on. reduction: gathering the parts of one sum, on a chip or between chips.
CAUSES = ("launch", "memory", "compute", "partial_wave", "reduction")
#: How a time is known: by a measured kernel; by one of another chip, format or state of the machine; by neither.
MARKS = ("measured", "transferred", "ideal")


class Provenance(NamedTuple):
    """How a kernel's time is known.

    mark: one of MARKS. uncertainty: of a transferred one, as a share of its time. note: what a reader must know.
    """

    mark: str
    uncertainty: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Wave:
    """`repeat` equal waves, seconds. part: share of the shorter of read and core that the other does not hide.

    idle: share of the cores that have no work in it. cause: of all its time, where it is neither memory nor compute.
    """

    repeat: int
    read: float
    core: float
    result: float
    store: float
    part: float = 0.0
    idle: float = 0.0
    cause: str = ""

    @property
    def seconds(self) -> float:
        """Time of one of them."""
        return max(self.core, self.read) + self.part * min(self.core, self.read) + self.result + self.store

    @property
    def causes(self) -> dict[str, float]:
        """Seconds of one of them by cause."""
        if self.cause:
            return {self.cause: self.seconds}
        if self.read > self.core:
            return {"memory": self.read + self.store, "compute": self.part * self.core + self.result}
        partial = self.idle * self.core
        return {
            "memory": self.part * self.read + self.store,
            "compute": self.core - partial + self.result,
            "partial_wave": partial,
        }


@dataclass(frozen=True, slots=True)
class Kernel:
    """Launch and waves, seconds; bytes that cross the memory. mark, uncertainty: as in `Provenance`.

    notes: what a reader must know; each is said once, though several kernels have it.
    """

    launch: float
    waves: tuple[Wave, ...]
    read_bytes: int = 0
    store_bytes: int = 0
    mark: str = "measured"
    uncertainty: float = 0.0
    notes: tuple[str, ...] = ()

    def known(self, by: Provenance, *more: str) -> Kernel:
        """The same kernel, whose time is known in this way. more: further notes; empty ones are left out."""
        return replace(self, mark=by.mark, uncertainty=by.uncertainty, notes=tuple(filter(None, (by.note, *more))))

    def slowed(self, factor: float) -> Kernel:
        """The same kernel, whose waves take `factor` times as long."""
        times = ("read", "core", "result", "store")
        waves = [replace(w, **{name: factor * getattr(w, name) for name in times}) for w in self.waves]
        return replace(self, waves=tuple(waves))

    @property
    def seconds(self) -> float:
        """Time in closed form; the simulator finds the same from servers and buffers."""
        return self.launch + sum(w.repeat * w.seconds for w in self.waves)

    @property
    def causes(self) -> dict[str, float]:
        """Seconds by cause; they sum to `seconds`."""
        found = dict.fromkeys(CAUSES, 0.0) | {"launch": self.launch}
        for wave in self.waves:
            for cause, seconds in wave.causes.items():
                found[cause] += wave.repeat * seconds
        return found


def overlapped(read: float, core: float, power: float) -> float:
    """`part` of a wave that takes (read^p + core^p)^(1/p): neither hides the other where they are about equal."""
    low, high = min(read, core), max(read, core)
    if not low:
        return 0.0
    return float(((low / high) ** power + 1) ** (1 / power) - 1) * high / low


def elementwise(nbytes: float, work: float, launch: float, cores: Cores) -> Kernel:
    """A kernel without weights to multiply: bytes over the memory or `work` seconds on its lanes, the longer."""
    return Kernel(launch, (Wave(1, nbytes / cores.bandwidth, work, 0.0, 0.0),), int(nbytes), mark="ideal")


def convolution(sequences: int, tokens: int, channels: int, cores: Cores, rates: ConvRates) -> Kernel:
    """Causal convolution of prompts: one block per sequence and channel, five of them on a core.

    Fewer than eight tokens take a slower path, by 1.3 on both measured chips. What it copies grows with the memory and
    with the cores, each by half (H200 copies 1.2 times as fast as H100 with 1.43 times the memory); never faster than
    the memory.
    """
    nbytes = 4 * sequences * tokens * channels
    blocks = -(-sequences * channels // (5 * cores.count))
    work = blocks * rates.block_cycles / cores.peaks.clock_hz * (1.3 if tokens < 8 else 1.0)
    mean = (cores.peaks.dram * PORT * cores.cycles_per_second) ** 0.5
    read = nbytes / min(rates.copy_share * mean, cores.peaks.stream)
    idle = 1 - sequences * channels / (5 * cores.count * blocks)
    return Kernel(rates.launch_seconds, (Wave(1, read, work, 0.0, 0.0, UNHIDDEN, idle),), nbytes)


def conv_update(sequences: int, channels: int, cores: Cores, rates: ConvUpdateRates, warm: bool = False) -> Kernel:
    """Convolution of one token per sequence: its state is read and written, in place.

    warm: as in a benchmark, which repeats it: a state of less than half of L2 (whose two halves hold a copy each) is
    found there; a larger one is read in turn and gone before it comes round again, so that none of it is found.
    """
    nbytes = 16 * sequences * channels
    rate = rates.copy_share * cores.peaks.dram
    if warm and nbytes <= cores.peaks.cache:
        rate = rates.cached_bytes * cores.cycles_per_second
    return Kernel(rates.launch_seconds, (Wave(1, nbytes / rate, 0.0, 0.0, 0.0),), nbytes)


def all_reduce(chips: int, nbytes: float, cores: Cores, rates: AllReduceRates) -> Kernel:
    """A sum over chips: in one step (each sends all), in two (scatter, gather), or in the switch, the fastest.

    Source: Thakur et al., IJHPCA 19, 2005; the switch adds up what it is sent (NVLink SHARP): each chip sends its
    vector once and takes one share of it back.
    """
    one = nbytes / (rates.link_share * cores.peaks.link)
    ways = [(chips - 1) * one, rates.second_seconds + 2 * (chips - 1) / chips * one]
    if chips > 2:
        ways.append(rates.switch_seconds + (1 + 1 / chips) * one)
    return Kernel(rates.launch_seconds, (Wave(1, 0.0, min(ways), 0.0, 0.0, cause="reduction"),))
