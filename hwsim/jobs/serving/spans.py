"""What a request does from its arrival to its last token, and how many do the same at a time.

waiting    in the queue of a replica: to be admitted, and after a transfer to be admitted by a decode replica
prefill    admitted, without its first token
transfer   its K and V cross the link from a prefill to a decode replica
decode     from its first token to its last
preempted  its blocks were taken; it waits ahead of the queue to be computed again
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from hwsim.jobs.serving.requests import TICKS, Sequence

KINDS = ("waiting", "prefill", "transfer", "decode", "preempted")


class Span(NamedTuple):
    """From `start` to `end`, in ticks."""

    kind: str
    start: int
    end: int


def spans(seq: Sequence) -> list[Span]:
    """The spans of a request that was served, one after another, without gaps."""
    assert seq.last is not None, "it was served"
    marks: list[tuple[int, str]] = [(seq.request.arrival, "waiting")]
    for tick, what in seq.events:
        busy = "decode" if seq.first is not None and tick >= seq.first else "prefill"
        marks.append((tick, busy if what == "admitted" else what))
    if seq.first is not None:
        # The first token ends a prefill; on a prefill replica the transfer begins at the same tick.
        at = next((i for i, (tick, _) in enumerate(marks) if tick >= seq.first), len(marks))
        marks.insert(at, (seq.first, "decode"))
    ends = [*(tick for tick, _ in marks[1:]), seq.last]
    return [Span(kind, start, end) for (start, kind), end in zip(marks, ends, strict=True) if end > start]


def occupied(sequences: Iterable[Sequence], ticks: int) -> dict[str, tuple[float, int]]:
    """Of each kind (mean over a run of so many ticks, most at a time) of the requests that do it."""
    changes: dict[str, dict[int, int]] = {kind: {} for kind in KINDS}
    whole = dict.fromkeys(KINDS, 0)
    for seq in sequences:
        for kind, start, end in spans(seq):
            whole[kind] += end - start
            change = changes[kind]
            change[start] = change.get(start, 0) + 1
            change[end] = change.get(end, 0) - 1
    return {kind: (whole[kind] / ticks if ticks else 0.0, _most(changes[kind])) for kind in KINDS}


def in_queue(sequences: Iterable[Sequence]) -> int:
    """The most requests that wait or are preempted at a time."""
    change: dict[int, int] = {}
    for seq in sequences:
        for kind, start, end in spans(seq):
            if kind in ("waiting", "preempted"):
                change[start] = change.get(start, 0) + 1
                change[end] = change.get(end, 0) - 1
    return _most(change)


def _most(changes: dict[int, int]) -> int:
    most = now = 0
    for tick in sorted(changes):
        now += changes[tick]
        most = max(most, now)
    return most


def before_first(sequences: Iterable[Sequence]) -> dict[str, float]:
    """Mean seconds of each kind before the first token; they sum to the mean TTFT."""
    found, count = dict.fromkeys(KINDS, 0), 0
    for seq in sequences:
        count += 1
        for kind, start, end in spans(seq):
            if seq.first is not None and start < seq.first:
                found[kind] += end - start
    return {kind: ticks / count / TICKS for kind, ticks in found.items() if ticks} if count else {}
