"""The cycles in which a unit accepts and delivers: one timing contract for simulator, RTL and benches.

`Timing` is the closed form. The cycle models are step functions over clock edges: `step` takes what the
neighbours drive in a cycle (`in_valid`, `out_ready`), returns what the unit drives in it (`in_ready`,
`out_valid`), and advances past the edge. A transfer happens at an edge where valid and ready are both true. There are
four, `Rigid`, `Paced`, `Gearbox` and `Reduce`, and `Chain` joins them; no other room restates them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Timing:
    """A pipelined unit in cycles of its own clock.

    An input accepted at edge t is offered at t + latency (0 = combinational); the next input
    is accepted at t + interval or later.
    """

    latency: int
    interval: int = 1

    def __post_init__(self) -> None:
        if self.latency < 0 or self.interval < 1:
            raise ValueError(f"latency >= 0 and interval >= 1, not {self}")

    def cycles(self, n: int) -> int:
        """From the edge that accepts the first of `n` back-to-back inputs to the last output's edge."""
        return self.latency + self.interval * (n - 1) if n else 0


class Handshake(NamedTuple):
    """The signals that a unit drives in one cycle."""

    in_ready: bool
    out_valid: bool


class Rigid:
    """A pipeline whose stages share one enable: `advance = out_ready or not out_valid`, `in_ready = advance`.

    Bubbles are not closed up: it stalls whenever the last stage holds an output that is not accepted.

    latency: stages; 0 passes both signals through.
    """

    def __init__(self, latency: int):
        if latency < 0:
            raise ValueError(f"latency >= 0, not {latency}")
        self.latency = latency
        self._stages = [False] * latency

    @property
    def out_valid(self) -> bool:
        """Whether an output is offered in this cycle (latency >= 1: it does not depend on this cycle's inputs)."""
        return bool(self._stages and self._stages[-1])

    def in_ready(self, out_ready: bool) -> bool:
        """Whether an input is accepted in this cycle."""
        return bool(out_ready) or not self.out_valid if self.latency else bool(out_ready)

    def step(self, in_valid: bool, out_ready: bool, keep: bool = True) -> Handshake:
        """One cycle; `keep` false: the input is accepted but never offered (it ends inside the unit)."""
        if not self.latency:
            return Handshake(bool(out_ready), bool(in_valid and keep))
        seen = Handshake(self.in_ready(out_ready), self.out_valid)
        if seen.in_ready:
            self._stages.pop()
            self._stages.insert(0, bool(in_valid and keep))
        return seen

    def reset(self) -> None:
        """Empty every stage, as the synchronous reset does."""
        self._stages = [False] * self.latency


class Paced(Rigid):
    """A rigid pipeline that accepts an input only `interval` moves of its stages after the one before, or later.

    Between two inputs its stages move on with bubbles, so an interval counts cycles in which it does not stall.

    latency:  stages, at least 1.
    interval: moves from one input to the next, at least 1.
    """

    def __init__(self, latency: int, interval: int):
        if latency < 1 or interval < 1:
            raise ValueError(f"latency >= 1 and interval >= 1, not {latency} and {interval}")
        super().__init__(latency)
        self.interval = interval
        self._wait = 0

    def in_ready(self, out_ready: bool) -> bool:
        """Whether an input is accepted in this cycle."""
        return super().in_ready(out_ready) and not self._wait

    def step(self, in_valid: bool, out_ready: bool, keep: bool = True) -> Handshake:
        """One cycle."""
        seen = Handshake(self.in_ready(out_ready), self.out_valid)
        if super().in_ready(out_ready):
            taken = bool(in_valid and seen.in_ready)
            self._stages.pop()
            self._stages.insert(0, taken and keep)
            self._wait = self.interval - 1 if taken else max(0, self._wait - 1)
        return seen

    def reset(self) -> None:
        """Empty every stage; the next input need not wait."""
        super().reset()
        self._wait = 0


class Reduce(Rigid):
    """A rigid pipeline that offers one output for each `n` inputs: the others end inside it.

    n:          inputs per output.
    latency:    from the edge that accepts the n-th input to the offer.
    interleave: sequences in turn; inputs s, s + interleave, s + 2 interleave, ... are one sequence.
    """

    def __init__(self, n: int, latency: int, interleave: int = 1):
        if n < 1 or interleave < 1:
            raise ValueError(f"n >= 1 and interleave >= 1, not {n} and {interleave}")
        super().__init__(latency)
        self.n, self.interleave = n, interleave
        self._taken = 0

    def step(self, in_valid: bool, out_ready: bool, keep: bool = True) -> Handshake:
        """One cycle."""
        keep = keep and self._taken // self.interleave == self.n - 1
        seen = super().step(in_valid, out_ready, keep)
        if in_valid and seen.in_ready:
            self._taken = (self._taken + 1) % (self.n * self.interleave)
        return seen

    def reset(self) -> None:
        """Empty every stage and restart all sequences."""
        super().reset()
        self._taken = 0


