"""Op x machine -> tiles: a pure function of the op, its formats and one policy.

A policy never depends on a rate, and the menu of policies only grows with the buffers: so the least of a few
simulated policies is monotone in bandwidth, latency, interval and buffer by construction.
"""

from __future__ import annotations

from collections.abc import Iterator

from hwsim.mapping.gemms import Gemms
from hwsim.mapping.gpu.waves import kernel_of, kernel_program
from hwsim.mapping.operands import Operands
from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.plan import Plan, Policy, Tiled, timed
from hwsim.mapping.streams import Stream, collective
from hwsim.mapping.traffic import traffic
from hwsim.workload.op import Op

DISTANCES = (1, 8, 32)


def policies(pipeline: Pipeline) -> Iterator[Policy]:
    """Every policy of the machine's menu; those that do not fit an op drop out in `tile`. On cores, the library's."""
    if pipeline.arch.cores:
        yield Policy(*pipeline.arch.tiles[0], 0, False)
        return
    for m, n, k in pipeline.arch.tiles:
        for resident in (True, False):
            for distance in DISTANCES:
                yield Policy(m, n, k, distance, resident)


def tile(pipeline: Pipeline, op: Op, opd: Operands, policy: Policy, warm: bool = False) -> Tiled | None:
    """Tiles of `op` under `policy`, or None where they do not fit the buffers; on cores, the waves of its kernel."""
    if pipeline.arch.cores:
        kernel = kernel_of(pipeline, op, opd, warm)
        moved = kernel.read_bytes + kernel.store_bytes
        return Tiled(kernel_program(pipeline, kernel), traffic(op, opd), moved, kernel)
    plan = plan_of(pipeline, op, opd, policy)
    return None if plan is None else timed(pipeline, plan, opd)


def plan_of(pipeline: Pipeline, op: Op, opd: Operands, policy: Policy) -> Plan | None:
    """The op under one policy in amounts, or None where it does not fit the buffers."""
    if op.gemms:
        gemms = Gemms(pipeline.arch, op, opd, policy)
        loops = gemms.loops()
        return None if loops is None else gemms.plan(loops)
    sent, latency = collective(pipeline, op, opd)
    stream = Stream(pipeline.arch, op, opd, policy)
    loops = stream.loops(sent)
    return None if loops is None else stream.plan(loops, latency)
