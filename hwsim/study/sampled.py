"""`study --sample`: a few points are simulated, the others are predicted, and check points say how well.

Check points are drawn first, uniformly, and kept out of the fit until the statement is made. The points to fit are
chosen on the graph of the grid (`design`). `points.jsonl` gets simulated points only, so that a run without --sample
goes on from it; the predictions are in `predicted.jsonl`. Points with errors are left out, and counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError
from hwsim.study.design import Design
from hwsim.study.surface import CHECKS, Stated, stated

PREDICTED = "predicted.jsonl"
METRICS = ("tokens_per_second", "seconds", "cycles", "energy_joules", "dram_bytes")

Array = NDArray[np.float64]
Nodes = NDArray[np.intp]
Line = dict[str, Any]
Simulate = Callable[[Sequence[int]], dict[int, Line]]
Closed = Callable[[str], Array | None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What `--sample` and its options ask for. points: fitted at first; within: the largest error of the check."""

    points: int
    within: float | None = None
    pick: str | None = None
    metrics: tuple[str, ...] = ("tokens_per_second",)
    seed: int = 0

    @classmethod
    def of(
        cls,
        sample: str,
        nodes: int,
        within: str | None = None,
        pick: str | None = None,
        metrics: Sequence[str] = ("tokens_per_second",),
        seed: int = 0,
    ) -> Asked:
        """From the command line: `sample` is 200 or 10%, `within` 5%.

        raises: InputError, also where the grid is too small for a sample with its check points.
        """
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(\s*%)?", sample.strip())
        if not found or not float(found[1]) or (not found[2] and "." in found[1]):
            raise InputError(f"--sample: {sample!r} is neither a number of points nor a share; write 200 or 10%")
        points = round(float(found[1]) / 100 * nodes) if found[2] else int(found[1])
        most = max(points, 2) + 2 * CHECKS
        if nodes < most:
            raise InputError(
                f"--sample {sample}: the study has {nodes:,} points, and a sample of {points:,} with its checks "
                f"needs at least {most:,}; run the full study, without --sample"
            )
        share = None
        if within is not None:
            held = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", within.strip())
            if not held or not float(held[1]):
                raise InputError(f"--within: {within!r} is not a share above 0; write 5%")
            share = float(held[1]) / 100
        for metric in metrics:
            if metric not in METRICS:
                raise InputError(f"--metric: unknown {metric!r}; one of {', '.join(METRICS)}")
        return cls(max(points, 2), share, pick, tuple(metrics), seed)


@dataclass(frozen=True, slots=True)
class Sampled:
    """What was simulated and what is said of the rest.

    fitted, checked: points that the surface goes through, and that it was checked with. failed: points with errors
    among them. predicted: points without a simulation. stated: per metric, of the points neither fitted nor checked.
    reached: whether the statement is within what was asked; True where nothing was.
    """

    nodes: int
    fitted: int
    checked: int
    failed: int
    predicted: int
    stated: dict[str, Stated]
    reached: bool


def sampled(
    design: Design, keys: Sequence[str], asked: Asked, simulate: Simulate, closed: Closed
) -> tuple[Sampled, list[str]]:
    """(summary, lines of `predicted.jsonl`) of a study that is simulated at a few points.

    keys:     of the points, in grid order.
    simulate: the lines of the nodes asked for; those that are on disk already are not simulated again.
    closed:   the closed form of a metric at every node, None where it has none.
    raises:   InputError, also for a metric that is not a number above 0.
    """
    order = np.random.default_rng(asked.seed).permutation(design.nodes)
    lines: dict[int, Line] = {}

    def good(nodes: Sequence[int] | Nodes) -> list[int]:
        lines.update(simulate([int(node) for node in nodes if int(node) not in lines]))
        return [int(node) for node in nodes if not lines[int(node)]["error"]]

    def draw(count: int, taken: set[int]) -> list[int]:
        """The next nodes of the random order that have results and are not taken."""
        found: list[int] = []
        rest = iter(int(node) for node in order if int(node) not in taken)
        while len(found) < count:
            some = [node for node, _ in zip(rest, range(count - len(found)), strict=False)]
            if not some:
                raise InputError(f"fewer than {count} points of the study have results; look at their errors first")
            found += good(some)
        return found

    checks = draw(CHECKS, set())
    fitted = good(design.choose(asked.points, asked.pick, asked.seed, left_out=checks))
    forms = {metric: closed(metric) for metric in asked.metrics}

    def values(metric: str, nodes: Sequence[int]) -> list[Any]:
        return [lines[node][metric] for node in nodes]

    def fit(nodes: list[int]) -> dict[str, Any]:
        place = np.array(nodes, np.intp)
        return {m: design.predict(place, values(m, nodes), forms[m], m) for m in asked.metrics}

    def state(found: dict[str, Any], nodes: list[int]) -> dict[str, Stated]:
        return {m: stated(found[m].values[nodes], values(m, nodes)) for m in asked.metrics}

    found, reached = fit(fitted), True
    said = state(found, checks)
    if asked.within is not None:
        while max(s.relative_error for s in said.values()) > asked.within:
            room = design.nodes - len(set(lines)) - CHECKS
            more = min(max(1, asked.points // 2), room)
            if more < 1:
                break
            lengths = found[asked.metrics[0]].lengths
            fitted += good(design.choose(more, asked.pick, asked.seed, checks, fitted, lengths))
            found = fit(fitted)
            said = state(found, checks)
        fresh = draw(CHECKS, set(lines))  # the first check was looked at again and again: it states nothing any more
        said = state(found, fresh)
        checks += fresh
        reached = max(s.relative_error for s in said.values()) <= asked.within
    simulated = sorted(node for node in lines if not lines[node]["error"])
    final = fit(fitted + checks)
    rest = [node for node in range(design.nodes) if node not in lines]
    summary = Sampled(
        nodes=design.nodes,
        fitted=len(fitted),
        checked=len(checks),
        failed=len(lines) - len(simulated),
        predicted=len(rest),
        stated=said,
        reached=reached,
    )
    header = {
        "predicted": True,
        "points": summary.nodes,
        "fitted": summary.fitted,
        "checked": summary.checked,
        "failed": summary.failed,
        "pick": asked.pick or "greedy",
        "seed": asked.seed,
        "stated": {metric: asdict(statement) for metric, statement in said.items()},
        "about": "stated without the check points in the fit; the predictions below are fitted to them too",
    }
    rows = [
        {"key": keys[node], "metric": metric, "value": float(f"{final[metric].values[node]:.4g}")}
        for node in rest
        for metric in asked.metrics
    ]
    return summary, [json.dumps(row, separators=(",", ":")) for row in [header, *rows]]