class Gearbox:
    """A bit buffer between words of two widths: `in_ready = level + bits_in <= depth`, `out_valid = level >= bits_out`.

    Both follow from registers, so it cuts the ready path. bits_in = bits_out = b with depth 2b is the two-entry
    buffer at a unit's boundary. Bits leave in the order in which they came, least significant first.

    A word may carry fewer bits than its width; after the last word, the remaining bits are offered as one word.

    depth:   bits held; `full_rate_depth` for one transfer per cycle on the side of the larger word.
    packets: words follow the last one, and none is let in before all bits up to it have left.
    """

    def __init__(self, bits_in: int, bits_out: int, depth: int, packets: bool = False):
        if bits_in < 1 or bits_out < 1 or depth < max(bits_in, bits_out):
            raise ValueError(f"a gearbox of {depth} bits is shallower than a word: {bits_in} in, {bits_out} out")
        self.bits_in, self.bits_out, self.depth = bits_in, bits_out, depth
        self.packets = packets
        self.level = 0
        self.ended = False

    @staticmethod
    def full_rate_depth(bits_in: int, bits_out: int, unit: int | None = None) -> int:
        """The least depth at which neither side waits for anything but the rate of the other.

        unit: granularity of shorter words in bits; None: all words are whole.
        """
        return bits_in + bits_out + max(bits_in, bits_out) - (unit or gcd(bits_in, bits_out))

    @property
    def out_valid(self) -> bool:
        """Whether an output is offered in this cycle."""
        return self.level >= self.bits_out or (self.ended and self.level > 0)

    def in_ready(self, out_ready: bool) -> bool:
        """Whether an input is accepted in this cycle, whatever `out_ready` is."""
        return self.level + self.bits_in <= self.depth and not (self.packets and self.ended and self.level)

    def step(self, in_valid: bool, out_ready: bool, bits: int | None = None, last: bool = False) -> Handshake:
        """One cycle; `bits`: used bits of the input (None: all); `last`: no input follows this one in its packet."""
        seen = Handshake(self.in_ready(out_ready), self.out_valid)
        if out_ready and seen.out_valid:
            self.level -= min(self.level, self.bits_out)
        if in_valid and seen.in_ready:
            self.level += self.bits_in if bits is None else bits
            self.ended = last
        return seen

    def reset(self) -> None:
        """Drop the held bits."""
        self.level = 0
        self.ended = False


class Chain:
    """Units one after the other, each output wired to the next input; all of latency 1 or more.

    An input that is not kept travels to the last unit and ends inside it.
    """

    def __init__(self, units: Sequence[Rigid | Gearbox | Chain]):
        if not units or any(getattr(unit, "latency", 1) == 0 for unit in units):
            raise ValueError("a chain needs at least one unit, each with a register between input and output")
        self.units = list(units)
        self._kept: deque[bool] = deque()  # of the inputs that have not reached the last unit

    @property
    def out_valid(self) -> bool:
        """Whether an output is offered in this cycle."""
        return self.units[-1].out_valid

    def in_ready(self, out_ready: bool) -> bool:
        """Whether an input is accepted in this cycle."""
        for unit in reversed(self.units):
            out_ready = unit.in_ready(out_ready)
        return out_ready

    def step(self, in_valid: bool, out_ready: bool, keep: bool = True) -> Handshake:
        """One cycle."""
        ready = [bool(out_ready)]
        for unit in reversed(self.units):
            ready.append(unit.in_ready(ready[-1]))
        ready.reverse()
        valid = [bool(in_valid), *(unit.out_valid for unit in self.units)]
        if valid[0] and ready[0]:
            self._kept.append(bool(keep))
        for unit, driven, taken in zip(self.units[:-1], valid, ready[1:], strict=False):
            unit.step(driven, taken)
        into_last = valid[-2] and ready[-2]
        kept = self._kept.popleft() if into_last else True
        self.units[-1].step(valid[-2], ready[-1], **({} if kept else {"keep": False}))
        return Handshake(ready[0], valid[-1])

    def reset(self) -> None:
        """Reset every unit."""
        self._kept.clear()
        for unit in self.units:
            unit.reset()
