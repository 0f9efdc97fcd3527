"""Requests: when each arrives, how long it is, and which blocks of its prompt others have too."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

#: Ticks per second: times are whole numbers, so that sums do not depend on their order.
TICKS = 10**15


def ticks(seconds: float) -> int:
    """Whole ticks, rounded to the nearest."""
    return round(seconds * TICKS)


@dataclass(frozen=True, slots=True)
class Request:
    """One request. arrival: ticks. tokens: of the prompt and of the answer.

    prefix: a key for each of the prompt's first blocks; equal keys are equal content after equal content.
    """

    number: int
    arrival: int
    input_tokens: int
    output_tokens: int
    prefix: tuple[Hashable, ...] = ()


class Sequence:
    """A request inside an engine: what is computed, what was made, which blocks it holds.

    computed: tokens whose K and V are cached. made: output tokens. held: blocks with a key, from the prompt's head on;
    own: blocks after them. Times are ticks; None: not yet. idle: in no pass since it arrived or was preempted.
    events: (tick, "admitted", "preempted", "transfer" or "waiting"), as they came.
    """

    __slots__ = (
        "request", "prompt", "output", "computed", "made", "held", "own", "drafts", "preemptions", "recomputed", "hits",
        "queued", "scheduled", "first", "last", "finished", "events", "remote", "prefilled", "moved", "idle",
    )  # fmt: skip

    def __init__(self, request: Request):
        self.request = request
        self.prompt, self.output = request.input_tokens, request.output_tokens
        self.computed = self.made = self.own = self.drafts = 0
        self.held: list = []
        self.preemptions = self.recomputed = self.hits = 0
        self.queued: int | None = None
        self.scheduled: int | None = None
        self.first: int | None = None
        self.last: int | None = None
        self.finished: int | None = None
        self.prefilled: int | None = None
        self.moved: int | None = None
        self.remote, self.idle = False, True
        self.events: list[tuple[int, str]] = []

    @property
    def total(self) -> int:
        """Tokens that are known: the prompt, and what was made."""
        return self.prompt + self.made

    @property
    def blocks(self) -> int:
        """Blocks it holds."""
        return len(self.held) + self.own
