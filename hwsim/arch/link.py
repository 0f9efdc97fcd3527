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

Levels: `link` may be a list, from the inside out: chips in groups of `chips` (a node, a rack), those groups joined by
the next level. A collective over more chips than a group holds runs at each level in turn: over the chips of a group,
then over the groups, where each chip carries its share of the vector (all_to_all: what leaves its group).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

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


class LinkLevelFile(LinkFile):
    """One level of links: what joins the chips of a group, or the groups of the level before."""

    chips: int = Field(ge=2, description="Chips that it spans, those of inner levels included.", examples=[8])


def _form(value: Any) -> str:
    return "levels" if isinstance(value, list) else "one"


LinkFiles = Annotated[
    Annotated[LinkFile, Tag("one")] | Annotated[list[LinkLevelFile], Field(min_length=1), Tag("levels")],
    Discriminator(_form),
]


@dataclass(frozen=True, slots=True)
class Link:
    """Ports of one chip to the others.

    bytes_per_cycle: all ports together, each direction. latency_cycles: one step. topology: "ring" or "switch".
    chips: how many it spans (0: all). outer: the next level, which joins groups of `chips`.
    """

    bytes_per_cycle: Fraction
    latency_cycles: Fraction
    topology: str
    chips: int = 0
    outer: Link | None = None

    @classmethod
    def of(cls, file: LinkFile | list[LinkLevelFile], clock: Fraction) -> Link:
        """The file's link in cycles of the clock, exact."""
        if not isinstance(file, list):
            return cls(file.bandwidth.per_cycle(clock), file.latency.cycles(clock), file.topology)
        found: Link | None = None
        for level in reversed(file):
            one = cls(level.bandwidth.per_cycle(clock), level.latency.cycles(clock), level.topology)
            found = replace(one, chips=level.chips, outer=found)
        assert found is not None, "its schema refuses an empty list"
        return found

    @property
    def levels(self) -> tuple[Link, ...]:
        """From the inside out."""
        return (self, *self.outer.levels) if self.outer else (self,)

    def problems(self) -> list[tuple[tuple[str | int, ...], str]]:
        """(place, error) of levels that contradict one another."""
        levels = self.levels
        message = "is not a multiple above 1 of the {} chips of the level inside; write one, for example {}"
        return [
            (("link", i, "chips"), message.format(inner.chips, 8 * inner.chips))
            for i, (inner, outer) in enumerate(zip(levels, levels[1:], strict=False), 1)
            if outer.chips % inner.chips or outer.chips == inner.chips
        ]

    @property
    def span(self) -> int:
        """Chips that all levels join (0: any number)."""
        return self.levels[-1].chips

    def file(self, clock: Fraction) -> dict[str, Any] | list[dict[str, Any]]:
        """The link as a machine file states it."""
        found: dict[str, Any] = {
            "bandwidth": byte_rate_text(self.bytes_per_cycle, clock),
            "latency": duration_text(self.latency_cycles, clock),
            "topology": self.topology,
        }
        if not self.chips:
            return found
        more = self.outer.file(clock) if self.outer else []
        return [found | {"chips": self.chips}, *more]

    def inside(self, chips: int, stride: int = 1) -> int:
        """How many of `chips`, which lie `stride` apart, are in one group."""
        return min(chips, max(1, self.chips // stride)) if self.chips and self.outer else chips

    def volume(self, collective: str, nbytes: int, chips: int, stride: int = 1) -> Fraction:
        """Bytes through one chip's ports of the innermost level, the least of the ways there are."""
        inside = self.inside(chips, stride)
        if collective == "all_to_all":
            share = Fraction(nbytes * inside, chips)
            return share * (inside - 1) / (2 if self.topology == "ring" else inside)
        passes = 2 if collective == "all_reduce" else 1
        return Fraction(passes * (inside - 1) * nbytes, inside)

    def cycles(self, collective: str, nbytes: int, chips: int, stride: int = 1) -> Fraction:
        """Time of one collective over `chips` that lie `stride` apart, latency included."""
        if chips == 1:
            return Fraction(0)
        inside = self.inside(chips, stride)
        if inside < chips:
            groups = -(-chips // inside)
            there = nbytes if collective == "all_to_all" else -(-nbytes // inside)
            here = nbytes * inside // chips if collective == "all_to_all" else nbytes
            apart = max(1, stride // self.chips)
            return self.cycles(collective, here, inside) + self._beyond().cycles(collective, there, groups, apart)
        passes = 2 if collective == "all_reduce" else 1
        steps = passes * (chips - 1) if self.topology == "ring" else passes
        time = steps * self.latency_cycles + self.volume(collective, nbytes, chips) / self.bytes_per_cycle
        if collective == "all_reduce" and self.topology == "switch":
            time = min(time, self.latency_cycles + (chips - 1) * nbytes / self.bytes_per_cycle)
        return time

    def exchange(self, nbytes: int, copies: Callable[[int], float], chips: int, stride: int = 1) -> Fraction:
        """Time of an exchange in which what a chip has for several others leaves it once per group that they are in.

        nbytes: of one copy of everything that a chip sends. copies: of how many of so many groups (or chips) an item
        goes to one at least, in the mean. Between groups an item takes one copy per group and is passed on inside.
        """
        inside = self.inside(chips, stride)
        time = self.cycles("all_to_all", round(nbytes * copies(chips)), inside, stride)
        if inside < chips:
            groups = -(-chips // inside)
            there = self._beyond().exchange(nbytes, copies, groups, max(1, stride // self.chips))
            return time + there
        return time

    def sent(self, nbytes: int, stride: int) -> Fraction:
        """Time of a message to the chip `stride` further, over the level that joins them."""
        if self.outer and stride >= self.chips:
            return self._beyond().sent(nbytes, stride // self.chips)
        return self.latency_cycles + nbytes / self.bytes_per_cycle

    def _beyond(self) -> Link:
        """The next level, whose chips are the groups of this one."""
        assert self.outer is not None, "only a level with an outer one has groups"
        return self.outer._in(self.chips)

    def _in(self, chips: int) -> Link:
        return replace(self, chips=self.chips // chips, outer=self.outer and self.outer._in(chips))
