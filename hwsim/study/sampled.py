"""`study --sample`: a few points are simulated, the others are predicted, and check points say how well.

Check points are drawn first, uniformly, and kept out of the fit until the statement is made. The points to fit are
chosen on the graph of the grid (`design`). `points.jsonl` gets simulated points only, so that a run without --sample
goes on from it; the predictions are in `predicted.jsonl`. Points with errors are left out, and counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from hwsim import __version__
from hwsim.errors import InputError
from hwsim.extras import missing
from hwsim.files.whole import write_whole
from hwsim.study.design import Design
from hwsim.study.grid import PREDICTED
from hwsim.study.points import Study
from hwsim.study.surface import CHECKS, Stated, stated
from hwsim.study.work import Session

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

    fitted, checked: points that the surface goes through, and that it was checked with. failed: points that are known
    to have errors. predicted: points without a simulation. stated: per metric, of the points neither fitted nor
    checked. reached: whether the statement is within what was asked; True where nothing was.
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
    closed:   the closed form of a metric at every node, None where it has none; NaN at a point with an error.
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
    known = np.ones(design.nodes, bool)
    for form in forms.values():
        known &= True if form is None else np.isfinite(form)
    rest = [node for node in range(design.nodes) if node not in lines and known[node]]
    summary = Sampled(
        nodes=design.nodes,
        fitted=len(fitted),
        checked=len(checks),
        failed=design.nodes - len(simulated) - len(rest),
        predicted=len(rest),
        stated=said,
        reached=reached,
    )
    header = {
        "predicted": True,
        "version": __version__,
        "scikit-learn": version("scikit-learn"),
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


def run_sampled(
    study: Study,
    out: str | Path,
    asked: Asked,
    workers: int | None = None,
    executor: Executor | str = "processes",
    progress: Callable[[int, int], None] | None = None,
) -> Sampled:
    """Simulate a sample of `study` into the folder `out`, and write the predictions of the other points.

    workers, executor: as of `run_study`. progress: called with (points simulated, points to simulate as far as known).
    raises: InputError as `run_study`, and as `sampled`.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise missing("sampled studies", "scikit-learn", "sample") from None

    design, seen = Design.of(study.axes), 0
    with Session(study, Path(out), workers, executor) as session:

        def simulate(nodes: Sequence[int]) -> dict[int, Line]:
            nonlocal seen
            for _ in session.simulate(nodes):
                seen += 1
                if progress:
                    progress(seen, max(seen, asked.points + CHECKS))
            return {node: session.line(node) for node in nodes}

        forms: list[tuple[float, int | None] | None] = []

        def closed(metric: str) -> Array | None:
            if metric not in ("tokens_per_second", "seconds", "cycles"):
                return None
            forms.extend([] if forms else session.closed())
            seconds = np.array([form[0] if form else np.nan for form in forms])
            if np.isnan(seconds).all():
                return None
            if metric != "tokens_per_second":
                return seconds  # cycles are these times the clock: one factor, or an axis that the surface sees
            return np.array([(form[1] or np.nan) if form else np.nan for form in forms]) / seconds

        with threadpool_limits(1):  # the sums' order, and so the last digits, do not depend on the number of cores
            summary, lines = sampled(design, _Keys(session), asked, simulate, closed)
        write_whole(Path(out) / PREDICTED, "".join(line + "\n" for line in lines))
    return summary


class _Keys(Sequence[str]):
    """Keys of the points, resolved when asked for."""

    def __init__(self, session: Session):
        self.session = session

    def __len__(self) -> int:
        return len(self.session.study.points)

    @overload
    def __getitem__(self, node: int) -> str: ...
    @overload
    def __getitem__(self, node: slice) -> list[str]: ...
    def __getitem__(self, node: int | slice) -> str | list[str]:
        if isinstance(node, slice):
            return [self[i] for i in range(len(self))[node]]
        key = self.session.keys.get(node)
        if key is None:
            key = self.session.keys[node] = self.session.study.points[node].key
        return key
