"""What aggregations of graphs cost as the graphs grow: dense work, rows by index, sorting; on two machines."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import log2

from hwsim.arch import load_arch
from hwsim.arch.compute import SystolicArray
from hwsim.arch.machine import TileMachine
from hwsim.files.tables import markdown
from hwsim.jobs.options import RunOptions
from hwsim.jobs.tile import TileJob
from hwsim.workload import StepOptions, load_model, load_model_text
from hwsim.workload.op import KINDS, Op, Workload

#: Machines, each with the format of its weights. Neither has the two units in its file: they are added here.
MACHINES = {"edge-mx": "mxint8", "tpu-v4i": "int8"}
UNITS = {
    "gather": "{ports: 4, banks: 16, width: 32 B, latency: 4 cycles}",
    "sort": "{comparators: 32, latency: 8 cycles}",
}
NODES = (256, 1024, 4096, 8192, 16384)
DOUBLED = (4096, 8192)
PARTS = ("dense", "rows by index", "sorting", "other passes")

#: The local network of the LFDS files, then one maximum (or mean, which costs the same) over all nodes.
POOLED = """
name: max
sizes: {{n: {n}}}
inputs: {{points: [n, 3]}}
ops:
  - {{name: local, op: linear, in: [points], out: [64, 64], activation: relu}}
  - {{name: pooled, op: reduce, in: [local], function: max, axes: [0]}}
  - {{name: hidden, op: linear, in: [pooled], out: 64, activation: relu}}
  - {{name: logits, op: linear, in: [hidden], out: 40, class: head}}
"""
#: By name in the table: the shipped graph; without one, POOLED.
METHODS = {
    "max or mean": "",
    "LFDS loop (hard)": "lfds-loop",
    "LFDS sequence (by rank)": "lfds-sequence",
    "LFDS graph (soft)": "lfds-graph",
    "SortPool": "sortpool-proteins",
    "DiffPool": "diffpool-dd",
}


def workload(method: str, n: int) -> Workload:
    """The network of a method for a graph of `n` nodes; edges grow with the nodes, DiffPool keeps a quarter of them."""
    if METHODS[method]:
        sizes = {"n": n} | {"SortPool": {"e": n * 146 // 39}, "DiffPool": {"c": n // 4}}.get(method, {})
        return load_model(METHODS[method], [(f"sizes.{key}", str(value)) for key, value in sizes.items()])
    return load_model_text(POOLED.format(n=n))


def machine(name: str, settings: Sequence[tuple[str, str]] = ()) -> TileMachine:
    """A shipped machine with the two units. settings: changed in addition."""
    arch = load_arch(name, [*UNITS.items(), *settings])
    assert isinstance(arch, TileMachine), "graphs run on tile machines"
    return arch


def part(op: Op) -> str:
    """What an op is counted as; one of PARTS. A knn, which multiplies and sorts, is sorting."""
    if op.sorting:
        return "sorting"
    if op.irregular:
        return "rows by index"
    return "dense" if op.gemms or op.macs else "other passes"


@dataclass(frozen=True, slots=True)
class Point:
    """One run. parts: seconds, by PARTS. kinds: seconds by kind of op. limited_by: the server with the most work."""

    method: str
    nodes: int
    seconds: float
    parts: dict[str, float]
    kinds: dict[str, float]
    limited_by: str


def point(arch: TileMachine, form: str, method: str, nodes: int) -> Point:
    """Simulate one graph; its ops in parts."""
    job = TileJob.of(arch, workload(method, nodes), RunOptions.of(weights=form, engine="walk"))
    spent = job.simulate().by_op
    each = [arch.seconds(1) * ticks / job.pipeline.q for ticks in spent]
    parts, kinds = dict.fromkeys(PARTS, 0.0), dict.fromkeys(KINDS, 0.0)
    for op, seconds in zip(job.ops, each, strict=True):
        parts[part(op)] += seconds
        kinds[op.kind] += seconds
    return Point(method, nodes, sum(each), parts, {k: s for k, s in kinds.items() if s}, job.bound.limited_by)


def points(name: str) -> list[Point]:
    """All methods and sizes on one machine."""
    arch = machine(name)
    return [point(arch, MACHINES[name], method, n) for method in METHODS for n in NODES]


def exponent(few: float, many: float, ratio: float = 2) -> float:
    """The power of the size that the time grows with."""
    return log2(many / few) / log2(ratio)


def multiplied() -> float:
    """The exponent of DiffPool's multiply-adds."""
    few, many = (sum(op.dot_macs for op in workload("DiffPool", n).ops(StepOptions())) for n in DOUBLED)
    return exponent(few, many, DOUBLED[1] / DOUBLED[0])


