"""When a unit accepts and delivers: the one timing contract of simulator, RTL and benches.

Cycle models are step functions over clock edges; no other room restates them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """A pipelined unit in cycles of its own clock.

    An input accepted at edge t is offered at t + latency (0 = combinational); the next input
    is accepted at t + interval or later.
    """

    latency: int
    interval: int = 1

    def __post_init__(self):
        if self.latency < 0 or self.interval < 1:
            raise ValueError(f"latency >= 0 and interval >= 1, not {self}")

    def cycles(self, n: int) -> int:
        """From the edge that accepts the first of `n` back-to-back inputs to the last output's edge."""
        return self.latency + self.interval * (n - 1) if n else 0
