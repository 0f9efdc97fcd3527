"""Collectives of a training step on a machine's link or levels of links, in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import comb

from hwsim.arch.link import Link
from hwsim.arch.machine import TileMachine
from hwsim.workload.training.block import Collective
from hwsim.workload.training.options import Degrees

#: Bytes of an activation, or of its gradient, between chips.
WIDE_BYTES = 2


@dataclass(frozen=True, slots=True)
class Fabric:
    """The link between chips, as a training step uses it.

    seconds_per_cycle: of the machine's clock. share: of the link's peak that collectives reach: what the chip's
    measured all-reduces reach, or 1. start: seconds of a kernel's launch.
    """

    link: Link
    seconds_per_cycle: float
    share: float = 1.0
    start: float = 0.0

    @classmethod
    def of(cls, arch: TileMachine) -> Fabric | None:
        """The machine's link; None without one."""
        if arch.link is None:
            return None
        share, start = 1.0, 0.0
        if arch.cores:
            rates = arch.cores.kernel_rates.all_reduce or arch.cores.lent.all_reduce
            share = rates.link_share if rates else 1.0
            start = arch.stack.launch_seconds if arch.stack else 0.0
        return cls(arch.link, arch.seconds(1), share, start)

    def seconds(self, kind: str, nbytes: int, chips: int, stride: int = 1) -> float:
        """One collective over `chips` that lie `stride` apart in the order of the machine's links."""
        if chips == 1 or not nbytes:
            return 0.0
        return self.start + self.seconds_per_cycle * float(self._cycles(kind, nbytes, chips, stride))

    def collective(self, one: Collective, chips: int, stride: int = 1) -> float:
        """One collective of a pass, in seconds."""
        nbytes = one.elements * WIDE_BYTES
        if one.kind != "exchange" or chips == 1 or not nbytes:
            return self.seconds(one.kind, nbytes, chips, stride)
        cycles = self.link.exchange(
            round(nbytes / self.share), lambda groups: reached(groups, *one.picks), chips, stride
        )
        return self.start + self.seconds_per_cycle * float(cycles)

    def least(self, one: Collective, chips: int, stride: int = 1) -> float:
        """Seconds of a collective's bytes at the link's peak: what no schedule can beat."""
        nbytes = one.elements * WIDE_BYTES
        if one.kind == "exchange" and chips > 1:
            return self.volume("all_to_all", round(nbytes * reached(chips, *one.picks)), chips, stride)
        return self.volume(one.kind, nbytes, chips, stride)

    def _cycles(self, kind: str, nbytes: int, chips: int, stride: int) -> Fraction:
        name = "all_gather" if kind == "ring" else kind
        more = chips - 2 if kind == "ring" and self.link.topology != "ring" else 0
        return self.link.cycles(name, round(nbytes / self.share), chips, stride) + more * self.link.latency_cycles

    def sent(self, nbytes: int, stride: int) -> float:
        """From one stage of a pipeline to the next."""
        return self.seconds_per_cycle * float(self.link.sent(nbytes, stride))

    def volume(self, kind: str, nbytes: int, chips: int, stride: int = 1) -> float:
        """Seconds of a collective's bytes at the link's peak: what no schedule can beat."""
        if chips == 1:
            return 0.0
        kind = "all_gather" if kind == "ring" else kind
        return self.seconds_per_cycle * float(self.link.volume(kind, nbytes, chips, stride) / self.link.bytes_per_cycle)


def group(collective: Collective, degrees: Degrees) -> tuple[int, int]:
    """(chips, how far apart) of the degree whose chips take part; neighbours are those of tp, then cp, dp, pp."""
    return {"tp": (degrees.tp, 1), "cp": (degrees.cp, degrees.tp), "ep": (degrees.ep, 1)}[collective.group]


def reached(chips: int, experts: int, chosen: int) -> float:
    """In how many of so many chips, which divide the experts evenly, a token has one of those that it chooses, in the
    mean: N (1 - C(E - E/N, k) / C(E, k)), with every choice of k of E experts alike.
    """
    others = experts - experts // chips
    return chips * (1 - comb(others, chosen) / comb(experts, chosen))


def exposed(seconds: float, beside: float, pieces: int) -> float:
    """What of a collective is not hidden behind the kernel that it runs beside, in `pieces`: the first is never."""
    if not beside:
        return seconds
    return max(0.0, seconds - beside) + min(seconds, beside) / pieces
