"""Op x machine -> tiles: a pure function of the op, its formats and one policy.

A policy never depends on a rate, and the menu of policies only grows with the buffers: so the least of a few
simulated policies is monotone in bandwidth, latency, interval and buffer by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache, partial
from operator import mul

from hwsim.arch.compute import SystolicArray
from hwsim.arch.machine import TileMachine
from hwsim.arch.memory import Dram
from hwsim.arch.servers import Launch, Vector
from hwsim.errors import InputError
from hwsim.mapping.gemms import Gemms
from hwsim.mapping.gpu.waves import kernel_of, kernel_program
from hwsim.mapping.operands import Operands
from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.plan import BOTH, NONE, PANEL, Plan, Policy, Shape, Tiled, timed
from hwsim.mapping.program import DOT, DRAM, SERVERS, Program
from hwsim.mapping.streams import Stream, collective
from hwsim.mapping.traffic import traffic
from hwsim.workload.op import Op

DISTANCES = (1, 8, 32)

#: A policy may replace others that move more if this times its largest tiles is no more than its work.
FINE = 64

#: Tiles of a run on a machine whose refresh stops all banks. Every stop has its place in time, and so it hardly ever
#: happens that a state comes again: a tile's time and the refresh period have no common measure worth waiting for.
MOST = 1 << 20


def policies(arch: TileMachine) -> Iterator[Policy]:
    """Every policy of the machine's menu; those that do not fit an op drop out in `tile`. On cores, the library's."""
    if arch.cores:
        yield Policy(Shape(*arch.tiles[0]))
        return
    for tile in arch.tiles:
        for resident in (PANEL, NONE, BOTH):
            for distance in DISTANCES:
                yield Policy(Shape(*tile, resident), distance)


def structure(arch: TileMachine) -> TileMachine:
    """The machine without its rates, latencies and names: all that plans depend on."""
    one, dram, dot = Fraction(1), arch.dram, arch.dot
    return TileMachine(
        name="",
        description="",
        clock_hz=one,
        dram=Dram(one, 0, dram.beat_bytes, 0, row_bytes=dram.row_bytes),
        buffers=arch.buffers,
        dot=replace(dot, latency_cycles=0, rates=()),
        activations=arch.activations,
        tiles=(),
        vector=arch.vector and Vector(one, 0),
        launch=arch.launch and Launch(one),
    )


class Plans:
    """The plans of one op on every machine of one structure, made when asked for.

    opd: without rates, but for that of a systolic array. sent, latency: as in `streams.collective`.
    """

    def __init__(self, arch: TileMachine, op: Op, opd: Operands, sent: int, latency: int):
        self.arch, self.op, self.opd, self.sent, self.latency = arch, op, opd, sent, latency
        self.known: dict[Shape, Plan | None] = {}

    def of(self, shape: Shape) -> Plan | None:
        """The op in tiles of this shape, or None where they do not fit the buffers."""
        if shape not in self.known:
            draft = (Gemms if self.op.gemms else Stream)(self.arch, self.op, self.opd, shape)
            if draft.clipped != shape:
                self.known[shape] = self.of(draft.clipped)
            elif isinstance(draft, Gemms):
                self.known[shape] = draft.plan()
            else:
                self.known[shape] = draft.plan(self.sent, self.latency)
        return self.known[shape]


@lru_cache(maxsize=4)
def planner(arch: TileMachine) -> Callable[[Op, Operands, int, int], Plans]:
    """What plans ops for all machines of this structure, and keeps the latest plans."""
    return lru_cache(maxsize=128)(partial(Plans, arch))


class Tilings:
    """One op on one machine, tiled when asked: what is equal under several policies is one object."""

    def __init__(self, pipeline: Pipeline, opd: Operands, plans: Plans):
        self.pipeline, self.opd, self.plans, self.units = pipeline, opd, plans, pipeline.units(opd)
        self.timed: dict[Plan, Program] = {}
        self.made: dict[tuple[Plan, int], Tiled] = {}

    def plan(self, policy: Policy) -> tuple[Plan, int] | None:
        """The op under a policy and the distance of its writes (1: none), or None where it does not fit the buffers."""
        plan = self.plans.of(policy.shape)
        if plan is None or (plan.writes and policy.distance > max(1, plan.deepest)):
            return None
        return plan, policy.distance if plan.writes else 1

    def tiled(self, plan: Plan, distance: int) -> Tiled:
        """A plan in ticks."""
        key = plan, distance
        if key not in self.made:
            if plan not in self.timed:
                self.timed[plan] = timed(self.pipeline, plan, self.units)
            program = replace(self.timed[plan], distance=distance)
            self.made[key] = Tiled(program, plan.moved, plan.amounts[DRAM])
        return self.made[key]


class Tiler:
    """A machine that keeps the ops it has tiled latest; see `tiler`."""

    def __init__(self, arch: TileMachine):
        self.pipeline = Pipeline.of(arch)
        self.plans, self.systolic = planner(structure(arch)), isinstance(arch.dot, SystolicArray)
        self.tilings, self.kernel = lru_cache(maxsize=64)(self._tilings), lru_cache(maxsize=64)(self._kernel)

    def _tilings(self, op: Op, opd: Operands) -> Tilings:
        """An op on this machine."""
        sent = collective(self.pipeline, op, opd)
        return Tilings(self.pipeline, opd, self.plans(op, opd.unrated(self.systolic), *sent))

    def _kernel(self, op: Op, opd: Operands, warm: bool) -> Tiled:
        """On cores: the waves of the op's kernel. warm: weights and state stay in L2 between repeats."""
        found = kernel_of(self.pipeline, op, opd, warm)
        moved = found.read_bytes + found.store_bytes
        return Tiled(kernel_program(self.pipeline, found), traffic(op, opd), moved, found)


