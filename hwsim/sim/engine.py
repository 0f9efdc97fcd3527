"""A whole run: ops one by one from state to state, equal work from an equal state done once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any, NamedTuple

from hwsim.errors import ModelError
from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.program import CAUSES, SERVERS, Program, Tree
from hwsim.sim.events import events
from hwsim.sim.loops import LoopRun
from hwsim.sim.state import Frozen, State
from hwsim.sim.walk import walk

DRIVERS: dict[str, Callable] = {"simpy": events, "walk": walk}

#: A simulator forgets what it knows once its states and programs hold so many times; a tile counts as so many.
MEMORY, TILE = 1 << 16, 8

#: What ends a run: the writes that still wait.
END = Program(Tree(()), (), flush=True)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Ticks of a run: in all, by op (they sum to it), and of the watched server by cause (likewise).

    spans: (server, start, end, op index) of every stay, where asked for. simulated: ops that repeat no other.
    """

    ticks: int
    by_op: tuple[int, ...]
    causes: dict[str, int]
    spans: tuple[tuple[int, int, int, int], ...] = ()
    simulated: int = 0


class Spell(NamedTuple):
    """One program from one state: number of the state after it, ticks of the op, ticks the origin moved, idle ticks."""

    state: int
    ticks: int
    shift: int
    idle: tuple[int, ...]


class End(NamedTuple):
    """Of the state after a run, from its origin: the end of everything, and when the watched server is free."""

    finish: int
    free: int


class Simulator:
    """Runs programs on one machine; what it has simulated once, it knows for all its runs."""

    def __init__(self, pipeline: Pipeline, watch: int, driver: str = "walk"):
        self.pipeline, self.watch, self.driver = pipeline, watch, DRIVERS[driver]
        self.lock = Lock()
        self._forget()

    def _forget(self) -> None:
        self.numbers: dict[Any, int] = {}
        self.states: list[Any] = []
        self.known: dict[Program, dict[int, Spell]] = {}
        self.size = 0
        self.initial = self._first()

    def ticks(self, programs: Sequence[Program], runs: Iterable[tuple[Sequence[int], int]]) -> int:
        """Time of a run from an empty machine. runs: numbers of programs in order, and how often in a row those stand.

        A block that ends in the state in which it began does so each time.
        """
        with self.lock:
            self._limit()
            number, moved = self.initial, 0
            for block, times in runs:
                for done in range(1, times + 1):
                    before, shift = number, 0
                    for each in block:
                        spell = self._spell(programs[each], number)
                        number, shift = spell.state, shift + spell.shift
                    moved += shift
                    if number == before:
                        moved += (times - done) * shift
                        break
            spell = self._spell(END, number)
            return moved + spell.shift + self._end(spell.state).finish

    def run(self, programs: Sequence[Program]) -> Outcome:
        """The same, with an account of every tick."""
        spells, end = self._spells(programs)
        moved = sum(spell.shift for spell in spells)
        *by_op, last = [spell.ticks for spell in spells]
        by_op[-1] += last
        ends = moved + end.finish, moved + end.free
        return outcome(self.pipeline, programs, self.watch, *ends, by_op, _total(spells), len({*map(id, spells)}))

    def _spells(self, programs: Sequence[Program]) -> tuple[list[Spell], End]:
        """Of each program in order and of what ends the run; and what that leaves."""
        with self.lock:
            self._limit()
            number, spells = self.initial, []
            for program in (*programs, END):
                spell = self._spell(program, number)
                spells.append(spell)
                number = spell.state
            return spells, self._end(number)

    def _limit(self) -> None:
        """Forget everything once it is too much; between runs, as a run counts on the numbers of its states."""
        if self.size > MEMORY:
            self._forget()

    def _spell(self, program: Program, number: int) -> Spell:
        """Of a program that begins in the state of a number."""
        known = self.known.get(program)
        if known is None:
            known = self.known[program] = {}
            self.size += TILE * len(program.table)
        spell = known.get(number)
        if spell is None:
            spell = known[number] = self._simulate(program, number)
        return spell

    def _first(self) -> int:
        """The number of the state of an empty machine."""
        return self._frozen(State.initial(self.pipeline, self.watch).freeze(self.pipeline.period)[0])

    def _end(self, number: int) -> End:
        state = self.states[number]
        return End(state.finish, state.free[self.watch])

    def _simulate(self, program: Program, number: int) -> Spell:
        state = State.thaw(self.states[number], self.watch)
        start = state.finish
        state.begin(program.distance)
        LoopRun(self.driver, self.pipeline, program, state).run()
        frozen, shift = state.freeze(self.pipeline.period)
        return Spell(self._frozen(frozen), state.finish - start, shift, tuple(state.lost))

    def _frozen(self, state: Frozen) -> int:
        return self._number(state, 1 + len(state.pending) + sum(len(released) for _, _, released in state.credits))

    def _number(self, state: Hashable, size: int) -> int:
        """The number of a state that holds so many times."""
        number = self.numbers.setdefault(state, len(self.states))
        if number == len(self.states):
            self.states.append(state)
            self.size += size
        return number


