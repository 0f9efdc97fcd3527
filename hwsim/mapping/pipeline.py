"""Pipeline: a tile machine in integer ticks.

One tick is 1/q cycle, q a common multiple of every rate's numerator, so each interval is exact.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from math import lcm

from hwsim.arch.machine import TileMachine
from hwsim.mapping.operands import Operands
from hwsim.mapping.program import (
    DEQUANTISE,
    DOT,
    DRAM,
    GATHER,
    LAUNCH,
    QUEUE_TILES,
    REGENERATE,
    ROUND,
    SERVERS,
    SORT,
    VECTOR,
)


@dataclass(frozen=True)
class Pipeline:
    """Servers and buffers of one machine in ticks.

    q: ticks per cycle. latency: ticks, by server. capacity: bytes or tiles, by buffer.
    period, stall: all-bank refresh in ticks (0, 0: none).
    """

    q: int
    latency: tuple[int, ...]
    capacity: tuple[int, ...]
    period: int = 0
    stall: int = 0
    machine: TileMachine | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, arch: TileMachine) -> Pipeline:
        """The machine in ticks."""
        rates = [arch.dram.rate] + [r.macs_per_cycle for r in arch.dot.rates]
        cycles: list[Fraction | int] = []
        latency: list[Fraction | int] = [0] * len(SERVERS)
        latency[DRAM], latency[DOT] = arch.dram.latency_cycles, arch.dot.latency_cycles + arch.dot.fill_cycles
        if arch.regenerate:
            rates.append(arch.regenerate.blocks_per_cycle)
            latency[REGENERATE] = arch.regenerate.latency_cycles
        if arch.dequantise:
            rates.append(arch.dequantise.weights_per_cycle)
            latency[DEQUANTISE] = arch.dequantise.latency_cycles
        if arch.gather:
            latency[GATHER] = arch.gather.latency_cycles
        if arch.sort:
            latency[SORT] = arch.sort.latency_cycles
        if arch.vector:
            rates.append(arch.vector.elements_per_cycle)
            latency[VECTOR] = arch.vector.latency_cycles
        if arch.round:
            rates.append(arch.round.elements_per_cycle)
            latency[ROUND] = arch.round.latency_cycles
        if arch.launch:  # an op may begin when its launch is complete
            cycles.append(arch.launch.interval_cycles)
            latency[LAUNCH] = arch.launch.interval_cycles
        refresh = arch.dram.refresh
        if refresh.kind == "all_bank":
            cycles += [refresh.period_cycles, refresh.stall_cycles]
        q = lcm(*(Fraction(r).numerator for r in rates), *(Fraction(c).denominator for c in cycles))
        stops = refresh.kind == "all_bank"
        return cls(
            q=q,
            # a kernel's launch, as measured, holds its first access and last result
            latency=tuple(0 if arch.cores else int(c * q) for c in latency),
            capacity=(
                arch.buffers.weights,
                arch.buffers.activations,
                arch.buffers.outputs,
                QUEUE_TILES,
                QUEUE_TILES,
                QUEUE_TILES,
                QUEUE_TILES,
            ),
            period=int(refresh.period_cycles * q) if stops else 0,
            stall=int(refresh.stall_cycles * q) if stops else 0,
            machine=arch,
        )

    @property
    def arch(self) -> TileMachine:
        """The machine itself, for all that is not in ticks."""
        assert self.machine is not None, "a pipeline made by `of`"
        return self.machine

    def units(self, opd: Operands) -> list[int]:
        """Ticks per unit of each server's work for an op with these operands; exact, as `q` holds every rate."""
        units = list(self._units)
        if opd.rate is not None:
            units[DOT] = self._unit(opd.rate)
        if opd.converter is not None and opd.converter_rate is not None:
            units[opd.converter] = self._unit(opd.converter_rate)
        return units

    @cached_property
    def refreshed(self) -> Fraction:
        """Share of the channel's time that spread refresh takes."""
        refresh = self.arch.dram.refresh
        return Fraction(refresh.stall_cycles) / refresh.period_cycles if refresh.kind == "spread" else Fraction(0)

    def _unit(self, rate: Fraction | int) -> int:
        return self.q * rate.denominator // rate.numerator

    @cached_property
    def _units(self) -> tuple[int, ...]:
        """Of the servers whose rate no operand decides. A collective is in ticks already."""
        arch, units = self.arch, [1] * len(SERVERS)
        units[DRAM], units[GATHER], units[SORT] = self._unit(arch.dram.rate), self.q, self.q
        if arch.vector:
            units[VECTOR] = self._unit(arch.vector.elements_per_cycle)
        if arch.round:
            units[ROUND] = self._unit(arch.round.elements_per_cycle)
        if arch.launch:
            units[LAUNCH] = int(arch.launch.interval_cycles * self.q)
        return tuple(units)
