"""Replicas behind a router, and what drives them: a trace, or a fixed number of users."""

from __future__ import annotations

from collections.abc import Callable, Generator
from collections.abc import Sequence as Many
from dataclasses import dataclass
from random import Random
from typing import Any

import simpy

from hwsim.jobs.serving.clock import ARRIVAL, ROUTING, TRANSFER, At, later
from hwsim.jobs.serving.replica import Replica
from hwsim.jobs.serving.requests import Request, Sequence
from hwsim.jobs.serving.router import Router
from hwsim.jobs.serving.scheduler import Scheduler
from hwsim.jobs.serving.steptimes import StepTimes


@dataclass(frozen=True, slots=True)
class Transfer:
    """The link from prefill to decode replicas, in order. ticks_per_token; latency: ticks of each transfer."""

    ticks_per_token: int
    latency: int = 0


@dataclass(slots=True)
class Outcome:
    """sequences: of every request that was served, by number; refused: (request, why)."""

    sequences: list[Sequence]
    refused: list[tuple[Request, str]]
    replicas: list[Replica]


class Stopped(Exception):
    """Whoever watches a run has seen enough of it."""


class Fleet:
    """Engines of one kind.

    scheduler: makes the scheduler of one engine. transfer: prefill replicas are apart, `prefills` of them.
    users: requests come when an earlier one ends, so many at a time, and their own arrival times do not count.
    watch: called with each request as it ends; raises `Stopped` to end the run there.
    """

    def __init__(
        self,
        scheduler: Callable[[], Scheduler],
        steps: StepTimes,
        router: Callable[[], Router],
        replicas: int = 1,
        *,
        stretch: bool = True,
        acceptance: tuple[float, ...] = (),
        seed: int = 0,
        prefills: int = 0,
        transfer: Transfer | None = None,
        watch: Callable[[Sequence], None] = lambda seq: None,
    ):
        self.watch = watch
        self.env = simpy.Environment(initial_time=0)
        more: dict[str, Any] = {"stretch": stretch, "acceptance": acceptance}
        self.decoding = [
            Replica(self.env, scheduler(), steps, self._done, seed=seed + i, **more) for i in range(replicas)
        ]
        self.prefilling = [
            Replica(self.env, scheduler(), steps, self._prefilled, seed=seed + i, prefill=True, **more)
            for i in range(prefills)
        ]
        self.entry = self.prefilling or self.decoding
        self.first, self.second = router(), router()
        self.transfer, self._link_free = transfer, 0
        self._next: list[Request] = []
        self._users = False

    @property
    def largest(self) -> int:
        """Tokens that a request may have at most."""
        return min(one.scheduler.largest() for one in (*self.decoding, *self.prefilling))

    @property
    def longest(self) -> int:
        """Tokens that a prompt may have at most."""
        return min(one.scheduler.longest() for one in (*self.decoding, *self.prefilling))

    def run(self, requests: Many[Request], users: int | None = None) -> Outcome:
        """Serve every request that can ever run; the others are refused, each with its reason. raises: Stopped."""
        served, refused = [], []
        for request in requests:
            whole = request.input_tokens + request.output_tokens
            if whole > self.largest:
                refused.append((request, f"{whole:,} tokens are more than the {self.largest:,} that the KV pool holds"))
            elif request.input_tokens > self.longest:
                refused.append(
                    (
                        request,
                        f"its prompt of {request.input_tokens:,} tokens is more than the {self.longest:,} of a pass "
                        "(--budget), and this engine does not divide prompts",
                    )
                )
            else:
                served.append(request)
        if users is None:
            self.env.process(self._arrivals(served))
        else:
            self._users = True
            self._next = served[: users - 1 : -1] if users else []
            for request in served[:users]:
                self._send(request)
        self.env.run()
        finished = [seq for one in self.decoding + self.prefilling for seq in one.log.finished]
        finished.sort(key=lambda seq: seq.request.number)
        assert len(finished) == len(served), "every request that was let in is served"
        return Outcome(finished, refused, [*self.prefilling, *self.decoding])

    def _arrivals(self, requests: Many[Request]) -> Generator[simpy.Event, Any, None]:
        for request in requests:
            wait = request.arrival - int(self.env.now)
            if wait:
                yield At(self.env, wait, ARRIVAL)
            self._send(request)

    def _send(self, request: Request) -> None:
        seq = Sequence(request)
        later(self.env, 0, ROUTING, lambda: self.entry[self.first.choose(self.entry, seq)].arrive(seq))

    def _done(self, seq: Sequence) -> None:
        """A user sends the next request when one ends."""
        self.watch(seq)
        if self._next:
            request = self._next.pop()
            now = int(self.env.now)
            sent = Request(request.number, now, request.input_tokens, request.output_tokens, request.prefix)
            later(self.env, 0, ARRIVAL, lambda: self._send(sent))

    def _prefilled(self, seq: Sequence) -> None:
        """Its K and V cross the link, in order; then it joins a decode replica's queue."""
        now = int(self.env.now)
        seq.prefilled = now
        if seq.finished is not None:
            self._done(seq)
            return
        assert self.transfer is not None, "prefill replicas have a link"
        seq.events.append((now, "transfer"))
        begin = max(now, self._link_free)
        self._link_free = begin + seq.computed * self.transfer.ticks_per_token
        arrives = self._link_free + self.transfer.latency
        later(self.env, arrives - now, TRANSFER, lambda: self._join(seq))

    def _join(self, seq: Sequence) -> None:
        seq.remote, seq.moved, seq.idle = True, int(self.env.now), True
        seq.events.append((seq.moved, "waiting"))
        later(self.env, 0, ROUTING, lambda: self.decoding[self.second.choose(self.decoding, seq)].arrive(seq))


def shuffled(requests: Many[Request], seed: int) -> list[Request]:
    """The requests' lengths in another order, at the same times."""
    order = list(requests)
    Random(seed).shuffle(order)
    return [
        Request(i, at.arrival, r.input_tokens, r.output_tokens, r.prefix)
        for i, (at, r) in enumerate(zip(requests, order, strict=True))
    ]
