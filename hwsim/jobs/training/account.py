"""A training step as a Result, so that studies and reports read it as they read a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hwsim.jobs.training.work import Work
from hwsim.result import Memory, Result, Row, apportion

if TYPE_CHECKING:
    from hwsim.jobs.training.job import TrainJob
    from hwsim.jobs.training.result import TrainResult

#: Rows of what is no kernel.
EXPOSED, IDLE = "communication", "pipeline"
#: Parts of a nanosecond in which times are divided over rows.
FINE = 10**6


class Totals:
    """Bytes and multiply-adds of the busiest chip: sums over its work."""

    def __init__(self) -> None:
        self.moved = dict.fromkeys(("weights", "kv", "state", "activations"), 0.0)
        self.dram = 0.0
        self.rows: dict[str, list[float]] = {}

    def count(self, job: TrainJob, work: Work, times: int) -> None:
        """Add one kernel, so many times."""
        row = self.rows.setdefault(work.part, [0, 0.0, 0.0])
        row[0] += times
        for price, share in job.prices.parts(work):
            for kind in self.moved:
                self.moved[kind] += times * share * getattr(price.moved, kind)
            self.dram += times * share * price.dram
            row[1] += times * share * price.moved.total
            row[2] += times * share * price.macs


def as_line(job: TrainJob) -> dict[str, Any]:
    """The step as a line of a study: its Result, and what only training has. exposed, idle: as in a `TrainResult`."""
    found = job.trained()
    only = {"mfu": found.mfu, "exposed_seconds": found.exposed_seconds, "idle_seconds": found.idle_seconds}
    return as_result(job, found).to_dict() | only


def as_result(job: TrainJob, found: TrainResult | None = None) -> Result:
    """The step as a Result: bytes, multiply-adds and memory of one chip of the stage with the most work.

    Cycles are those of the machine's clock in the step's time. Rows of `by_op` are parts of the step; `communication`
    and `pipeline` are what collectives and waiting stages add. found: what `job.trained()` gave already.
    """
    found, arch = found or job.trained(), job.arch
    clock = float(arch.clock_hz)
    cycles = round(found.seconds * clock)
    stages = []
    for stage in range(job.step.degrees.pp):
        totals = Totals()
        for work, times in job.counted(stage):
            totals.count(job, work, times)
        stages.append(totals)
    most = max(stages, key=lambda each: sum(row[2] for row in each.rows.values()))
    spent: dict[str, float] = {}
    for part, _, seconds in found.spent:
        spent[part] = spent.get(part, 0.0) + seconds
    spent |= {EXPOSED: max(found.exposed_seconds, 0.0), IDLE: max(found.idle_seconds, 0.0)}
    ticks = {name: round(seconds * clock * FINE) for name, seconds in spent.items()}
    each = apportion(ticks, FINE, cycles)
    none = [0, 0.0, 0.0]
    rows = tuple(
        Row(name, int(times), each[name], round(nbytes), round(macs))
        for name in spent
        for times, nbytes, macs in [most.rows.get(name, none)]
    )
    m = found.memory
    causes = {"kernels": each_sum(each, (EXPOSED, IDLE)), "communication": each[EXPOSED], "pipeline": each[IDLE]}
    return Result(
        name=found.name,
        machine=found.machine,
        hypothetical=arch.hypothetical,
        phase="train",
        cycles=cycles,
        seconds=found.seconds,
        bound_cycles=max(1, int(found.bound_seconds * clock)),
        roofline_cycles=max(1, int(found.bound_seconds * clock)),
        limited_by=found.limited_by,
        tokens_per_second=found.tokens_per_second,
        bytes={kind: round(n) for kind, n in most.moved.items()},
        dram_bytes=round(most.dram),
        macs=sum(row.macs for row in rows),
        utilization={},
        stalls=causes,
        by_op=rows,
        by_layer=(),
        memory=Memory(m.weights, 0, m.gradients + m.optimiser, m.activations + m.buffers, m.capacity),
        notes=(*found.notes, "state holds gradients and the optimiser's state; activations hold buffers too"),
        tiling="",
        chips=found.chips,
        provenance=found.provenance,
        config=_config(job),
        version=found.version,
    )


def each_sum(cycles: dict[str, int], without: tuple[str, ...]) -> int:
    """Of all rows but these."""
    return sum(n for name, n in cycles.items() if name not in without)


def _config(job: TrainJob) -> dict[str, Any]:
    every = job.recipe.every
    forms = {
        "weights": every.weights.form.name,
        "activations": every.activations.form.name,
        "kv": "bf16",
        "state": "fp32",
    }
    found = job.config
    return {**{k: v for k, v in found.items() if k != "machine"}, "formats": forms, "machine": found["machine"]}