#: The Tiler of a machine; the latest few are kept, as the points of a study come machine by machine.
tiler = lru_cache(maxsize=4)(Tiler)


@dataclass(frozen=True, slots=True)
class Candidate:
    """All ops of a run under one policy: their plans, and the distances of their writes.

    amounts: of the whole run, by server; on the dot array by pair of formats, as each pair has a rate.
    coarse: the sum of each op's largest tile, on DRAM and on the dot array.
    work: ticks of the busiest server, which the run takes at least.
    """

    policy: Policy
    plans: tuple[tuple[Plan, int], ...]
    amounts: dict[tuple[int, tuple[str, str] | None], int]
    coarse: tuple[int, int]
    work: int

    @classmethod
    def of(
        cls, policy: Policy, plans: Sequence[tuple[Plan, int]], ops: Sequence[Tilings], counts: Sequence[int]
    ) -> Candidate:
        """counts: how often each op comes."""
        amounts: dict[tuple[int, tuple[str, str] | None], int] = {}
        work, dram, dot = [0] * len(SERVERS), 0, 0
        for (plan, _), op, times in zip(plans, ops, counts, strict=True):
            dram += times * plan.largest[DRAM]
            dot += times * plan.largest[DOT]
            for server, amount in enumerate(plan.amounts):
                if amount:
                    key = server, op.opd.pair if server == DOT else None
                    amounts[key] = amounts.get(key, 0) + times * amount
                    work[server] += times * amount * op.units[server]
        return cls(policy, tuple(plans), amounts, (dram, dot), max(work))

    @property
    def nbytes(self) -> int:
        """Of all transfers."""
        return self.amounts.get((DRAM, None), 0)

    @property
    def fine(self) -> bool:
        """Whether its largest tiles are at most a 64th of its work."""
        dot = sum(amount for (server, _), amount in self.amounts.items() if server == DOT)
        return FINE * self.coarse[0] <= self.nbytes and FINE * self.coarse[1] <= dot

    def beats(self, other: Candidate) -> bool:
        """At least a tenth fewer bytes, and no more of anything else: whatever the rates, it is not slower by more
        than its largest tiles, which are small."""
        if not 10 * self.nbytes <= 9 * other.nbytes or not other.nbytes or not self.fine:
            return False
        return all(amount <= other.amounts.get(key, 0) for key, amount in self.amounts.items())


def candidates(pipeline: Pipeline, ops: Sequence[Tilings], counts: Sequence[int]) -> list[Candidate]:
    """The policies that fit and differ, in the menu's order, without those that another one beats.

    Which are left depends on no rate and no latency, and so the least of their times is monotone in all of them.
    raises: InputError if there are none.
    """
    arch = pipeline.arch
    found: dict[tuple[tuple[Plan, int], ...], Candidate] = {}
    for policy in policies(arch):
        plans = [plan for op in ops if (plan := op.plan(policy))]
        if len(plans) == len(ops) and tuple(plans) not in found:
            found[tuple(plans)] = Candidate.of(policy, plans, ops, counts)
    if not found:
        raise InputError(
            f"{arch.name}: none of the listed tile shapes fits the buffers with these formats; "
            f"list a smaller tile or enlarge the buffers"
        )
    left = [one for one in found.values() if not any(other.beats(one) for other in found.values())]
    if pipeline.period:
        tiles = {one.policy: sum(map(mul, (plan.tree.size for plan, _ in one.plans), counts)) for one in left}
        left = [one for one in left if tiles[one.policy] <= MOST]
        if not left:
            raise InputError(
                f"{arch.name}: {min(tiles.values()):,} tiles, and with `all_bank` refresh each is simulated by itself, "
                f"for at most {MOST:,}; write `refresh: {{kind: spread}}`, or a smaller problem"
            )
    return left
