"""The order of what happens at one tick: passes end, requests arrive, transfers end, routing, passes begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import simpy
from simpy.core import EventPriority

#: Priorities of SimPy's queue at one tick.
PASS_END, ARRIVAL, TRANSFER, ROUTING, SCHEDULING = range(1, 6)


class At(simpy.Event):
    """An event after `delay` ticks, with its place among those of the same tick."""

    def __init__(self, env: simpy.Environment, delay: int, order: int):
        super().__init__(env)
        self._ok, self._value = True, None
        env.schedule(self, EventPriority(order), delay)


def later(env: simpy.Environment, delay: int, order: int, act: Callable[[], Any]) -> None:
    """Call `act` after `delay` ticks, in its place among what happens then."""
    event = At(env, delay, order)
    assert event.callbacks is not None
    event.callbacks.append(lambda _: act())
