"""What work takes on a machine: each different kernel once, by the same jobs that simulate a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

from hwsim.arch.machine import TileMachine
from hwsim.formats.layout import Layout
from hwsim.jobs.tile import TileJob
from hwsim.jobs.training.work import Work
from hwsim.mapping.operands import Formats, operands
from hwsim.mapping.program import SERVERS
from hwsim.mapping.traffic import Traffic, work_cycles
from hwsim.workload.op import Op

Key = tuple[Op, Layout, Layout]


@dataclass(frozen=True)
class Price:
    """seconds: as simulated. server: seconds of each server at its peak rate. mark: how the time is known.

    moved, dram: bytes by kind, and those that cross the DRAM in whole beats. macs: of both arrays.
    """

    seconds: float
    server: dict[str, float]
    mark: str
    moved: Traffic
    dram: int
    macs: int


@dataclass(frozen=True)
class Prices:
    """The price of every kernel. notes: of the kernels, for the Result."""

    found: dict[Key, Price]
    notes: tuple[str, ...]

    def seconds(self, work: Work) -> float:
        """What the work takes."""
        seconds = float(work.share * work.times * work.slower) * self.found[_key(work)].seconds
        return max(seconds, self.found[_key(_beside(work))].seconds) if work.beside else seconds

    def mark(self, work: Work) -> str:
        """How its time is known; several times another kernel's time is a transferred one."""
        mark = self.found[_key(work)].mark
        return "transferred" if work.times != 1 or work.slower != 1 else mark

    def parts(self, work: Work) -> list[tuple[Price, float]]:
        """Prices of what the work consists of, and how much of each."""
        whole = [(self.found[_key(work)], float(work.share * work.times))]
        return whole + ([(self.found[_key(_beside(work))], 1.0)] if work.beside else [])

    def servers(self, work: Work) -> dict[str, float]:
        """Seconds of each server at its peak rate."""
        found: dict[str, float] = {}
        for price, times in self.parts(work):
            added(found, price.server, times)
        return found


def _key(work: Work) -> Key:
    return replace(work.op, name="", layer=-1), work.right, work.left


def _beside(work: Work) -> Work:
    assert work.beside is not None
    return Work(work.part, work.when, work.beside)


def prices(arch: TileMachine, work: Iterable[Work]) -> Prices:
    """Simulate each different kernel once. raises: InputError for pairs that the machine cannot multiply."""
    groups: dict[tuple[Layout, Layout], dict[Op, Op]] = {}
    every = [each for one in work for each in ((one, _beside(one)) if one.beside else (one,))]
    for each in every:
        shape, right, left = _key(each)
        groups.setdefault((right, left), {}).setdefault(shape, each.op)
    found: dict[Key, Price] = {}
    notes: dict[str, None] = {}
    for (right, left), ops in groups.items():
        formats = Formats.of(right, left.by_rows(), "bf16", "fp32")
        job = TileJob(arch, tuple(ops.values()), formats, "walk", name="training step", phase="train", config={})
        outcome = job.simulate("walk")
        tiled = job.choice[1]
        for (shape, op), ticks, one in zip(ops.items(), outcome.by_op, tiled, strict=True):
            opd = operands(arch, op, formats)
            peak = {name: arch.seconds(1) * float(cycles) for name, cycles in work_cycles(arch, op, opd).items()}
            notes |= dict.fromkeys((*opd.notes, *(one.kernel.notes if one.kernel else ())))
            seconds = ticks / job.pipeline.q * arch.seconds(1)
            mark = one.kernel.mark if one.kernel else "ideal"
            macs = op.dot_macs + op.vector_macs
            found[shape, right, left] = Price(seconds, peak, mark, one.moved, one.dram_bytes, macs)
    return Prices(found, tuple(notes))


def training_machine(arch: TileMachine) -> TileMachine:
    """The machine as training uses its kernels: encodes are work of their own, so no GEMM begins with one."""
    if arch.cores is None:
        return arch
    wide = arch.cores.family("bf16", "bf16")
    launch = wide.launch_seconds if wide else 0.0
    families = tuple(
        replace(f, quantise_seconds=0.0, launch_seconds=min(f.launch_seconds, launch) if wide else f.launch_seconds)
        for f in arch.cores.families
    )
    return replace(arch, cores=replace(arch.cores, families=families))


def busiest(servers: dict[str, float]) -> tuple[str, float]:
    """The server with the most work; ties go to the earlier one."""
    known = [name for name in SERVERS if name in servers]
    name = max(known, key=lambda each: servers[each])
    return name, servers[name]


def added(into: dict[str, float], more: dict[str, float], times: float | Fraction = 1) -> None:
    """Add seconds by server."""
    for name, seconds in more.items():
        into[name] = into.get(name, 0.0) + float(times) * seconds
