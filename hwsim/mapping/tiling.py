"""Op x machine -> tiles: a pure function of the op, its formats and one policy.

Plans hold no time, so they are kept for all machines of one structure, and programs for the machine used last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache, partial

from hwsim.arch.compute import SystolicArray
from hwsim.arch.machine import TileMachine
from hwsim.arch.memory import Dram
from hwsim.arch.servers import Launch, Vector
from hwsim.mapping.gemms import Gemms
from hwsim.mapping.gpu.waves import kernel_of, kernel_program
from hwsim.mapping.operands import Operands
from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.plan import Plan, Policy, Shape, Tiled, timed
from hwsim.mapping.program import DRAM, Program
from hwsim.mapping.streams import Stream, collective
from hwsim.mapping.traffic import traffic
from hwsim.workload.op import Op


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
        gather=arch.gather and replace(arch.gather, latency_cycles=0),
        sort=arch.sort and replace(arch.sort, latency_cycles=0),
        cache=arch.cache,
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

    def under(self, policy: Policy) -> tuple[Plan, int] | None:
        """The op under a policy and the distance of its writes (1: none), or None where it does not fit the buffers."""
        plan = self.of(policy.shape)
        if plan is None or (plan.writes and policy.distance > max(1, plan.deepest)):
            return None
        if not plan.writes:
            return plan, 1
        return plan, min(policy.distance, max(1, plan.reads)) if plan.flush else policy.distance


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
    """A machine that keeps the ops it has tiled latest; see `tiler`. Nothing in it refers to it, so it goes at once."""

    def __init__(self, arch: TileMachine):
        self.pipeline = Pipeline.of(arch)
        plans, systolic = planner(structure(arch)), isinstance(arch.dot, SystolicArray)
        self.tilings = lru_cache(maxsize=64)(partial(_tilings, self.pipeline, plans, systolic))
        self.kernel = lru_cache(maxsize=64)(partial(_kernel, self.pipeline))


def _tilings(pipeline: Pipeline, plans: Callable[..., Plans], systolic: bool, op: Op, opd: Operands) -> Tilings:
    """An op on this machine."""
    sent = collective(pipeline, op, opd)
    return Tilings(pipeline, opd, plans(op, opd.unrated(systolic), *sent))


def _kernel(pipeline: Pipeline, op: Op, opd: Operands, warm: bool) -> Tiled:
    """On cores: the waves of the op's kernel. warm: weights and state stay in L2 between repeats."""
    found = kernel_of(pipeline, op, opd, warm)
    moved = found.read_bytes + found.store_bytes
    return Tiled(kernel_program(pipeline, found), traffic(op, opd), moved, found)


#: The Tiler of a machine; the latest few are kept, as the points of a study come machine by machine.
tiler = lru_cache(maxsize=4)(Tiler)
