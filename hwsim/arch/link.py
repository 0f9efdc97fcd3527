"""Link: what joins the chips, and how long a collective occupies it.

Costs in the usual model of a latency per message and a time per byte (Thakur, Rabenseifner and Gropp, "Optimization of
Collective Communication Operations in MPICH", 2005). All chips send and receive at once; sums are made at the link's
rate. With N chips and S bytes of the whole vector (all_to_all: of what one chip sends, its own share included):

                     ring: steps, bytes through a port      switch: steps, bytes through a port
    all_gather       N - 1,    (N - 1)/N S                  1, (N - 1)/N S
    reduce_scatter   N - 1,    (N - 1)/N S                  1, (N - 1)/N S
    all_reduce       2(N - 1), 2(N - 1)/N S                 2, 2(N - 1)/N S  or  1, (N - 1) S: the faster
    all_to_all       N - 1,    (N - 1)/2 S                  1, (N - 1)/N S

Ring: neighbours only, one way round; in all_to_all the piece for the chip d places on crosses d links. Switch: every
chip reaches every other at its full rate (NVSwitch); an all_reduce is a reduce_scatter and an all_gather, or each
chip sends its whole vector to all the others (one shot), which is faster for small ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from pydantic import Field

from hwsim.arch.scalars import ByteRate, Latency, byte_rate_text, duration_text
from hwsim.files.fields import FilePart

COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")
TOPOLOGIES = ("ring", "switch")


class LinkFile(FilePart):
    """What joins the chips of a run with `chips` above 1."""

    bandwidth: ByteRate = Field(description="All ports of one chip together, each direction.", examples=["450 GB/s"])
    latency: Latency = Field(description="One step of a collective.", examples=["1 us"])
    topology: Literal["ring", "switch"] = Field(
        description="ring: neighbours only; switch: every chip reaches every other at full rate.",
        examples=["switch"],
    )


@dataclass(frozen=True, slots=True)
class Link:
    """Ports of one chip to the others.

    bytes_per_cycle: all ports together, each direction. latency_cycles: one step. topology: "ring" or "switch".
    """

    bytes_per_cycle: Fraction
    latency_cycles: Fraction
    topology: str

    @classmethod
    def of(cls, file: LinkFile, clock: Fraction) -> Link:
        """The file's link in cycles of the clock, exact."""
        return cls(file.bandwidth.per_cycle(clock), file.latency.cycles(clock), file.topology)

    def file(self, clock: Fraction) -> dict[str, Any]:
        """The link as a machine file states it."""
        return {
            "bandwidth": byte_rate_text(self.bytes_per_cycle, clock),
            "latency": duration_text(self.latency_cycles, clock),
            "topology": self.topology,
        }

    def volume(self, collective: str, nbytes: int, chips: int) -> Fraction:
        """Bytes through one chip's port, the least of the ways there are."""
        if collective == "all_to_all" and self.topology == "ring":
            return Fraction(nbytes * (chips - 1), 2)
        passes = 2 if collective == "all_reduce" else 1
        return Fraction(passes * (chips - 1) * nbytes, chips)

    def cycles(self, collective: str, nbytes: int, chips: int) -> Fraction:
        """Time of one collective, latency included."""
        passes = 2 if collective == "all_reduce" else 1
        steps = passes * (chips - 1) if self.topology == "ring" else passes
        time = steps * self.latency_cycles + self.volume(collective, nbytes, chips) / self.bytes_per_cycle
        if collective == "all_reduce" and self.topology == "switch":
            time = min(time, self.latency_cycles + (chips - 1) * nbytes / self.bytes_per_cycle)
        return time
