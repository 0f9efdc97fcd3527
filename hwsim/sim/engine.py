"""A whole run: ops one by one from a state vector, equal work from an equal state done once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hwsim.errors import ModelError
from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.program import CAUSES, SERVERS, Program
from hwsim.sim.events import run_events
from hwsim.sim.state import State
from hwsim.sim.steady import run_op
from hwsim.sim.walk import walk

DRIVERS: dict[str, Callable] = {"simpy": run_events, "walk": walk}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Ticks of a run: in all, by op (they sum to it), and of the watched server by cause (likewise).

    spans: (server, start, end, op index) of every stay, where asked for.
    """

    ticks: int
    by_op: tuple[int, ...]
    causes: dict[str, int]
    spans: tuple[tuple[int, int, int, int], ...] = ()
    simulated: int = 0


def simulate(
    pipeline: Pipeline,
    programs: Sequence[Program],
    watch: int,
    driver: str = "walk",
    reuse: bool = True,
    trace: bool = False,
) -> Outcome:
    """Run `programs` in order and account for each tick of server `watch`.

    Reuse, of whole ops and of periods within one, is exact (the state is the key) and off under all-bank refresh,
    whose phase never repeats.
    raises: ModelError if the ticks of the watched server do not add up.
    """
    reuse = reuse and not pipeline.period and not trace
    programs = [*programs, Program(runs=(), flush=True)]
    state, memo, spans = State.initial(pipeline), {}, []
    lost, by_op, origin, simulated = [0] * len(CAUSES), [], 0, 0
    relative = state.relative(watch)
    for index, program in enumerate(programs):
        before = state.finish if not reuse else relative[4] + origin
        if reuse:
            key = (program.digest, relative)
            if key not in memo:
                state = State.absolute(relative)
                idle = run_op(DRIVERS[driver], pipeline, program, state, watch)
                memo[key] = (program.numbers, idle, state.origin, state.relative(watch))
                simulated += 1
            numbers, idle, shift, relative = memo[key]
            if numbers != program.numbers:
                raise ModelError("two programs share a digest")
            origin += shift
            after = relative[4] + origin
        else:
            found = [] if trace else None
            idle = DRIVERS[driver](pipeline, program, state, watch, found)
            simulated += 1
            spans += [(*span, index) for span in found or ()]
            after = state.finish
        lost = [a + b for a, b in zip(lost, idle, strict=True)]
        by_op.append(after - before)
    end = after
    flushed = by_op.pop()
    by_op[-1] += flushed
    free = state.free[watch] if not reuse else relative[0][watch] + origin
    causes = dict(zip(CAUSES, lost, strict=True))
    causes["drain"] += end - free
    work = sum(p.work[watch] for p in programs)
    causes["busy"] += work
    for program in programs:
        for server, cause, ticks in program.extra:
            if server == watch:
                causes[cause] += ticks
                causes["busy"] -= ticks
    if sum(causes.values()) != end:
        raise ModelError(f"{SERVERS[watch]}: {causes} do not sum to {end} ticks")
    return Outcome(end, tuple(by_op), causes, tuple(spans), simulated)
