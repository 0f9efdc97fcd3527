"""Points of a study that will fail for want of a path from their formats to the machine's units, before any is run.

A value that works in one combination is no error of the study, and yet a third of the points may have none. Whether a
point has a path depends on few axes; each combination of these is tried once, the others at their first value.
"""

from __future__ import annotations

from collections import Counter
from itertools import product
from math import prod

from hwsim.errors import InputError
from hwsim.jobs.serving.options import ServeOptions
from hwsim.jobs.tile import TileJob
from hwsim.study.load import Axis, Study
from hwsim.study.work import point_job

#: Combinations that are tried; of a study with more, nothing is said.
MOST = 500
#: Parts of a machine that a path goes through.
_PARTS = ("machine.dot", "machine.regenerate.feeds", "machine.dequantise", "machine.cores", "machine.vector")


def failures(study: Study) -> list[tuple[str, int]]:
    """(why, how many points), the most first; only what the formats of a point decide."""
    counts: Counter[str] = Counter()
    tried = [range(len(axis.values)) if _matters(axis) else range(1) for axis in study.axes]
    if prod(map(len, tried)) > MOST:
        return []
    each = prod(len(axis.values) for axis, some in zip(study.axes, tried, strict=True) if len(some) == 1)
    for choice in product(*tried):
        point = study.reader.point(choice)
        options = point.options
        if point.arch is None or point.model is None or options is None or isinstance(options, ServeOptions):
            continue
        try:
            job = point_job(point.arch, point.model, options)
            if isinstance(job, TileJob):
                len(job.operands)
        except InputError as error:
            counts[str(error)] += each
    return counts.most_common()


def _matters(axis: Axis) -> bool:
    named = ("machine", "model", "run.weights", "run.activations", "run.kv", "run.state", "run.phase")
    return axis.path in named or axis.path.startswith(_PARTS)