#: The simulator of a pipeline, a watched server and a driver; the latest few are kept.
simulator = lru_cache(maxsize=4)(Simulator)


def _total(spells: Sequence[Spell]) -> list[int]:
    """Idle ticks of all of them by cause; equal ones are multiplied."""
    times, found = Counter(map(id, spells)), {id(spell): spell for spell in spells}
    total = [0] * len(CAUSES)
    for key, spell in found.items():
        for cause, ticks in enumerate(spell.idle):
            total[cause] += times[key] * ticks
    return total


def way_out(pipeline: Pipeline, programs: Sequence[Program], watch: int) -> int:
    """Latencies from server `watch` to the end of the last tile; 0 where the tile does not pass it."""
    last = next((program for program in reversed(programs) if program.tree.size), None)
    if last is None:
        return 0
    servers = [step.server for step in last.table[last.tree.last].steps]
    return sum(pipeline.latency[s] for s in servers[servers.index(watch) :]) if watch in servers else 0


def outcome(
    pipeline: Pipeline,
    programs: Sequence[Program],
    watch: int,
    end: int,
    free: int,
    by_op: Sequence[int],
    lost: Sequence[int],
    simulated: int,
    spans: Sequence = (),
) -> Outcome:
    """Account for each tick of server `watch`. raises: ModelError if they do not add up."""
    causes = dict(zip(CAUSES, lost, strict=True))
    on_the_way = min(end - free, way_out(pipeline, programs, watch))
    causes["latency"] += on_the_way
    causes["drain"] += end - free - on_the_way
    for program, times in Counter(programs).items():
        causes["busy"] += times * program.work[watch]
        for server, cause, ticks in program.extra:
            if server == watch:
                causes[cause] += times * ticks
                causes["busy"] -= times * ticks
    if sum(causes.values()) != end:
        raise ModelError(f"{SERVERS[watch]}: {causes} do not sum to {end} ticks")
    return Outcome(end, tuple(by_op), causes, tuple(spans), simulated)


def simulate(
    pipeline: Pipeline,
    programs: Sequence[Program],
    watch: int,
    driver: str = "walk",
    reuse: bool = True,
    trace: bool = False,
) -> Outcome:
    """Run `programs` in order and account for each tick of server `watch`.

    reuse: equal ops from equal states, and passes of loops, are simulated once: exact, as the state is the key.
    trace: every stay of every tile is told, and so nothing is reused.
    """
    if reuse and not trace:
        return Simulator(pipeline, watch, driver).run(programs)
    run, state, lost = DRIVERS[driver], State.initial(pipeline, watch), [0] * len(CAUSES)
    spans: list[tuple[int, int, int, int]] = []
    by_op: list[int] = []
    for index, program in enumerate((*programs, END)):
        start = state.finish
        found: list[tuple[int, int, int]] | None = [] if trace else None
        state.begin(program.distance)
        run(pipeline, state, program.tiles(), program.flush, found)
        spans += [(*span[:3], index) for span in found or ()]
        by_op.append(state.finish - start)
        lost = [a + b for a, b in zip(lost, state.lost, strict=True)]
    flushed = by_op.pop()
    by_op[-1] += flushed
    return outcome(pipeline, programs, watch, state.finish, state.free[watch], by_op, lost, len(programs) + 1, spans)
