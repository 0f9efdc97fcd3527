"""The units beside memory and dot array: each serves items in order, at a rate and with a latency.

Also what starts an op (`Launch`) and what the software around the kernels costs (`Stack`).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from pydantic import Field

from hwsim.arch.scalars import (
    BlockRate,
    Duration,
    ElementRate,
    FormatName,
    Latency,
    Size,
    WeightRate,
    cycles_text,
    duration_text,
    size_text,
    whole_cycles,
)
from hwsim.arch.units import SeedLatency, latency_cycles
from hwsim.files.fields import FilePart
from hwsim.quantities import write


class VectorFile(FilePart):
    """The unit for everything that is not a GEMM."""

    rate: ElementRate = Field(
        description="Elements of the whole chip, one elementary operation on each.",
        examples=["128 element/cycle"],
    )
    latency: Latency = Field(description="From an element to its result.", examples=["30 cycles"])


@dataclass(frozen=True, slots=True)
class Vector:
    """Elementwise unit: `elements_per_cycle` passes per cycle."""

    elements_per_cycle: Fraction
    latency_cycles: int

    @classmethod
    def of(cls, file: VectorFile, clock: Fraction) -> Vector:
        """The file's unit in cycles of the clock."""
        return cls(file.rate.per_cycle(clock), whole_cycles(file.latency, clock))

    def file(self, clock: Fraction) -> dict[str, Any]:
        """The unit as a machine file states it."""
        return {
            "rate": write(self.elements_per_cycle, "element/cycle"),
            "latency": cycles_text(self.latency_cycles),
        }


class DequantiseFile(FilePart):
    """The unit that turns stored formats into one that the dot array lists."""

    rate: WeightRate = Field(description="Weights converted, the whole chip.", examples=["8448 weight/cycle"])
    latency: Latency = Field(description="From a stored weight to its converted value.", examples=["30 cycles"])


@dataclass(frozen=True, slots=True)
class Dequantise:
    """Turns a stored format into one that the dot array lists."""

    weights_per_cycle: Fraction
    latency_cycles: int

    @classmethod
    def of(cls, file: DequantiseFile, clock: Fraction) -> Dequantise:
        """The file's unit in cycles of the clock."""
        return cls(file.rate.per_cycle(clock), whole_cycles(file.latency, clock))

    def file(self, clock: Fraction) -> dict[str, Any]:
        """The unit as a machine file states it."""
        return {
            "rate": write(self.weights_per_cycle, "weight/cycle"),
            "latency": cycles_text(self.latency_cycles),
        }


class RegenerateFile(FilePart):
    """The units that make weights from LFSR seeds."""

    rate: BlockRate = Field(description="Seed blocks decoded, the whole chip.", examples=["16 block/cycle"])
    latency: SeedLatency = Field(
        description="From a seed block to its weights: a time, or units of the RTL.", examples=["6 cycles"]
    )
    feeds: FormatName = Field(description="Format of the weights it hands to the dot array.", examples=["bf16"])


@dataclass(frozen=True, slots=True)
class Regenerate:
    """LFSR weight regenerators: `blocks_per_cycle` seed blocks per cycle into format `feeds`."""

    blocks_per_cycle: Fraction
    latency_cycles: int
    feeds: str

    @classmethod
    def of(cls, file: RegenerateFile, clock: Fraction) -> Regenerate:
        """The file's units in cycles of the clock."""
        return cls(file.rate.per_cycle(clock), latency_cycles(file.latency, clock), file.feeds)

    def file(self, clock: Fraction) -> dict[str, Any]:
        """The units as a machine file states them; a latency taken from the RTL as its cycles."""
        return {
            "rate": write(self.blocks_per_cycle, "block/cycle"),
            "latency": cycles_text(self.latency_cycles),
            "feeds": self.feeds,
        }


class GatherFile(FilePart):
    """Banked on-chip memory that rows are read from, or added to, at places that only the data tell."""

    ports: int = Field(ge=1, le=64, description="Rows that are served together, in program order.", examples=[4])
    banks: int = Field(
        ge=1, le=1024, description="Banks; a group of rows takes as long as its fullest bank.", examples=[16]
    )
    width: Size = Field(description="Bytes of one word of a bank.", examples=["32 B"])
    latency: Latency = Field(description="From a request to its row.", examples=["4 cycles"])


