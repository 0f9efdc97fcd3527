"""The end of a step of very many micro-batches: those in the middle repeat, and are counted and not served.

In the middle of the schedule every stage computes one forward and one backward pass in turn, in the same order of
chunks after each round of as many micro-batches as there are stages. What a pass waits for lies less than two rounds
back. So where all ends of two rounds lie the same time after those of two earlier rounds, everything up to the last
passes lies so much later too, and more such rounds lengthen the step by exactly that time. Times are whole numbers
here, because sums of floats never repeat.
"""

from __future__ import annotations

from dataclasses import astuple, replace
from fractions import Fraction

from hwsim.errors import InputError
from hwsim.jobs.training.pipeline import Build, ItemTimes, Plan
from hwsim.sim.tasks import Time

#: Tasks up to which a step is served whole, and those up to which it is where nothing repeats.
WHOLE, MOST = 50_000, 2_000_000
#: Rounds that are served to look for a repeat: at first, and at most.
FEW, MANY = 14, 500
#: Rounds in a repeat.
PERIODS = range(1, 5)
#: Rounds before the last passes that may wait for something of them.
MARGIN = 2


def step_end(plan: Plan) -> float:
    """Seconds of a step. raises: InputError for too many micro-batches of a step in which nothing repeats."""
    each = sum(map(len, plan.chunks)) if plan.every else len(plan.chunks)
    tasks = 2 * each * plan.micro_batches
    if tasks > WHOLE:
        ticks, scale = in_ticks(plan)
        end = repeated(ticks)
        if end is not None:
            return float(Fraction(end) / scale)
        if tasks > MOST:
            raise InputError(
                f"batch: {plan.micro_batches:,} micro-batches per pipeline, in which nothing repeats; at most "
                f"{MOST // (2 * each):,} can be simulated: write a smaller batch, a larger micro-batch or a larger dp"
            )
    return float(plan.run().end)


def in_ticks(plan: Plan) -> tuple[Plan, int]:
    """The plan with all times as whole numbers of ticks, and the ticks per second: exact, as floats are n / 2^k."""
    times = [t for chunk in plan.chunks for item in chunk for t in astuple(item)]
    scale = max(Fraction(t).denominator for t in (*times, *plan.once, plan.sent))

    def ticks(t: float) -> int:
        return int(Fraction(t) * scale)

    chunks = tuple(tuple(ItemTimes(*map(ticks, astuple(item))) for item in chunk) for chunk in plan.chunks)
    return replace(plan, chunks=chunks, once=tuple(map(ticks, plan.once)), sent=ticks(plan.sent)), scale


def repeated(plan: Plan) -> Time | None:
    """The end of a step in whole numbers, equal to that of `plan.run()`; None where no repeat is found."""
    rounds, rest = divmod(plan.micro_batches, plan.stages)
    few = FEW
    while few + max(PERIODS) < min(rounds, MANY):
        end, period, length = _served(plan, few, rest)
        if period:
            times, left = divmod(rounds - few, period)
            if left:
                end = _served(plan, few + left, rest)[0]
            return end + times * length
        few *= 4
    return None


def _served(plan: Plan, rounds: int, rest: int) -> tuple[Time, int, Time]:
    """(end, rounds in a repeat, its time) of a step of so many rounds and a rest; 0 rounds where nothing repeats."""
    build = Build(replace(plan, micro_batches=rounds * plan.stages + rest))
    line = build.run()
    passes = plan.stages * (len(plan.chunks) // plan.stages)  # forward, and as many backward, of a stage in a round
    warm = [next(i for i, turn in enumerate(turns) if not turn.forward) - 1 for turns in build.turns]
    ends: dict[int, list[Time]] = {}
    for (stage, place), end in zip(build.turn_of, line.ends, strict=True):
        if place >= warm[stage]:
            ends.setdefault((place - warm[stage]) // (2 * passes), []).append(end)
    last = (len(build.turns[0]) // 2 - max(warm)) // passes - MARGIN  # the first round that is left out
    for period in PERIODS:
        late = [end for n in (last - 2, last - 1) for end in ends[n]]
        early = [end for n in (last - 2, last - 1) for end in ends[n - period]]
        if len(late) == len(early):
            apart = {after - before for after, before in zip(late, early, strict=True)}
            if len(apart) == 1:
                return line.end, period, apart.pop()
    return line.end, 0, 0
