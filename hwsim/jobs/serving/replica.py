"""One engine: a queue, a scheduler and passes, one after another. SimPy wakes it when something may change.

Passes that only decode follow each other unchanged until a sequence ends, a block is missing, or a request arrives that
could be admitted; they are then summed instead of composed one by one. `stretch=False` composes every pass: the same
times to the tick, which a test holds.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import simpy

from hwsim.jobs.serving.clock import PASS_END, SCHEDULING, At
from hwsim.jobs.serving.requests import Sequence
from hwsim.jobs.serving.scheduler import Pass, Scheduler
from hwsim.jobs.serving.steptimes import StepTimes


@dataclass(slots=True)
class Passes:
    """`count` passes in a row: the first lasts `first` ticks, each later one `more` longer than the one before.

    decodes: sequences that decode; contexts: the sum of what they have cached, at the start. chunks: (tokens, computed
    before) of prompts. running, waiting, used: sequences, and blocks at the start.
    """

    start: int
    first: int
    more: int
    count: int
    decodes: int
    contexts: int
    chunks: tuple[tuple[int, int], ...]
    running: int
    waiting: int
    preempted: int
    used: int
    used_last: int

    @property
    def ticks(self) -> int:
        """Of all of them."""
        return self.count * self.first + self.more * (self.count * (self.count - 1) // 2)


@dataclass(slots=True)
class Log:
    """What happened. gaps: (ticks from one token of a sequence to its next, how often), as they came."""

    passes: list[Passes] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    stretches: list[tuple[int, int, int, int]] = field(default_factory=list)
    finished: list[Sequence] = field(default_factory=list)


class Replica:
    """One engine.

    done: called with each sequence that ends, at the tick at which it ends. acceptance: chance of each draft token,
    given the earlier ones. prefill: it makes the first token only, and hands the sequence on.
    """

    def __init__(
        self,
        env: simpy.Environment,
        scheduler: Scheduler,
        steps: StepTimes,
        done: Callable[[Sequence], None],
        *,
        stretch: bool = True,
        acceptance: tuple[float, ...] = (),
        seed: int = 0,
        prefill: bool = False,
    ):
        self.env, self.scheduler, self.steps, self.done = env, scheduler, steps, done
        self.stretch, self.acceptance, self.random = stretch, acceptance, Random(seed)
        self.prefill, self.log = prefill, Log()
        self.outstanding = 0
        self._out = 0
        self._idle: simpy.Event | None = None
        self._open = False
        #: Passes that are summed now: their sequences, lines and start.
        self._summed: tuple[list[tuple[Sequence, int]], list[tuple[int, int, int]], int] | None = None
        self.process = env.process(self._run())

    def arrive(self, seq: Sequence) -> None:
        """A request is routed here."""
        now = int(self.env.now)
        seq.queued = now if seq.queued is None else seq.queued
        self.outstanding += 1
        self.scheduler.waiting.append(seq)
        if self._idle is not None:
            idle, self._idle = self._idle, None
            idle.succeed()
        elif self._open:
            self._open = False
            self.process.interrupt()

    def used(self) -> int:
        """Blocks held now, those of summed passes that have begun among them."""
        used = self.scheduler.pool.used
        if self._summed is None:
            return used
        items, lines, start = self._summed
        begun, _ = _until(lines, int(self.env.now) - start)
        return used + self._blocks(items, sum(n for n, _, _ in begun))

    def _run(self) -> Generator[simpy.Event, Any, None]:
        env, scheduler = self.env, self.scheduler
        while True:
            found = scheduler.compose()
            if scheduler.preempted:
                for seq in scheduler.preempted:
                    seq.events.append((int(env.now), "preempted"))
                self._out += len(scheduler.preempted)
                scheduler.preempted.clear()
            if not found.items:
                self._idle = simpy.Event(env)
                yield self._idle
                yield At(env, 0, SCHEDULING)
                continue
            start = int(env.now)
            for seq, _ in found.items:
                if seq.idle:
                    self._admitted(seq, start)
            lines = self._lines(found)
            if lines is None:
                duration = self._one(found, start)
                yield At(env, duration, PASS_END)
                self._deliver(found, int(env.now), duration)
            else:
                yield from self._many(found, lines, start)
            yield At(env, 0, SCHEDULING)

    def _admitted(self, seq: Sequence, start: int) -> None:
        """Its first pass here, or the first one since it was preempted."""
        if seq.events and seq.events[-1][1] == "preempted":
            self._out -= 1
        seq.events.append((start, "admitted"))
        seq.idle = False
        if seq.scheduled is None:
            seq.scheduled = start

    # -- one pass ----------------------------------------------------------------------------------

    def _one(self, found: Pass, start: int) -> int:
        """Its duration; it is logged."""
        new = 1 + self.scheduler.limits.drafts
        contexts = decodes = 0
        chunks = []
        for seq, tokens in found.items:
            left = seq.prompt + seq.made - seq.computed
            if left == 1 and seq.made:
                decodes += 1
                contexts += seq.computed
            else:
                chunks.append((tokens, seq.computed))
        if chunks:
            duration = self.steps.mixed(decodes, contexts, chunks, new)
        else:
            line = self.steps.decode(decodes, contexts, new)
            duration = line.base + line.slope * contexts
        self.log.passes.append(
            Passes(start, duration, 0, 1, decodes, contexts, tuple(chunks), *self._queue(), self.used())
        )
        return duration

    def _queue(self) -> tuple[int, int, int, int]:
        """Sequences that run, wait, and are preempted among these; and blocks held."""
        scheduler = self.scheduler
        return len(scheduler.running), len(scheduler.waiting), self._out, scheduler.pool.used

    def _deliver(self, found: Pass, now: int, duration: int) -> None:
        """The tokens of one pass."""
        same, ended, gaps, start = 0, False, self.log.gaps, now - duration
        for seq, tokens in found.items:
            total = seq.prompt + seq.made
            made = 1
            if seq.computed + tokens < total:
                seq.computed += tokens
                continue
            if self.acceptance and seq.made and tokens > 1 and seq.computed + 1 == total:
                made = min(self._accepted(tokens - 1) + 1, seq.output - seq.made)
                seq.computed += made
                if made > 1:  # accepted drafts come with the token ahead of them
                    gaps.append((0, made - 1))
            else:
                seq.computed = total
            seq.made += made
            if seq.last == start:
                same += 1
            elif seq.last is not None:
                gaps.append((now - seq.last, 1))
            if seq.first is None:
                seq.first = now
            seq.last = now
            if seq.made >= seq.output or self.prefill:
                ended = True
        if same:
            gaps.append((duration, same))
        if ended:
            self._end(now)

    def _accepted(self, drafts: int) -> int:
        """Drafts up to the first that is rejected (speculative sampling, Leviathan et al., ICML 2023)."""
        for i in range(drafts):
            if self.random.random() >= self.acceptance[i]:
                return i
        return drafts

    def _end(self, now: int) -> None:
        """Sequences that have all their tokens leave, in the order in which they run."""
        for seq in [s for s in self.scheduler.running if s.made >= s.output or (self.prefill and s.made)]:
            self.scheduler.release(seq)
            self.outstanding -= 1
            if seq.made >= seq.output:
                seq.finished = now
                self.log.finished.append(seq)
            self.done(seq)

    # -- passes that only decode, summed -------------------------------------------------------------

    def _lines(self, found: Pass) -> list[tuple[int, int, int]] | None:
        """(passes, ticks of the first, more of each later one) of the passes that follow unchanged; None: one only."""
        items, scheduler = found.items, self.scheduler
        if not self.stretch or found.preempted or scheduler.limits.drafts or self.prefill:
            return None
        if len(items) != len(scheduler.running) or (scheduler.waiting and not found.blocked):
            return None
        count, contexts = 1 << 60, 0
        for seq, tokens in items:
            if tokens != 1 or not seq.made or seq.prompt + seq.made - seq.computed != 1:
                return None
            contexts += seq.computed
            left = seq.output - seq.made
            if left < count:
                count = left
        if count > 1:
            count = self._room(items, count)
        if count == 1:
            return None
        return self._segments(len(items), contexts, count)

    def _room(self, items: list[tuple[Sequence, int]], count: int) -> int:
        """Of `count` passes, those whose blocks are free."""
        pool = self.scheduler.pool
        if not pool.paged:
            return count

        if self._blocks(items, count) <= pool.free:
            return count
        low, high = 1, count  # the first pass has its blocks
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._blocks(items, middle) <= pool.free else (low, middle)
        return low

    def _blocks(self, items: list[tuple[Sequence, int]], passes: int) -> int:
        """Blocks that so many passes take beyond those that are held."""
        pool = self.scheduler.pool
        if not pool.paged:
            return 0
        size, fixed, more = pool.size, pool.fixed, 0
        for seq, _ in items:
            more += fixed - (-(seq.computed + passes) // size) - len(seq.held) - seq.own
        return more

    def _later(self, tick: int) -> int:
        """How many of those that wait came after a tick: the last ones of the queue."""
        late = 0
        for seq in reversed(self.scheduler.waiting):
            if seq.queued is None or seq.queued <= tick:
                break
            late += 1
        return late

    def _segments(self, sequences: int, contexts: int, count: int) -> list[tuple[int, int, int]]:
        """Passes on one line of the step times after another."""
        found = []
        while count:
            line = self.steps.decode(sequences, contexts)
            n = min(count, -((contexts - line.limit) // sequences))
            found.append((n, line.base + line.slope * contexts, line.slope * sequences))
            contexts += n * sequences
            count -= n
        return found

    def _many(self, found: Pass, lines: list[tuple[int, int, int]], start: int) -> Generator[simpy.Event, Any, None]:
        env, items, queue = self.env, found.items, self._queue()
        whole = sum(n * first + more * (n * (n - 1) // 2) for n, first, more in lines)
        self._open, self._summed = not found.blocked, (items, lines, start)
        try:
            yield At(env, whole, PASS_END)
        except simpy.Interrupt:
            lines, whole = _until(lines, int(env.now) - start)
            if start + whole > env.now:
                yield At(env, start + whole - int(env.now), PASS_END)
        self._open, self._summed = False, None
        self._deliver_many(items, lines, start, queue)

    def _deliver_many(
        self,
        items: list[tuple[Sequence, int]],
        lines: list[tuple[int, int, int]],
        start: int,
        queue: tuple[int, int, int, int],
    ) -> None:
        scheduler, log, sequences = self.scheduler, self.log, len(items)
        pool, at = scheduler.pool, start
        contexts = sum(seq.computed for seq, _ in items)
        running, _, preempted, used = queue
        count, arrived = 0, len(scheduler.waiting)
        for n, first, more in lines:
            waiting = arrived - self._later(at)
            held = used if not count else used + self._blocks(items, count + 1)
            last = used + self._blocks(items, count + n)
            log.passes.append(
                Passes(at, first, more, n, sequences, contexts, (), running, waiting, preempted, held, last)
            )
            log.stretches.append((first, more, n, sequences))
            at += log.passes[-1].ticks
            contexts += n * sequences
            count += n
        scheduler.repeated(count - 1)
        late, taken, size, fixed, ended = 0, 0, pool.size, pool.fixed, False
        first = lines[0][1]
        for seq, _ in items:
            seq.computed += count
            seq.made += count
            more = fixed - (-seq.computed // size) - len(seq.held) - seq.own if pool.paged else 0
            if more > 0:
                taken += more
                seq.own += more
            if seq.last != start:
                late += 1
                log.gaps.append((start + first - (seq.last or 0), 1))
            seq.last = at
            if seq.made >= seq.output:
                ended = True
        if late:  # their first gap is longer than the pass
            log.gaps.append((first, -late))
        if taken:
            pool.take(taken)
        if ended:
            self._end(at)


def _until(lines: list[tuple[int, int, int]], elapsed: int) -> tuple[list[tuple[int, int, int]], int]:
    """The fewest passes of `lines` that last `elapsed` ticks or more, and how long they last."""
    kept, whole = [], 0
    for n, first, more in lines:
        ticks = n * first + more * (n * (n - 1) // 2)
        if whole + ticks < elapsed:
            kept.append((n, first, more))
            whole += ticks
            continue
        low, high = 0, n  # so many are too few; so many are enough
        while high - low > 1:
            m = (low + high) // 2
            enough = whole + m * first + more * (m * (m - 1) // 2) >= elapsed
            low, high = (low, m) if enough else (m, high)
        kept.append((high, first, more))
        return kept, whole + high * first + more * (high * (high - 1) // 2)
    return kept, whole