@dataclass(frozen=True, slots=True)
class Gather:
    """Banked on-chip memory: `ports` rows at a time, words of `width_bytes` in `banks` banks."""

    ports: int
    banks: int
    width_bytes: int
    latency_cycles: int

    @classmethod
    def of(cls, file: GatherFile, clock: Fraction) -> Gather:
        """The file's memory in cycles of the clock."""
        return cls(file.ports, file.banks, file.width, whole_cycles(file.latency, clock))

    def file(self, clock: Fraction) -> dict[str, Any]:
        """The memory as a machine file states it."""
        return {
            "ports": self.ports,
            "banks": self.banks,
            "width": size_text(self.width_bytes),
            "latency": cycles_text(self.latency_cycles),
        }


class SortFile(FilePart):
    """The unit that sorts keys, as for top-k."""

    comparators: int = Field(ge=1, le=65536, description="Keys compared per cycle, in pairs.", examples=[32])
    latency: Latency = Field(description="From the last key to the first result.", examples=["8 cycles"])


@dataclass(frozen=True, slots=True)
class Sort:
    """A sorter of `comparators`: a bitonic network used again and again, or one list kept in order."""

    comparators: int
    latency_cycles: int

    @classmethod
    def of(cls, file: SortFile, clock: Fraction) -> Sort:
        """The file's unit in cycles of the clock."""
        return cls(file.comparators, whole_cycles(file.latency, clock))

    def file(self, clock: Fraction) -> dict[str, Any]:
        """The unit as a machine file states it."""
        return {"comparators": self.comparators, "latency": cycles_text(self.latency_cycles)}


class RoundFile(FilePart):
    """LFSR units that round SSM state stochastically on its way to memory."""

    rate: ElementRate = Field(description="Elements rounded, the whole chip.", examples=["256 element/cycle"])
    latency: Latency = Field(description="From an element to its rounded value.", examples=["2 cycles"])


@dataclass(frozen=True, slots=True)
class Round:
    """LFSR rounding units on the way of SSM state to memory: `elements_per_cycle` rounded stochastically."""

    elements_per_cycle: Fraction
    latency_cycles: int

    @classmethod
    def of(cls, file: RoundFile, clock: Fraction) -> Round:
        """The file's units in cycles of the clock."""
        return cls(file.rate.per_cycle(clock), whole_cycles(file.latency, clock))

    def file(self, clock: Fraction) -> dict[str, Any]:
        """The units as a machine file states them."""
        return {
            "rate": write(self.elements_per_cycle, "element/cycle"),
            "latency": cycles_text(self.latency_cycles),
        }


class LaunchFile(FilePart):
    """Starting an op."""

    interval: Duration = Field(
        description="Time from one start to the next, ahead of the op's first read.", examples=["2 us"]
    )


@dataclass(frozen=True, slots=True)
class Launch:
    """Time to start one op; serial, ahead of its first DRAM read."""

    interval_cycles: Fraction

    @classmethod
    def of(cls, file: LaunchFile, clock: Fraction) -> Launch:
        """The file's interval in cycles of the clock, exact."""
        return cls(file.interval.cycles(clock))

    def file(self, clock: Fraction) -> dict[str, Any]:
        """The interval as a machine file states it."""
        return {"interval": duration_text(self.interval_cycles, clock)}


class StackFile(FilePart):
    """The software around the kernels."""

    launch: Latency = Field(description="Start of a kernel that is not a GEMM.", examples=["2 us"])
    layer: Latency = Field(description="Per layer, not hidden behind the device.", examples=["0 us"])
    step: Latency = Field(description="Per step, not hidden behind the device.", examples=["100 us"])
    sequence: Latency = Field(description="Per sequence of a decode step, not hidden either.", examples=["0 us"])


@dataclass(frozen=True, slots=True)
class Stack:
    """What the software around the kernels costs; it is not a property of the chip.

    launch_seconds: start of a kernel that is not a GEMM (GEMM kernels carry their own, calibrated).
    layer_seconds, step_seconds, sequence_seconds: per layer, per step, and per sequence of a decode step, not hidden
    behind the device; they count in serving, not in a single step.
    """

    launch_seconds: float = 0.0
    layer_seconds: float = 0.0
    step_seconds: float = 0.0
    sequence_seconds: float = 0.0

    @classmethod
    def of(cls, file: StackFile, clock: Fraction) -> Stack:
        """The file's times in seconds."""
        times = (file.launch, file.layer, file.step, file.sequence)
        return cls(*(float(time.cycles(clock) / clock) for time in times))

    def file(self) -> dict[str, Any]:
        """The times as a machine file states them."""
        times = {
            "launch": self.launch_seconds,
            "layer": self.layer_seconds,
            "step": self.step_seconds,
            "sequence": self.sequence_seconds,
        }
        return {name: write(Fraction(str(seconds)), "s") for name, seconds in times.items()}