#: DiffPool's own ops, without the layers that embed the nodes and score the clusters.
AGGREGATION = ("s", "pooled", "half", "edges")
#: Ways to a higher exponent: settings of the machine, and whether both networks share the adjacency times the features.
WAYS = {
    "as shipped": ((), False),
    "adjacency times features once for both networks": ((), True),
    "output stationary": ((("dot.dataflow", "output_stationary"),), False),
    "output stationary, and once": ((("dot.dataflow", "output_stationary"),), True),
}


def diffpool(n: int, once: bool) -> Workload:
    """DiffPool for a graph of `n` nodes. once: the first product of its two networks, which is the same, is shared."""
    whole = workload("DiffPool", n)
    if not once:
        return whole
    config = whole.config()
    left_out = {"embed_near1", "embed_mean1"}
    ops = [
        op | {"in": ["pool_mean1" if name == "embed_mean1" else name for name in op["in"]]}
        for op in config["ops"]
        if op["name"] not in left_out
    ]
    return load_model_text(json.dumps(config | {"ops": ops}))


def ways_table() -> str:
    """The exponent of DiffPool's time by machine and way, and that of its aggregation alone."""
    rows = []
    for name, (way, (settings, once)) in itertools.product(MACHINES, WAYS.items()):
        if settings and not isinstance(machine(name).dot, SystolicArray):
            continue
        arch = machine(name, settings)
        spent = []
        for n in DOUBLED:
            job = TileJob.of(arch, diffpool(n, once), RunOptions.of(weights=MACHINES[name], engine="walk"))
            ticks = list(zip(job.ops, job.simulate().by_op, strict=True))
            spent.append([sum(t for op, t in ticks if not only or op.name in AGGREGATION) for only in (False, True)])
        ratio = DOUBLED[1] / DOUBLED[0]
        rows.append([name, way, *(f"{exponent(few, many, ratio):.3f}" for few, many in zip(*spent, strict=True))])
    return markdown(["machine", "way", "exponent", "of the aggregation alone"], rows)


def growth_table(found: list[Point]) -> str:
    """A line per method and size; the last column: the exponent from the size before."""
    rows, before = [], None
    for p in found:
        grown = ""
        if before and before.method == p.method:
            grown = f"{exponent(before.seconds, p.seconds, p.nodes / before.nodes):.2f}"
        shares = [f"{100 * p.parts[what] / p.seconds:.0f}" for what in PARTS]
        rows.append([p.method, f"{p.nodes:,}", f"{1e6 * p.seconds:,.1f}", *shares, p.limited_by, grown])
        before = p
    return markdown(["aggregation", "nodes", "us", *(f"{what}, %" for what in PARTS), "most work", "exponent"], rows)


def diffpool_table(found: list[Point]) -> str:
    """DiffPool from 4,096 to 8,192 nodes, kind by kind: what keeps its exponent below 3."""
    few, many = (next(p for p in found if (p.method, p.nodes) == ("DiffPool", n)) for n in DOUBLED)
    rows = []
    for kind, seconds in sorted(many.kinds.items(), key=lambda each: -each[1]):
        if seconds < 0.001 * many.seconds:
            continue
        before = few.kinds[kind]
        shares = (f"{100 * before / few.seconds:.1f}", f"{100 * seconds / many.seconds:.1f}")
        rows.append([kind, *shares, f"{exponent(before, seconds, many.nodes / few.nodes):.2f}"])
    rows.append(["all", "100", "100", f"{exponent(few.seconds, many.seconds, many.nodes / few.nodes):.3f}"])
    return markdown(["kind of op", f"% at {few.nodes:,}", f"% at {many.nodes:,}", "exponent"], rows)
