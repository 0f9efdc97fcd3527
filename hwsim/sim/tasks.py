"""Tasks on servers that serve in program order: the same machine as that of tiles, for work of whole passes.

A task starts when its server is free and all that it waits for has ended, and keeps the server for its length; what
waits for it may start `lag` later. A pipeline's bubble and what of a collective is hidden are found, not put in.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from hwsim.errors import ModelError

Time = int | float | Fraction


class Task(NamedTuple):
    """server: its number. length: how long it keeps it. after: numbers of tasks that must end first; lag: later."""

    server: int
    length: Time
    after: tuple[int, ...] = ()
    lag: Time = 0


class Timeline(NamedTuple):
    """ends: of every task. busy: of every server, the sum of its tasks. end: of the last."""

    ends: tuple[Time, ...]
    busy: tuple[Time, ...]
    end: Time


def timeline(tasks: Sequence[Task], orders: Sequence[Sequence[int]]) -> Timeline:
    """Serve the tasks. orders: for each server, the numbers of its tasks in program order.

    raises: ModelError for orders that wait for one another in a circle, or that leave a task out.
    """
    ends: list[Time | None] = [None] * len(tasks)
    at = [0] * len(orders)
    times: list[Time] = [0] * len(orders)
    waiting: dict[int, list[int]] = {}
    ready = list(range(len(orders)))
    while ready:
        server = ready.pop()
        order = orders[server]
        while at[server] < len(order):
            number = order[at[server]]
            task = tasks[number]
            start, missing = times[server], None
            for before in task.after:
                end = ends[before]
                if end is None:
                    missing = before
                    break
                start = max(start, end + task.lag)
            if missing is not None:
                waiting.setdefault(missing, []).append(server)
                break
            times[server] = ends[number] = start + task.length
            at[server] += 1
            ready += waiting.pop(number, ())
    if any(end is None for end in ends):
        raise ModelError("tasks wait for one another, or are in no server's order")
    busy = tuple(sum(tasks[number].length for number in order) for order in orders)
    known = tuple(end for end in ends if end is not None)
    return Timeline(known, busy, max(known, default=0))
